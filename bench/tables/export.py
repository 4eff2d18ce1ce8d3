"""`planner export-table`: the ledger read, its tables written into a folder, whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.executors.recorded_executions import META
from bench.judging.results import minute_of
from bench.ledger import Ledger
from bench.tables.columns import CASES, EXECUTIONS, PROBLEMS, TABLES, TRIALS, Table
from bench.tables.identifiers import Identifiers
from bench.tables.rows import Rows, rows_of
from planner.errors import BenchError
from planner.files import staged_directory

README = "README.md"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    out: Path
    rows: dict[str, int]
    """File -> rows."""
    left_out: dict[str, int]
    """Why launches are no trials -> how many."""


def export_tables(ledger: Path, out: Path, *, hash_identifiers: bool = False) -> Exported:
    """Write the tables of ``ledger`` to the folder ``out``, which must not exist or be empty; BenchError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchError(f"{out}: is there already: give a new or empty directory as --out")
    with Ledger.read(ledger) as opened:
        cases, logged, settings = opened.cases(), opened.logged(), opened.settings()
        outcomes = {one.execution_id: one.outcome for one in opened.executions()}
    if not cases:
        raise BenchError(f"{ledger}: has no case: run `planner bench` first")
    identifiers = Identifiers(hashed=hash_identifiers)
    rows = rows_of(cases, logged, outcomes, identifiers)
    minute = minute_of(ledger, settings)
    known = settings if minute is None else {**settings, "minute_seconds": minute}
    meta = {META: json.dumps({"settings": identifiers.settings(known)}).encode()}
    with staged_directory(out) as staging:
        for table, own in zip(TABLES, _in_order(rows), strict=True):
            schema = table.schema.with_metadata(meta)
            pq.write_table(pa.Table.from_pylist(own, schema=schema), staging / table.file, compression="zstd")
        (staging / README).write_text(_readme(hash_identifiers), "utf-8")
    return Exported(
        out, {table.file: len(own) for table, own in zip(TABLES, _in_order(rows), strict=True)}, dict(rows.left_out)
    )


def _in_order(rows: Rows) -> list[list[dict[str, object]]]:
    by_table = {CASES: rows.cases, EXECUTIONS: rows.executions, PROBLEMS: rows.problems, TRIALS: rows.trials}
    return [by_table[table] for table in TABLES]


def _readme(hashed: bool) -> str:
    """What the folder is, for whom it is given to."""
    about = (
        "Ids, words, paths and names of tools that are not the kernel's own are hashes, by a key that was thrown away. "
        "Titles and other free text are left out."
        if hashed
        else "Ids, titles and words are as they were in the repo."
    )
    tables = "\n".join(describe(table) for table in TABLES)
    return (
        f"# A bench as tables\n\nWritten by `planner export-table`. {about} Replay it with\n"
        "`planner bench FOLDER --executor replay --full --ledger NEW.sqlite`.\n\n" + tables
    )


def describe(table: Table) -> str:
    """A table's columns as Markdown."""
    rows = "".join(f"| `{one.name}` | {one.kind} | {one.meaning} |\n" for one in table.columns)
    return f"## {table.file}\n\n{table.about}\n\n| column | type | meaning |\n| --- | --- | --- |\n{rows}"
