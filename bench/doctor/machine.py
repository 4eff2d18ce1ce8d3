"""What this machine has for runs: git, locks, a place for the ledger, disk, memory, open files, a steady clock."""

import os
import resource
import sqlite3
import tempfile
import time
from pathlib import Path

from bench.containment.limits import GIB, Limits
from bench.containment.workdirs import in_use, is_in_use, remove_tree
from bench.doctor.check import Check, attempt
from bench.ledger_place import require_own_disk
from bench.planning.git import git

DISK_PER_RUN = 2 * GIB
INODES_PER_RUN = 50_000
"""A clone of a large project with what its tests leave behind."""
FILES_PER_RUN, FILES_OF_OURS = 20, 256


def clones(place: Path) -> str:
    """Git can do what an execution needs."""
    repo = place / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    identity = ("-c", "user.name=doctor", "-c", "user.email=doctor@localhost")
    git(repo, *identity, "commit", "--quiet", "--allow-empty", "--message=base")
    git(place, "clone", "--quiet", "--shared", "--", str(repo), str(place / "clone"))
    git(place / "clone", "worktree", "add", "--quiet", "-b", "cell", str(place / "cell"))
    return f"{git(place, '--version')}, clones and worktrees work"


def locks(place: Path) -> str:
    """A directory that is in use is seen to be so."""
    with in_use(place):
        if not is_in_use(place):
            raise OSError("a lock on a file of the work directory is not seen by others")
    return "a lock in the work directory holds"


def ledger(directory: Path) -> str:
    """SQLite keeps its promises where the ledger will be."""
    require_own_disk(directory / "ledger.sqlite")
    place = Path(tempfile.mkdtemp(prefix="planner-doctor-", dir=directory))
    try:
        first = sqlite3.connect(place / "ledger.sqlite", isolation_level=None, timeout=0)
        second = sqlite3.connect(place / "ledger.sqlite", isolation_level=None, timeout=0)
        try:
            return _write_ledger(first, second)
        finally:
            first.close()
            second.close()
    finally:
        remove_tree(place)


def _write_ledger(first: sqlite3.Connection, second: sqlite3.Connection) -> str:
    mode = first.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise OSError(f"no write-ahead log there: SQLite stays in mode {mode!r}")
    first.execute("PRAGMA synchronous = FULL")
    first.execute("CREATE TABLE probe (number INTEGER)")
    began = time.monotonic()
    first.execute("INSERT INTO probe VALUES (1)")
    commit_ms = (time.monotonic() - began) * 1000
    first.execute("BEGIN IMMEDIATE")
    first.execute("INSERT INTO probe VALUES (2)")
    if second.execute("SELECT count(*) FROM probe").fetchone()[0] != 1:
        raise OSError("one connection sees what another has not committed")
    try:
        second.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        first.execute("COMMIT")
        return f"SQLite with a write-ahead log and full sync works, {commit_ms:.1f} ms per commit"
    raise OSError("SQLite's locks do not hold there: two can write at once")


def resources(place: Path, limits: Limits, n_workers: int) -> list[Check]:
    """Whether there is enough for ``n_workers`` runs at once, each up to its ``limits``."""
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    wanted = n_workers * DISK_PER_RUN
    memory = _available_memory()
    most = None if limits.memory_bytes is None else n_workers * limits.memory_bytes
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files_wanted = FILES_OF_OURS + FILES_PER_RUN * n_workers
    return [
        Check(
            "disk",
            free >= wanted,
            f"{_gib(free)} free in {place.parent}, {n_workers} runs at once may want {_gib(wanted)}; no limit holds "
            "the sum of a run's files",
            "free some, or choose another --work-dir",
        ),
        Check(
            "inodes",
            # A file system that makes them as needed reports 0 of 0.
            None if disk.f_files == 0 else disk.f_favail >= n_workers * INODES_PER_RUN,
            "made as needed" if disk.f_files == 0 else f"{disk.f_favail} free in {place.parent}",
            "free some, or choose another --work-dir",
        ),
        Check(
            "memory",
            None if most is None or memory is None else memory >= most,
            f"{'unknown' if memory is None else _gib(memory)} free, {n_workers} runs at once may use "
            f"{'any' if most is None else _gib(most)}",
            "use fewer --workers, or a lower limit of memory",
        ),
        Check(
            "open files",
            files == resource.RLIM_INFINITY or files >= files_wanted,
            f"{'no limit' if files == resource.RLIM_INFINITY else files}, {files_wanted} are wanted",
            "raise it with `ulimit -n`",
        ),
        attempt("clock", "set this machine's clock, and that of the file server", lambda: _clock(place)),
    ]


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _clock(place: Path) -> str:
    before = time.time(), time.monotonic()
    time.sleep(0.05)
    drift = (time.time() - before[0]) - (time.monotonic() - before[1])
    (place / "now").touch()
    apart = (place / "now").stat().st_mtime - time.time()
    # This file is older than any bench.
    if abs(drift) > 0.5 or abs(apart) > 2 or time.time() < Path(__file__).stat().st_mtime - 86400:
        raise OSError(
            f"the clock jumped by {drift:.3f} s, files are dated {apart:.3f} s off it, it says {time.ctime()}"
        )
    return "steady, and in step with the file system's"


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.1f} GiB"
