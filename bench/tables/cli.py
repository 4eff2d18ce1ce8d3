"""``planner export-table``."""

from pathlib import Path
from typing import Annotated

import typer

from planner.checked import ledger_at


def export_table(
    ledger: Annotated[Path, typer.Argument(help="A bench's ledger.")] = Path(".cyntra/planner/bench/ledger.sqlite"),
    out: Annotated[Path, typer.Option(help="Folder of the tables; must not exist or be empty.")] = Path("bench-tables"),
    hash_identifiers: Annotated[
        bool,
        typer.Option(
            "--hash-identifiers",
            help="To share them: ids, words, paths and your own tools' names become hashes, free text is left out.",
        ),
    ] = False,
) -> None:
    """Write a bench's cases, executions and trials as Parquet tables, which `planner bench --executor replay` takes.

    Every column is described in the folder's README.md and in the files themselves.
    """
    ledger_at(ledger)
    from bench.tables.export import export_tables
    from planner.display.console import give, note, say

    done = export_tables(ledger, out, hash_identifiers=hash_identifiers)
    for file, rows in done.rows.items():
        say(f"{out / file}: {rows} rows")
    if done.left_out:
        reasons = ", ".join(f"{number} {why}" for why, number in sorted(done.left_out.items()))
        note(f"launches that are no trials, because their end is not known: {reasons}")
    note(f"replay them: planner bench {out} --executor replay --full --ledger NEW.sqlite")
    give("export_table", {"directory": str(out), "rows": dict(done.rows), "left_out": dict(done.left_out)})
