"""What commands of ours have written in a repo, how large and how old it is, and which of it may go."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planner.begun_work import remove
from planner.own_places import BUNDLE, DATASET, RUNS
from planner.places import BUILDS, cache_directory
from planner.run_directory import RUN_FILES, RUN_LOCK, is_held, run_document

PLANNER_DIR = DATASET.parent
KEPT = ("dataset", "winners", "ledger", "bundle", "settings")
"""Kinds that `clean` never touches: what was dear to make, or is in use."""
STUDY_FILES = {
    "compare": ("runs", "comparison.json", "comparison.md"),
    "ablate": ("runs", "ablation.json", "ablation.csv", "ablation.md"),
    "tune": (
        "study.sqlite",
        "study.sqlite-journal",
        "trials",
        "trials.json",
        "importance.json",
        "best.yaml",
        "ray",
        "search.lock",
    ),
}
"""Kind of study -> all that its command writes into its directory."""


@dataclass(frozen=True)
class OwnRecord:
    """One thing that a command wrote."""

    kind: str
    path: str
    bytes: int
    changed_s: float
    """When its newest file was written, s since the epoch."""


def own_records(repo: Path) -> list[OwnRecord]:
    """All of them, by kind, the newest first."""
    found = [OwnRecord(kind, str(path), *_measure(path)) for kind, path in _find(repo / PLANNER_DIR)]
    order = list(dict.fromkeys(record.kind for record in found))
    return sorted(found, key=lambda record: (order.index(record.kind), -record.changed_s))


def _find(directory: Path) -> Iterator[tuple[str, Path]]:
    for kind in ("dataset", "winners"):
        if (directory / kind / "dataset.json").is_file():
            yield kind, directory / kind
    for path in sorted((directory / RUNS.name).glob("*/run.json")):
        yield "run", path.parent
    for kind, names in STUDY_FILES.items():
        if any((directory / kind / name).exists() for name in names):
            yield kind, directory / kind
    if (directory / "bench" / "ledger.sqlite").is_file():
        yield "ledger", directory / "bench" / "ledger.sqlite"
    for path in sorted((directory / "bench" / "earlier").glob("ledger-*.sqlite")):
        yield "earlier", path
    if (directory / BUNDLE.name / "metadata.json").is_file():
        yield "bundle", directory / BUNDLE.name
    for path in sorted(directory.glob(".*.????????")):
        # What staged_directory was filling when its process was killed.
        if path.is_dir() and path.name.split(".")[1] in ("dataset", "winners", "bundle"):
            yield "leftover", path
    if (directory / "planner.yaml").is_file():
        yield "settings", directory / "planner.yaml"


@dataclass(frozen=True)
class Cleaning:
    """What `clean` would delete, and what it leaves though it is old enough, with the reason."""

    to_delete: tuple[OwnRecord, ...]
    left: tuple[tuple[OwnRecord, str], ...]


def plan_cleaning(repo: Path, older_than_s: float) -> Cleaning:
    """What has not been written to for so long and that nothing else needs; copies of URIs' contents too."""
    now = time.time()
    records = [*own_records(repo), *_cached()]
    old = [record for record in records if now - record.changed_s >= older_than_s and record.kind not in KEPT]
    needed = _needed(repo)
    delete, left = [], []
    for record in old:
        path = Path(record.path)
        reason = needed.get(path.resolve())
        if record.kind == "run" and is_held(path / RUN_LOCK):
            reason = "a command trains it now"
        if reason is None:
            delete.append(record)
        else:
            left.append((record, reason))
    return Cleaning(tuple(delete), tuple(left))


def delete(record: OwnRecord) -> None:
    """Delete what a command of ours wrote, and a directory only when nothing else lies in it."""
    path = Path(record.path)
    if record.kind in ("cache", "leftover"):
        shutil.rmtree(path)
    elif record.kind == "earlier":
        remove(path.parent, [path.name, f"{path.name}-wal", f"{path.name}-shm"])
    else:
        remove(path, (*RUN_FILES, RUN_LOCK) if record.kind == "run" else STUDY_FILES[record.kind])
        if not any(path.iterdir()):
            path.rmdir()


def size_text(n_bytes: int) -> str:
    """A size in the largest unit that gives at least 1."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"


def _needed(repo: Path) -> dict[Path, str]:
    """Runs that must stay, by their full path: the newest, and those that others started from or are taught by."""
    runs = sorted((repo / RUNS).glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    found: dict[Path, str] = {}
    for path in runs:
        document = run_document(path.parent) or {}
        for key, what in (("init_from", "started from it"), ("teacher", "is taught by it")):
            if document.get(key):
                found[Path(document[key]).resolve()] = f"{path.parent.name} {what}"
    if runs:
        found[runs[-1].parent.resolve()] = "it is the newest run"
    return found


def _cached() -> Iterator[OwnRecord]:
    """Copies of what lies at URIs, and what builds of datasets have kept: both are made again when they are needed."""
    for places in (cache_directory() / "places", cache_directory() / BUILDS):
        for path in sorted(places.iterdir()) if places.is_dir() else ():
            if path.is_dir():
                yield OwnRecord("cache", str(path), *_measure(path))


def _measure(path: Path) -> tuple[int, float]:
    files = [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()] if path.is_dir() else [path]
    states = [one.stat() for one in files]
    return sum(state.st_size for state in states), max(
        (state.st_mtime for state in states), default=path.stat().st_mtime
    )
