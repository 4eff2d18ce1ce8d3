"""A Cyntra repo as one value: config, issues, universes, runs, and what could not be read."""

from functools import cached_property
from pathlib import Path
from typing import Any

from planner.artifacts.archives import read_archive
from planner.artifacts.beads import read_blocking, read_issues
from planner.artifacts.dynamics import read_dynamics
from planner.artifacts.events import EventLog, StartFailure, WorkcellEvents, read_events
from planner.artifacts.recorded_context import KnownRuns
from planner.artifacts.records import Quarantine, RunRecord, list_entries
from planner.artifacts.tracked_issue import Blocking, Neighbourhoods, TrackedIssue, passed_over
from planner.artifacts.universe import Universe, choose_universe, load_kernel_config, load_universes
from planner.artifacts.worlds import read_world_runs
from planner.errors import ArtifactError
from planner.gc_pause import collector_paused
from planner.places import Place, fetched

KERNEL_DIR = ".cyntra"


class Repo:
    """A Cyntra repo: what functions take instead of a path.

    Each part is read when it is first asked for, and only once; what could not be read is in ``quarantine``, as far as
    parts have been read. ArtifactError when ``root`` has no kernel directory, or a config or universe is broken.
    """

    def __init__(self, root: Path, kernel_dir: Path | None = None, universe_id: str | None = None) -> None:
        """``kernel_dir`` defaults to ``root/.cyntra``, ``universe_id`` to the only universe, if there is just one."""
        self.root, self.kernel = locate(root, kernel_dir)
        self.quarantine = Quarantine(self.root)
        self._universe_id = universe_id

    @cached_property
    def config(self) -> dict[str, Any]:
        """The kernel's config, its includes merged; empty when there is none."""
        path = self.config_path
        return load_kernel_config(path) if path.exists() else {}

    @property
    def config_path(self) -> Path:
        """Where the kernel's config is."""
        return self.kernel / "config.yaml"

    @cached_property
    def issues(self) -> dict[str, dict[str, Any]]:
        """Issue id -> issue, as in the tracker's file."""
        return read_issues(self.root, self.quarantine)

    @cached_property
    def blocking(self) -> list[Blocking]:
        """Which issue waits for which."""
        return read_blocking(self.root, self.quarantine)

    @cached_property
    def tracked(self) -> tuple[dict[str, TrackedIssue], Neighbourhoods]:
        """Its issues as Cyntra reads them, without those that it passes over, and what is around each."""
        issues = {key: TrackedIssue.of(issue) for key, issue in self.issues.items() if not passed_over(issue)}
        return issues, Neighbourhoods(issues, self.blocking)

    @cached_property
    def dynamics(self) -> dict[str, Any] | None:
        """The kernel's dynamics report; None when there is none."""
        return read_dynamics(self.kernel)

    @cached_property
    def universes(self) -> dict[str, Universe]:
        """Universe id -> universe."""
        return load_universes(self.root)

    @cached_property
    def universe(self) -> Universe:
        """The universe in which issues are decided."""
        return choose_universe(self.root, self._universe_id, self.universes)

    @cached_property
    def _log(self) -> EventLog:
        return read_events(self.kernel / "logs" / "events.jsonl", self.quarantine)

    @property
    def events(self) -> dict[str, WorkcellEvents]:
        """Workcell id -> what the event log says of it."""
        return self._log.cells

    @property
    def start_failures(self) -> list[StartFailure]:
        """The attempts that ended before they had a workcell."""
        return self._log.start_failures

    @cached_property
    def world_runs(self) -> list[RunRecord]:
        """The evolutions and world runs."""
        return read_world_runs(self.kernel / "runs", self.quarantine, world_tags(self.universes))

    @cached_property
    def runs(self) -> list[RunRecord]:
        """Every run, in order of (started_ms, run_id)."""
        with collector_paused():
            archived = read_archives(list_archives(self.kernel, self.quarantine), self.events, self.quarantine)
            return sorted([*self.world_runs, *archived], key=lambda run: (run.started_ms, run.run_id))

    def read_all(self) -> "Repo":
        """Read now whatever can add to the quarantine, so that it is complete; returns this repo."""
        for part in ("issues", "runs"):
            getattr(self, part)
        return self


def locate(root: Path, kernel_dir: Path | None = None) -> tuple[Path, Path]:
    """Absolute repo and kernel directory; ArtifactError when the latter does not exist."""
    root = root.resolve()
    kernel = (kernel_dir or root / KERNEL_DIR).resolve()
    if not kernel.is_dir():
        raise ArtifactError(f"{root}: no {KERNEL_DIR} directory; give the root of a repo in which Cyntra has run")
    return root, kernel


def fetched_repo(place: Place) -> Path:
    """The root of the repo at ``place`` on this machine; of one at a URI a copy of what this package reads, cached."""
    parts = (f"{KERNEL_DIR}/", ".beads/", "universes/")
    return fetched(place, f"{KERNEL_DIR}/config.yaml", only=parts, besides=(f"{KERNEL_DIR}/planner/",))


def list_archives(kernel: Path, quarantine: Quarantine) -> list[Path]:
    """The entries of the archive directory in name order, stray files included."""
    return list_entries(kernel / "archives", quarantine)


def read_archives(
    paths: list[Path],
    events: dict[str, WorkcellEvents],
    quarantine: Quarantine,
    known: KnownRuns | None = None,
) -> list[RunRecord]:
    """The runs in the archive directories ``paths``, in their order; ``known`` as in :func:`read_archive`."""
    known = known or KnownRuns()
    records = (read_archive(path, events.get(path.name), quarantine, known) for path in paths)
    return [record for record in records if record is not None]


def world_tags(universes: dict[str, Universe]) -> dict[str, list[str]]:
    """World id -> its tags, over all universes."""
    return {world: tags for universe in universes.values() for world, tags in universe.world_tags.items()}
