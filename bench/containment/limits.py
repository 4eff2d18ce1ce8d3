"""What one execution may use, and how its limit of time is shortened while it runs."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

GIB = 2**30
StopReason = Literal["walltime", "memory", "processes", "disk", "capped", "cancelled"]
"""Why *we* stopped a run: at its own limits; because no space was left where it works; because it could not win any
more; because nobody wants it any more."""


@dataclass(frozen=True)
class Limits:
    """What a run may use before it is stopped, or, for a file's size, be denied. None = no limit."""

    wall_s: float
    memory_bytes: int | None = 8 * GIB
    """Anonymous and shared memory of all its processes together. Enough for four agents and a test suite of a large
    project. Watched ten times a second and not an rlimit: a Java VM reserves gigabytes of addresses that it never uses
    (RLIMIT_AS), an AddressSanitizer terabytes of data (RLIMIT_DATA). What it writes to a tmpfs without mapping it is
    not counted, but in a cgroup."""
    processes: int | None = 2048
    """Processes and threads together: a fifteenth of what a small machine can have (32768), and several times what
    four agents and a parallel build use."""
    file_bytes: int | None = 8 * GIB
    """Largest file that any of its processes can write (RLIMIT_FSIZE); more ends that process by SIGXFSZ."""


class Deadline:
    """Shortens the limit of one run from another thread, before it begins or while it lasts.

    Times are seconds since the run's start. A deadline belongs to one run and is not picklable.
    """

    def __init__(self, cap_s: float | None = None) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, float] = {}
        self._control: int | None = None
        if cap_s is not None:
            self.shorten(cap_s, "capped")

    @property
    def cap_s(self) -> float | None:
        """The shortest limit given as "capped", whether or not the run came to it."""
        return self._limits.get("capped")

    def shorten(self, seconds: float, reason: Literal["capped", "cancelled"]) -> None:
        """End the run for ``reason`` once it has lasted ``seconds``, unless it ends before for whatever reason.

        What is longer than a limit that is already set does nothing; nor does it after the run's end.
        """
        with self._lock:
            if seconds >= self._limits.get(reason, float("inf")):
                return
            self._limits[reason] = seconds
            if self._control is not None:
                self._send(self._control, reason, seconds)

    @contextmanager
    def hold(self, control: int) -> Iterator[None]:
        """Send limits to a supervisor's control pipe (its writing end, not blocking) for the length of the block."""
        with self._lock:
            for reason, seconds in self._limits.items():
                self._send(control, reason, seconds)
            self._control = control
        try:
            yield
        finally:
            with self._lock:
                self._control = None

    @staticmethod
    def _send(control: int, reason: str, seconds: float) -> None:
        # A supervisor that has just ended needs no limit.
        with contextlib.suppress(BrokenPipeError):
            os.write(control, f"{reason} {seconds}\n".encode())
