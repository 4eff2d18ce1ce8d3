"""How far a long command is: bars on a terminal, else plain lines on stderr, so that a log shows life."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from planner.display.console import notes
from planner.manner import MANNER

LINE_EVERY_S = 10.0
"""The least time between two plain lines."""
SAME_LINE_EVERY_S = 60.0
"""After how long a line comes though nothing has changed."""


class StageBars:
    """One bar per stage of a long command, added as the stages come; the newest stage is what plain lines show."""

    def __init__(self, *, draws_per_second: float = 10) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._state: tuple[str, int, int | None] | None = None
        self._lines = None if MANNER.quiet or notes.is_terminal else PlainLines(self._line)
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=notes,
            refresh_per_second=draws_per_second,
            disable=MANNER.quiet or not notes.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        if self._lines is not None:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if self._lines is not None:
            self._lines.stop()

    def update(self, stage: str, done: int, total: int | None, text: str | None = None) -> None:
        """``done`` of ``total`` parts of ``stage`` are finished; ``text`` is what is shown in the stage's place."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(text or stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total, description=text or stage)
        self._state = text or stage, done, total
        if self._lines is not None:
            self._lines.due()

    def _line(self) -> str:
        if self._state is None:
            return "starting"
        text, done, total = self._state
        return text if total is None else f"{text} {done}/{total}"


class EpochBar(StageBars):
    """A bar over epochs that shows the newest validation log-likelihood."""

    def __init__(self, epochs: int, name: str = "train") -> None:
        super().__init__()
        self._epochs, self._name = epochs, name
        self.update(name, 0, epochs, f"{name} (starting)")

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One more epoch is over."""
        score = metrics.get("val_log_likelihood")
        text = f"{self._name}: loss {metrics['train_loss']:.3f}" + (f", val {score:.3f}" if score is not None else "")
        self.update(self._name, metrics["epoch"] + 1, self._epochs, text)


class PlainLines:
    """Prints what ``line`` says: at once, then every ten seconds if it has changed, every minute if it has not."""

    def __init__(self, line: Callable[[], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._clock = line, clock
        self._began = clock()
        self._printed: tuple[float, str] | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Print from now on."""
        self.due()
        self._thread.start()

    def stop(self) -> None:
        """Print no more."""
        self._over.set()
        self._thread.join()

    def due(self) -> None:
        """Print a line if it is time for one."""
        with self._lock:
            now, text = self._clock(), self._line()
            if self._printed is not None:
                last, before = self._printed
                if now - last < (LINE_EVERY_S if text != before else SAME_LINE_EVERY_S):
                    return
            self._printed = now, text
            seconds = round(now - self._began)
            notes.print(f"{text}  ({seconds // 60}:{seconds % 60:02d})", markup=False, highlight=False, soft_wrap=True)

    def _beat(self) -> None:
        while not self._over.wait(1.0):
            self.due()
