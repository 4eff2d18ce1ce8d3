"""The last resort against processes of a run that outlived both its worker and its supervisor."""

import os
import signal
from pathlib import Path

MARK = "PLANNER_BENCH_WORK_DIR"
"""Environment variable that every process of a run inherits: the work directory of its execution."""


def kill_strays(directory: Path) -> int:
    """SIGKILL every process whose mark is ``directory`` or lies in it; returns how many there were."""
    wanted = f"{MARK}={directory}".encode()
    n_killed = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable == wanted or variable.startswith(wanted + b"/") for variable in variables):
                os.kill(int(entry.name), signal.SIGKILL)
                n_killed += 1
        except OSError:
            # It has just ended, or belongs to another user.
            continue
    return n_killed
