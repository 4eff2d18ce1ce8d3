"""The terminal itself: lines, bars, and numbers as short as they can be."""

import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

console = Console(width=None if sys.stdout.isatty() else 150)
"""Tables keep a readable width when the output goes to a file."""


class StageBars:
    """One bar per stage of a long command, added as the stages come."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of ``stage`` are finished."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)


class EpochBar(StageBars):
    """A bar over epochs that shows the newest validation log-likelihood."""

    def __init__(self, epochs: int, name: str = "train") -> None:
        super().__init__()
        self._epochs, self._name = epochs, name
        self._task = self._progress.add_task(f"{name} (starting)", total=epochs)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One more epoch is over."""
        score = metrics.get("val_log_likelihood")
        text = f"{self._name}: loss {metrics['train_loss']:.3f}" + (f", val {score:.3f}" if score is not None else "")
        self._progress.update(self._task, description=text, completed=metrics["epoch"] + 1)


def say(text: str) -> None:
    """A line of plain text: no markup, no colours, not wrapped, so that paths can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
