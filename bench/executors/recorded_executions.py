"""Looks up what an exported bench (`planner export-table`) really came to: the same cases, actions and outcomes.

A folder holds ``cases.parquet`` and ``executions.parquet``, each with a column ``document``: bench_case.v1, and the
outcome of a bench_execution.v1. What they depend on stands in the key META of the second one's metadata, as JSON.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.containment.limits import Deadline
from bench.executors.outcome import cut, fault
from planner.actions import Action, action_from_document
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.contracts.document import parse
from planner.errors import BenchError

CASES, EXECUTIONS = "cases.parquet", "executions.parquet"
META = b"planner"
"""Key of the Parquet file's metadata: {"settings": {"minute_seconds": ..., "objective": ...}}."""


@dataclass(frozen=True)
class RecordedExecutions:
    """Cases as they were benched, and their outcomes by case, action and repeat; faults are no outcomes."""

    instant = True  # nothing is run
    source = None  # all that is needed travels along

    cases: tuple[BenchCase, ...]
    outcomes: Mapping[tuple[str, Action, int], BenchOutcome]
    settings: Mapping[str, Any]

    @classmethod
    def prepare(cls, directory: Path) -> "RecordedExecutions":
        """Read a folder; BenchError when a table is missing or holds something else."""
        cases, _ = _read(directory / CASES, ("document",))
        rows, meta = _read(directory / EXECUTIONS, ("case_id", "action", "repeat", "state", "status", "document"))
        found = {}
        for row in rows:
            if row["state"] == "finished" and row["status"] != "fault":
                key = row["case_id"], action_from_document(json.loads(row["action"])), row["repeat"]
                outcome = parse(BenchOutcome, row["document"], str(directory / EXECUTIONS))
                # Each outcome is looked up by itself, so none follows from another here.
                found[key] = outcome.model_copy(update={"derived_from": None})
        return cls(
            cases=tuple(parse(BenchCase, row["document"], str(directory / CASES)) for row in cases),
            outcomes=found,
            settings=json.loads(meta.get(META, b"{}")).get("settings", {}),
        )

    def lane_limit_ms(self, action: Action) -> int | None:
        """Not said: an outcome that followed from another one would not be the recorded one."""
        return None

    def wall_limit(self, action: Action) -> float:
        """None: what was recorded has ended."""
        return math.inf

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        """What was recorded; a fault where nothing was, for nothing is invented."""
        found = self.outcomes.get((case.case_id, action, repeat))
        if found is None:
            return fault(f"{action}, repeat {repeat}: not among the recorded executions of {case.issue_id}")
        return cut(found, deadline.cap_s)

    def observed(self, wanted: Collection[str] | None) -> list[BenchCase]:
        """The cases, or those of the issues ``wanted``, with the actions that have an outcome; none without any."""
        known = {(case_id, action) for case_id, action, _ in self.outcomes}
        kept = []
        for case in self.cases:
            actions = [one for one in case.actions if (case.case_id, action_from_document(one.model_dump())) in known]
            if actions and (wanted is None or case.issue_id in wanted):
                kept.append(case.model_copy(update={"actions": actions}))
        return kept


def _read(path: Path, columns: Sequence[str]) -> tuple[list[dict[str, Any]], Mapping[bytes, bytes]]:
    """Rows with these columns, and the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise BenchError(f"{path}: no table of an exported bench: {error}") from None
    if missing := [name for name in columns if name not in table.column_names]:
        raise BenchError(f"{path}: lacks the columns {', '.join(missing)}")
    return table.to_pylist(), table.schema.metadata or {}
