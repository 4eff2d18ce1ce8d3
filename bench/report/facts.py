"""What it takes to make the same report again: program, records with their hashes, settings, and what was set aside."""

import hashlib
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from bench.report.grid import Grid, fate_of
from bench.report.runs import TrainedRun
from bench.report.sources import SetAside, Sources
from planner.provenance import own_commit, tool_versions

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """Names and values, in the page's order."""

    made: Rows
    """The page and the program that wrote it."""
    records: Rows
    """Every record that was read, with the SHA-256 of its bytes where it is one file."""
    runs: tuple[tuple[str, Rows], ...]
    set_aside: tuple[SetAside, ...]


def facts(sources: Sources, grid: Grid | None, runs: Sequence[TrainedRun], set_aside: Sequence[SetAside]) -> Facts:
    """All of them."""
    return Facts(
        made=_made(),
        records=_records(sources, grid),
        runs=tuple((run.name, _of_run(run)) for run in runs),
        set_aside=(*set_aside, *_faults(grid), *_unknown(sources)),
    )


def _made() -> Rows:
    versions = tool_versions("matplotlib", "jinja2")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return (
        ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("command", command),
        ("commit of the planner", own_commit() or "not in a git repository"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
    )


def _records(sources: Sources, grid: Grid | None) -> Rows:
    found: list[tuple[str, str]] = []
    if grid is not None:
        found.append(("ledger", f"{grid.path}, SHA-256 {_sha256(grid.path)}"))
        found += [(f"ledger: {name}", _short(value)) for name, value in sorted(grid.settings.items())]
        found.append(("utility", grid.objective.utility_text))
        if grid.minute_seconds is not None:
            found.append(("a minute of budget", f"{grid.minute_seconds:g} s"))
    if sources.judged is not None:
        report = sources.judged.report
        found.append(("judged by", f"{sources.judged.path}, SHA-256 {_sha256(sources.judged.path)}"))
        found.append(("held out", f"{report.holdout:.2f} of the cases, by {report.held_out_by}"))
    found += [(study.kind, f"{study.path}, SHA-256 {_sha256(study.path)}") for study in sources.studies]
    return tuple(found)


def _of_run(run: TrainedRun) -> Rows:
    return (
        ("directory", str(run.path)),
        ("policy", run.what),
        ("dataset", f"{run.dataset}, hash {run.dataset_hash}"),
        ("seed", "none" if run.seed is None else str(run.seed)),
        ("finished", "yes" if run.finished else "no"),
        *((("note", run.note),) if run.note else ()),
        ("settings", _short(dict(run.settings))),
    )


def _faults(grid: Grid | None) -> list[SetAside]:
    """Executions that the machine or the kernel spoiled, by reason."""
    if grid is None:
        return []
    reasons = Counter(
        one.outcome.fault or "unknown" for one in grid.executions if one.outcome is not None and fate_of(one) == "fault"
    )
    return [SetAside(f"{count} faulty executions", reason) for reason, count in reasons.most_common(20)]


def _unknown(sources: Sources) -> list[SetAside]:
    judged = sources.judged
    return [] if judged is None else [SetAside(str(judged.path), reason) for reason in judged.report.unknown_provenance]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
