"""Trackers: who follows a training run, epoch by epoch. TensorBoard is built in, `--track` takes others."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.errors import ConfigError, TrainingError

Setting = str | int | float | bool


@dataclass(frozen=True)
class RunStart:
    """What is known of a run before its first epoch."""

    run: Path
    """Its directory; a study's runs lie beside one another."""
    settings: Mapping[str, Setting]
    """All settings, the model's defaults included, by dotted names; lists are text."""
    dataset_hash: str
    next_epoch: int
    """From 0; more where the run goes on after an interruption."""


class Tracker(Protocol):
    """Follows one run. It is made without arguments, in the process that trains; of several workers only the first has
    one. A start that fails ends the training; a tracker that fails later is left out from then on, with a note.
    """

    def run_starts(self, start: RunStart) -> None:
        """Before the first epoch of this session: a run that was interrupted starts again."""

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """After each epoch, numbered from 0; ``is_best``: it is the run's best so far."""

    def run_ends(self, finished: bool) -> None:
        """After the last epoch; not ``finished``: an error ended the session. A process that is killed says nothing."""


def load_tracker(path: str) -> type[Tracker]:
    """The class ``MODULE:CLASS``; ConfigError says what is missing."""
    module_name, _, class_name = path.partition(":")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"--track {path}: write MODULE:CLASS, for instance my_package.trackers:MLflow")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the module, which is the user's own
        raise ConfigError(
            f"--track {path}: {module_name} cannot be imported: {error!r}; install it, or put it on PYTHONPATH"
        ) from None
    found = getattr(module, class_name, None)
    lacking = [name for name in ("run_starts", "epoch", "run_ends") if not callable(getattr(found, name, None))]
    if not isinstance(found, type) or lacking:
        what = (
            f"has no class {class_name}" if not isinstance(found, type) else f"{class_name} lacks {', '.join(lacking)}"
        )
        raise ConfigError(
            f"--track {path}: {module_name}: {what}; planner.training.trackers.Tracker says what it needs"
        )
    return found


class Trackers:
    """Several at once; none of them can end a training that is on its way."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._following = list(trackers)

    def run_starts(self, start: RunStart) -> None:
        """Hand it to each; TrainingError when one fails."""
        for tracker in self._following:
            try:
                tracker.run_starts(start)
            except Exception as error:  # what a tracker of the user's raises is not ours to foresee
                raise TrainingError(f"tracker {type(tracker).__name__} cannot start: {error!r:.300}") from error

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """Hand it to each."""
        for tracker in list(self._following):
            try:
                tracker.epoch(epoch, metrics, is_best)
            except Exception as error:
                self._leave_out(tracker, error)

    def run_ends(self, finished: bool) -> None:
        """Hand it to each."""
        for tracker in list(self._following):
            try:
                tracker.run_ends(finished)
            except Exception as error:
                self._leave_out(tracker, error)

    def _leave_out(self, tracker: Tracker, error: Exception) -> None:
        self._following.remove(tracker)
        print(f"note: tracker {type(tracker).__name__} failed and follows no more: {error!r:.300}", file=sys.stderr)
