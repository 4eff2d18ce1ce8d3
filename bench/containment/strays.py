"""The last resort against processes of a run that outlived their worker, their supervisor and its guard.

A process is taken for a run's when its environment bears the run's MARK, when it has no terminal and works in the
run's directory (its own directory, or any open file, such as the run's log, lies there), or when it descends from one
of these. One that a run started with an empty environment, without open files, elsewhere, and whose parents have
ended, is not found: while one of supervisor and guard lives there is no need to.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

MARK = "PLANNER_BENCH_WORK_DIR"
"""Environment variable that every process of a run inherits: the work directory of its execution."""
MAX_ROUNDS = 100
"""Each finds what was born during the one before."""


def kill_strays(directory: Path) -> int:
    """SIGKILL every process of a run in ``directory`` or below, except us and our parents; returns how many."""
    killed: set[int] = set()
    for _ in range(MAX_ROUNDS):
        found = _strays(directory) - killed
        if not found:
            break
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                # It has just ended, or belongs to another user.
                continue
        killed |= found
    return len(killed)


def _strays(directory: Path) -> set[int]:
    parents: dict[int, int] = {}
    strays: set[int] = set()
    resolved = str(directory.resolve())
    for process in _processes():
        try:
            text = Path(f"/proc/{process}/stat").read_bytes()
            state, parent, _, _, terminal = text[text.rindex(b")") + 1 :].split()[:5]
            if state in (b"Z", b"X"):
                continue
            parents[process] = int(parent)
            if _is_marked(process, str(directory)) or (terminal == b"0" and _works_in(process, resolved)):
                strays.add(process)
        except (OSError, ValueError):
            # It has just ended, or belongs to another user.
            continue
    strays |= {process for process in parents if not strays.isdisjoint(_ancestors(process, parents))}
    return strays - {os.getpid(), *_ancestors(os.getpid(), parents)}


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names, not paths


def _is_marked(process: int, directory: str) -> bool:
    wanted = f"{MARK}={directory}".encode()
    variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return any(variable == wanted or variable.startswith(wanted + b"/") for variable in variables)


def _works_in(process: int, directory: str) -> bool:
    opened = os.listdir(f"/proc/{process}/fd")  # noqa: PTH208 - thousands of them, of which only names are wanted
    links = [f"/proc/{process}/cwd", *(f"/proc/{process}/fd/{name}" for name in opened)]
    return any(place == directory or place.startswith(directory + "/") for place in map(_target, links))


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - a target may be no path: "pipe:[1]"
    except OSError:
        return ""


def _ancestors(process: int, parents: dict[int, int]) -> list[int]:
    """Its parent, that one's parent and so on."""
    found: list[int] = []
    while (process := parents.get(process, 0)) and process not in found:
        found.append(process)
    return found
