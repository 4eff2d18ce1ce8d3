"""The identity of a process, so that a number that the system gave out again is not taken for its former owner."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: its host, its number and when it started (clock ticks since boot, /proc/PID/stat field 22)."""

    host: str
    pid: int
    started_ticks: int

    @classmethod
    def own(cls) -> "ProcessIdentity":
        """This process."""
        return cls(socket.gethostname(), os.getpid(), _started_ticks(os.getpid()) or 0)

    @property
    def is_local(self) -> bool:
        """Whether it belongs to this host, so that :attr:`is_alive` can tell."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether the very same process still runs on this host."""
        return _started_ticks(self.pid) == self.started_ticks


def _started_ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    state, started_ticks = fields[0], int(fields[19])
    return None if state in (b"Z", b"X") else started_ticks
