"""A whole Cyntra repo read at once, in this process: issues, runs, universes, and what could not be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.artifacts.archives import read_archive
from planner.artifacts.beads import read_issues
from planner.artifacts.events import WorkcellEvents, read_events
from planner.artifacts.recorded_context import KnownRuns
from planner.artifacts.records import Quarantine, RunRecord, list_entries
from planner.artifacts.universe import Universe, load_universes
from planner.artifacts.worlds import read_world_runs
from planner.errors import ArtifactError
from planner.gc_pause import collector_paused

KERNEL_DIR = ".cyntra"


@dataclass
class RepoArtifacts:
    """Everything the planner reads of a repo. ``runs`` are in order of (started_ms, run_id)."""

    root: Path
    issues: dict[str, dict[str, Any]]
    runs: list[RunRecord]
    universes: dict[str, Universe]
    quarantine: list[dict[str, str]]


def read_repo(root: Path, kernel_dir: Path | None = None) -> RepoArtifacts:
    """Read ``root``; ``kernel_dir`` defaults to ``root/.cyntra``. ArtifactError when it is no Cyntra repo."""
    root, kernel = locate(root, kernel_dir)
    quarantine = Quarantine(root)
    universes = load_universes(root)
    with collector_paused():
        events = read_events(kernel / "logs" / "events.jsonl", quarantine)
        runs = read_world_runs(kernel / "runs", quarantine, world_tags(universes))
        runs += read_archives(list_archives(kernel, quarantine), events, quarantine)
    return RepoArtifacts(
        root=root,
        issues=read_issues(root, quarantine),
        runs=sorted(runs, key=lambda run: (run.started_ms, run.run_id)),
        universes=universes,
        quarantine=quarantine.entries,
    )


def locate(root: Path, kernel_dir: Path | None = None) -> tuple[Path, Path]:
    """Absolute repo and kernel directory; ArtifactError when the latter does not exist."""
    root = root.resolve()
    kernel = (kernel_dir or root / KERNEL_DIR).resolve()
    if not kernel.is_dir():
        raise ArtifactError(f"{root}: no {KERNEL_DIR} directory; give the root of a repo in which Cyntra has run")
    return root, kernel


def list_archives(kernel: Path, quarantine: Quarantine) -> list[Path]:
    """The entries of the archive directory in name order, stray files included."""
    return list_entries(kernel / "archives", quarantine)


def read_archives(
    paths: list[Path],
    events: dict[str, WorkcellEvents],
    quarantine: Quarantine,
    contexts: list[dict[str, Any]] | None = None,
) -> list[RunRecord]:
    """The runs in the archive directories ``paths``, in their order; ``contexts`` as in :func:`read_archive`."""
    known = KnownRuns()
    records = (read_archive(path, events.get(path.name), quarantine, contexts, known) for path in paths)
    return [record for record in records if record is not None]


def world_tags(universes: dict[str, Universe]) -> dict[str, list[str]]:
    """World id -> its tags, over all universes."""
    return {world: tags for universe in universes.values() for world, tags in universe.world_tags.items()}
