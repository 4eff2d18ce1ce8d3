"""stdout as scripts use it: closed half way by `head`, full, or not there at all; files are written all the same."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class _MayClose(io.FileIO):
    """stdout's file; once nobody reads it, what is written goes nowhere. A full disk is an error once."""

    _is_full = False
    is_untouched = True
    """Nothing has been written yet."""

    def write(self, data: Any, /) -> int:
        self.is_untouched = False
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and not self._is_full:
                self._is_full = True
                raise
            return len(memoryview(data).cast("B"))


_FILES: list[_MayClose] = []
"""That of the command that runs; none where stdout is not a file."""


def is_untouched() -> bool:
    """Whether the command has printed nothing on stdout yet."""
    if _FILES:
        sys.stdout.flush()
    return all(file.is_untouched for file in _FILES)


def survive_closed_stdout() -> None:
    """From here on a reader that goes away is no error of the command."""
    _FILES.clear()
    if sys.stdout is None:
        # Open for as long as the process lives.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        return
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # a test's or a notebook's
        return
    raw = _MayClose(descriptor, "w", closefd=False)
    _FILES.append(raw)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.isatty(),
    )


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Ctrl-C in the block is heeded at its end, so that what it writes and flushes comes once and whole; a second one
    is heeded at once, for a reader that has stopped reading."""
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_heeded or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
