"""Where executions work: one root per bench, named after its driver process, so that a dead bench's root is found."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.containment.mounts import detach_mounts
from bench.containment.process_identity import ProcessIdentity
from bench.containment.strays import kill_strays
from planner.errors import BenchError

LOCK_NAME = "in-use.lock"
"""Inside a work directory; its worker and its supervisor each hold a shared flock on it as long as they live."""
_ROOT_NAME = re.compile(r"planner-bench-(\d+)-(\d+)")


def own_root(base: Path) -> Path:
    """The root of a bench driven by this process, below ``base``. It need not exist yet."""
    identity = ProcessIdentity.own()
    return base / f"planner-bench-{identity.pid}-{identity.started_ticks}"


def make_work_dir(path: Path) -> None:
    """Make a work directory and, when needed, its root, both for this user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.lstat().st_uid != os.getuid():
        raise BenchError(f"{path.parent}: belongs to another user: choose another directory with --work-dir")
    path.mkdir(mode=0o700)


@contextmanager
def in_use(work_dir: Path) -> Iterator[int]:
    """Mark the work directory as in use for the length of the block; yields the descriptor that holds the mark."""
    with (work_dir / LOCK_NAME).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock.fileno()


def is_in_use(work_dir: Path) -> bool:
    """Whether a worker or a supervisor still works in the directory."""
    try:
        with (work_dir / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def remove_root(root: Path, patience_s: float) -> bool:
    """Remove a root once nothing in it is in use any more, waiting ``patience_s`` at most; whether it is gone."""
    deadline = time.monotonic() + patience_s
    while True:
        # Another bench may remove the same dead bench's root at the same time: what is gone is not in use.
        with contextlib.suppress(FileNotFoundError):
            if not any(is_in_use(work_dir) for work_dir in root.iterdir()):
                kill_strays(root)
                remove_tree(root)
        if not root.exists():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def remove_stale_roots(base: Path, patience_s: float) -> int:
    """Remove the roots of dead benches, waiting as :func:`remove_root` for what still ends there; returns how many."""
    stale = [root for root in base.glob("planner-bench-*") if _is_stale(root)]
    return sum(remove_root(root, patience_s) for root in stale)


def remove_tree(path: Path) -> None:
    """Remove a directory even if a tool has made parts of it unwritable; what is already gone is fine.

    What a tool has mounted there is detached first, for it may be a directory of the user's; one that holds a mount
    which we may not detach stays as it is.
    """
    if detach_mounts(str(path)):
        return
    try:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        for directory, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                Path(directory).chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:
        # Directories a thousand deep: rm has no such limit.
        subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL)


def _is_stale(root: Path) -> bool:
    match = _ROOT_NAME.fullmatch(root.name)
    if match is None or root.is_symlink() or not root.is_dir() or root.stat().st_uid != os.getuid():
        return False
    pid, started_ticks = map(int, match.groups())
    return not ProcessIdentity(ProcessIdentity.own().host, pid, started_ticks).is_alive
