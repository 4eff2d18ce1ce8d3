"""The processes that a Ray of our own has started, and their end: now and then one of them hangs while it exits, and
nobody would end it once its raylet is gone."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

RAYLET = "raylet"
ENDED_WITHIN_S = 5.0
"""How long workers may take to end by themselves when their raylet has."""


def workers_of_raylets() -> dict[int, int]:
    """Process -> start time of every descendant of the raylets that this process started."""
    children = _children()
    raylets = [pid for pid in children.get(os.getpid(), ()) if _stat(pid)[0] == RAYLET]
    found: set[int] = set()
    waiting = list(raylets)
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            found.add(pid)
            waiting.append(pid)
    return {pid: _stat(pid)[2] for pid in found}


def end_workers(started: dict[int, int]) -> int:
    """Wait for these processes to end, kill those that do not, and return how many that were."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    while (alive := [pid for pid, start in started.items() if _is_alive(pid, start)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in alive:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(alive)


def _is_alive(pid: int, start: int) -> bool:
    """Whether it is still that process, and not one that has ended and waits for its parent."""
    _, state, started = _stat(pid)
    return started == start and state != "Z"


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError, IndexError):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                found.setdefault(parent, []).append(int(path.name))
    return found


def _stat(pid: int) -> tuple[str, str, int]:
    """Name, state and start time (clock ticks since boot); "", "", -1 of a process that is gone."""
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return "", "", -1
    fields = after.split()
    return before.partition("(")[2], fields[0], int(fields[19])
