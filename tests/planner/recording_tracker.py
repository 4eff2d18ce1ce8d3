"""Trackers from outside: one writes down what it hears, one breaks after its first epoch, two are killed."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from planner.training.trackers import RunStart

HEARD = "heard.jsonl"


class Recorder:
    """Writes each call into a file in the run's directory."""

    def run_starts(self, start: RunStart) -> None:
        self._file = start.run / HEARD
        self._write(start={"settings": dict(start.settings), "next_epoch": start.next_epoch})

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        self._write(epoch=epoch, metrics=dict(metrics), is_best=is_best)

    def run_ends(self, finished: bool) -> None:
        self._write(finished=finished)

    def _write(self, **call: Any) -> None:
        with self._file.open("ab") as file:
            file.write(orjson.dumps(call | {"process": os.getpid()}, option=orjson.OPT_APPEND_NEWLINE))


class Breaks(Recorder):
    """Its disk is full, say."""

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        super().epoch(epoch, metrics, is_best)
        raise OSError("no space left")


class CannotStart(Recorder):
    """Its server is away, say."""

    def run_starts(self, start: RunStart) -> None:
        raise ConnectionError("refused")


class Kills(Recorder):
    """Out of memory, say: its process is killed."""

    def run_starts(self, start: RunStart) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KillsOnce(Recorder):
    """The same after the second epoch, the first time that the run gets there."""

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        super().epoch(epoch, metrics, is_best)
        sign = self._file.with_name("killed")
        if epoch == 1 and not sign.exists():
            sign.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def heard(run: Path) -> list[dict[str, Any]]:
    """What the Recorder of a run wrote."""
    return [orjson.loads(line) for line in (run / HEARD).read_bytes().splitlines()]
