"""What a run says of its epochs: metrics.jsonl, and the trackers that follow it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from planner.config import TrainConfig
from planner.models.load import checked_settings
from planner.runs.checkpoint import RunState
from planner.training.tensorboard import TensorBoard
from planner.training.trackers import RunStart, Setting, Trackers, load_tracker


class RunLog:
    """For the length of a ``with`` block; only rank 0 writes."""

    def __init__(self, run: Path, state: RunState, config: TrainConfig, rank: int, track: Sequence[str]) -> None:
        """``track``: further trackers, each as MODULE:CLASS; ConfigError when there is none of that name."""
        self._file = run / "metrics.jsonl"
        # A run that is asked to go on at its end has no epoch to follow.
        self._writes = rank == 0 and not state.finished
        self._trackers = Trackers([TensorBoard(), *(load_tracker(path)() for path in track)] if self._writes else [])
        self._start = RunStart(run, all_settings(config), state.dataset_hash, state.epoch + 1)

    def __enter__(self) -> "RunLog":
        self._trackers.run_starts(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._trackers.run_ends(finished=error is None)

    def write(self, metrics: dict[str, Any], *, is_best: bool, examples_per_second: float) -> None:
        """Append one epoch's metrics. The speed is for trackers alone: the file is the same on every machine."""
        if not self._writes:
            return
        with self._file.open("ab") as file:
            file.write(orjson.dumps(metrics, option=orjson.OPT_APPEND_NEWLINE))
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        self._trackers.epoch(metrics["epoch"], {**values, "examples_per_second": examples_per_second}, is_best)


def all_settings(config: TrainConfig) -> dict[str, Setting]:
    """Every setting of a run by its dotted name, those that the model has by default included; lists are text."""
    document = config.model_dump()
    document["model"] = checked_settings(config.class_path, config.model).model_dump()
    return dict(_flat("", document))


def _flat(prefix: str, document: Mapping[str, object]) -> list[tuple[str, Setting]]:
    found: list[tuple[str, Setting]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            found += _flat(f"{prefix}{name}.", value)
        else:
            found.append((prefix + name, value if isinstance(value, str | int | float | bool) else str(value)))
    return found
