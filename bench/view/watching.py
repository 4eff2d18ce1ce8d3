"""Whether records have changed: by size and time of the files that a report is made of, and of their directories."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.report.sources import LEDGER, PLANNER_DIR, Sources

State = tuple[tuple[str, int, int], ...]
"""(path, size, ns since the epoch) of every file that is there."""
OF_A_RUN = ("run.json", "metrics.jsonl", "regret.json")
ROOMS = (".", LEDGER.parent, "runs", "compare", "ablate", "tune")
"""Where new records appear in a directory that was named."""


def state_of(named: Sequence[Path], sources: Sources | None) -> State:
    """How the files of ``sources`` are now, and the directories in which new ones appear."""
    found = []
    for path in sorted({*_directories(named), *(() if sources is None else _files(sources))}):
        try:
            info = path.stat()
        except OSError:
            continue
        found.append((str(path), 0 if path.is_dir() else info.st_size, info.st_mtime_ns))
    return tuple(found)


def _directories(named: Sequence[Path]) -> Iterator[Path]:
    for path in named or [PLANNER_DIR]:
        yield path
        if path.is_dir():
            yield from (path / room for room in ROOMS)


def _files(sources: Sources) -> Iterator[Path]:
    if sources.ledger is not None:
        yield sources.ledger
        # What a bench has written since its last checkpoint.
        yield sources.ledger.with_name(f"{sources.ledger.name}-wal")
    if sources.judged is not None:
        yield sources.judged.path
    for run in sources.runs:
        yield from (run / name for name in OF_A_RUN)
    yield from (study.path for study in sources.studies)
