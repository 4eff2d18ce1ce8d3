"""Trackers that hold a training after an epoch until what is to happen meanwhile has happened."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from planner.training.trackers import RunStart
from tests.planner.recording_tracker import Recorder

WAITS = f"{__name__}:Waits"
WAITS_ALONE = f"{__name__}:WaitsAlone"
SIGN = "met-"
MEETS = f"{__name__}:Meets"


class Waits(Recorder):
    """Writes down what it hears, and lets no epoch but the first begin before :func:`go_on`."""

    def run_starts(self, start: RunStart) -> None:
        super().run_starts(start)
        self._sign = _sign(start.run)

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        super().epoch(epoch, metrics, is_best)
        while not self._sign.exists():
            time.sleep(0.05)


class WaitsAlone(Recorder):
    """Lets no epoch follow one that a single worker made: more workers start anew."""

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        super().epoch(epoch, metrics, is_best)
        while metrics["workers"] == 1:
            time.sleep(0.05)


class Meets(Recorder):
    """Lets no second epoch begin before a run on another node has had its first one.

    The nodes' caches lie beside one another.
    """

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        super().epoch(epoch, metrics, is_best)
        cache = Path(os.environ["PLANNER_CACHE"])
        (cache.parent / f"{SIGN}{cache.name}").touch()
        while len(met(cache.parent)) < 2:
            time.sleep(0.05)


def met(directory: Path) -> list[Path]:
    """The signs of nodes whose caches lie in ``directory``."""
    return list(directory.glob(f"{SIGN}*"))


def go_on(run: Path) -> None:
    """Hold neither ``run`` nor those beside it any longer."""
    _sign(run).touch()


def _sign(run: Path) -> Path:
    return run.with_name("go-on")
