"""The newest page of records that may still be written: made again, in the background, when they have changed."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.judging.results import HOLDOUT, HoldOutBy
from bench.report.grid import Grid
from bench.report.page import Live, Page, read_page, render
from bench.report.sources import find_sources
from bench.view.watching import State, state_of
from planner.errors import PlannerError

LOOK_EVERY_S = 1.0
REST = 4.0
"""How many times as long as a page takes to make there is a rest before the next: a bench has the machine then."""


@dataclass(frozen=True)
class Shown:
    """One state of the page."""

    version: int
    html: bytes


class LivePage:
    """Holds the newest page; a thread keeps it so between :meth:`start` and :meth:`stop`."""

    def __init__(
        self, named: Sequence[Path], runs: Sequence[Path], *, holdout: float = HOLDOUT, by: HoldOutBy = "time"
    ) -> None:
        """Make the first page; PlannerError when there is nothing to show, as `planner report` says it."""
        self._named, self._runs, self._holdout, self._by = list(named), list(runs), holdout, by
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="live page", daemon=True)
        self._state: State = ()
        self.shown = self._make(1)

    def start(self) -> None:
        """Begin to look for changes."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        wait_s = LOOK_EVERY_S
        while not self._over.wait(wait_s):
            wait_s = LOOK_EVERY_S
            if state_of([*self._named, *self._runs], self._sources) == self._state:
                continue
            began = time.monotonic()
            try:
                self.shown = self._make(self.shown.version + 1)
            except (PlannerError, OSError, ValueError):
                # A record that is being written, or has just been moved away: the page before stays until it is whole.
                continue
            wait_s = max(LOOK_EVERY_S, REST * (time.monotonic() - began))

    def _make(self, version: int) -> Shown:
        self._sources = find_sources(self._named, self._runs)
        # Before they are read: what changes meanwhile makes the next page.
        self._state = state_of([*self._named, *self._runs], self._sources)
        page = read_page(self._sources, holdout=self._holdout, by=self._by)
        return Shown(version, render(page, Live(version, f"{_progress(page)}, {_now()}.")).encode())


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _progress(page: Page) -> str:
    """How far what is running has come."""
    parts = [_of_bench(page.grid)] if page.grid is not None else []
    parts += [f"run {run.name}: {run.epochs} epochs" for run in page.runs if not run.finished]
    return "; ".join(parts) or "records as they are"


def _of_bench(grid: Grid) -> str:
    ended = sum(one.outcome is not None for one in grid.executions)
    return f"bench: {ended:,} of {len(grid.executions):,} executions ended"
