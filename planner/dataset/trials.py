"""trials.parquet: one row per launch of an agent, from any run that was logged or benched. The unit of learning.

An action's outcome follows from its trials by arithmetic (planner.scoring.plan_outcome), so a trial of one action tells
about all of them. What artifacts do not tell is missing here, never made up.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from planner.encoding.subject import Subject
from planner.errors import DatasetError

TRIALS_FILE = "trials.parquet"


class Trial(NamedTuple):
    """One launch. Times are ms since the epoch, UTC."""

    trial_id: str
    source: str
    """archive, event (a loser of a speculation, of which only the event log is left), or bench."""
    job_type: str
    tool: str
    subject: Subject
    """What was known of the issue before it began."""
    attempt: int
    """Runs of the issue that had ended without passing when it began, or its place among the launches of its lane."""
    passed: bool | None
    """Whether the gates of this candidate passed; None where nobody knows, as for a trial that was cut."""
    duration_ms: int | None
    """How long the agent worked, until its end or until it was cut."""
    cut: bool
    """It was stopped at a limit; what it would have come to is not known."""
    ended_ms: int
    """When its outcome was known."""
    split: str
    """The first split of which nothing had been decided when it ended: only then may it be learned from."""
    candidates: int = 0
    """Where its run passed, but nobody recorded whether this candidate did: how many the run had; otherwise 0."""
    known_passers: int = 0
    """How many of these are known to have passed."""


@dataclass(frozen=True)
class Trials:
    """t trials in columns, (t,) each: passed is NaN where not known, duration_ms NaN likewise."""

    job_type: NDArray[np.str_]
    tool: NDArray[np.str_]
    subjects: list[Subject]
    attempt: NDArray[np.int64]
    passed: NDArray[np.float64]
    duration_ms: NDArray[np.float64]
    cut: NDArray[np.bool_]
    ended_ms: NDArray[np.int64]
    split: NDArray[np.str_]
    candidates: NDArray[np.int64]
    known_passers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tool)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Those whose time is known, (t,)."""
        return np.isfinite(self.duration_ms) & (self.duration_ms > 0)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Those of which it is known whether they passed, or when they were cut, (t,)."""
        return np.where(self.cut, self.timed, np.isfinite(self.passed))

    @property
    def one_of_several(self) -> NDArray[np.bool_]:
        """Those of which it is only known that one of their run's candidates passed, (t,)."""
        return ~self.usable & (self.candidates > self.known_passers)

    def take(self, rows: NDArray[Any]) -> "Trials":
        """The trials at these positions, or where a mask is true."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return Trials(subjects=[self.subjects[row] for row in rows.tolist()], **columns)


_ARRAYS = (
    "job_type",
    "tool",
    "attempt",
    "passed",
    "duration_ms",
    "cut",
    "ended_ms",
    "split",
    "candidates",
    "known_passers",
)
SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("source", pa.string()),
        ("job_type", pa.string()),
        ("tool", pa.string()),
        ("issue_id", pa.string()),
        ("group", pa.string()),
        ("size_minutes", pa.float64()),
        ("text", pa.string()),
        ("attempt", pa.int64()),
        ("passed", pa.bool_()),
        ("duration_ms", pa.int64()),
        ("cut", pa.bool_()),
        ("ended_ms", pa.int64()),
        ("split", pa.string()),
        ("candidates", pa.int64()),
        ("known_passers", pa.int64()),
    ]
)


def trials_of(rows: Sequence[Trial]) -> Trials:
    """Rows as columns."""
    return Trials(
        job_type=np.array([row.job_type for row in rows], dtype=np.str_),
        tool=np.array([row.tool for row in rows], dtype=np.str_),
        subjects=[row.subject for row in rows],
        attempt=np.array([row.attempt for row in rows], dtype=np.int64),
        passed=np.array([math.nan if row.passed is None else float(row.passed) for row in rows]),
        duration_ms=np.array([math.nan if row.duration_ms is None else float(row.duration_ms) for row in rows]),
        cut=np.array([row.cut for row in rows], dtype=bool),
        ended_ms=np.array([row.ended_ms for row in rows], dtype=np.int64),
        split=np.array([row.split for row in rows], dtype=np.str_),
        candidates=np.array([row.candidates for row in rows], dtype=np.int64),
        known_passers=np.array([row.known_passers for row in rows], dtype=np.int64),
    )


def split_of(ended_ms: int, firsts_ms: Mapping[str, int | None]) -> str:
    """The split that a trial which ended then belongs to: train if that was before anything of val or test was decided,
    val if before anything of test; ``firsts_ms`` is the first decision of each split, None of an empty one."""
    later = {name: first for name, first in firsts_ms.items() if name != "train" and first is not None}
    if all(ended_ms <= first for first in later.values()):
        return "train"
    return "val" if ended_ms <= later.get("test", ended_ms) else "test"


def count_trials(rows: Iterable[Trial]) -> dict[str, int]:
    """How many trials are whole, cut, and partly known (pass or time missing, though nobody cut them)."""
    counts = {"whole": 0, "cut": 0, "partly_known": 0}
    for row in rows:
        known = row.passed is not None and row.duration_ms is not None
        counts["cut" if row.cut else "whole" if known else "partly_known"] += 1
    return counts


def write_trials(directory: Path, rows: Sequence[Trial]) -> None:
    """Write trials.parquet, in order of time."""
    rows = sorted(rows, key=attrgetter("ended_ms", "trial_id"))
    columns = (
        dict(zip(Trial._fields, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(Trial._fields, ())
    )
    for name in ("issue_id", "group", "size_minutes", "text"):
        columns[name] = tuple(map(attrgetter(name), columns["subject"]))
    table = pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
    pq.write_table(table, directory / TRIALS_FILE, compression="zstd")


def read_trials(directory: Path) -> Trials:
    """The trials of a dataset; DatasetError when it has none, as those of an earlier program."""
    path = directory / TRIALS_FILE
    try:
        table = pq.read_table(path, schema=SCHEMA).to_pydict()
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DatasetError(
            f"{path}: no table of trials ({type(error).__name__}): build or relabel the dataset again with this program"
        ) from None
    keys = zip(*(table[name] for name in ("issue_id", "group", "size_minutes", "text")), strict=True)
    subjects: dict[tuple[Any, ...], Subject] = {}
    columns = [_column(table, name) for name in Trial._fields if name != "subject"]
    place = Trial._fields.index("subject")
    rows = [
        Trial._make([*row[:place], subjects.setdefault(key, Subject(*key)), *row[place:]])
        for row, key in zip(zip(*columns, strict=True), keys, strict=True)
    ]
    return trials_of(rows)


def _column(table: Mapping[str, list[Any]], name: str) -> list[Any]:
    """A column; where an earlier program left none, or a null, what it stands for."""
    default = Trial._field_defaults.get(name)
    return [default if value is None else value for value in table[name]] if default is not None else table[name]
