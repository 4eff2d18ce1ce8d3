"""What this machine can and cannot enforce on a run, each found by trying it; for ``planner bench --doctor``."""

import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.executors.clone import git
from bench.executors.cyntra import find_command
from bench.executors.toolchains import find_toolchains, toolchain_names
from bench.limits import GIB, Limits
from bench.programs import fast_python
from bench.supervised import RunReport, run_supervised
from bench.workdirs import in_use, is_in_use, remove_tree
from planner.artifacts.universe import load_kernel_config
from planner.errors import PlannerError

PROBE_LIMIT_S = 10.0
MB = 1_000_000
DISK_PER_RUN = 2 * GIB
INODES_PER_RUN = 50_000
"""A clone of a large project with what its tests leave behind."""
FILES_PER_RUN, FILES_OF_OURS = 20, 256


@dataclass(frozen=True)
class Check:
    """One thing that was tried. ``ok`` None = for information only; ``remedy`` is empty when nothing is to be done."""

    name: str
    ok: bool | None
    finding: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The check as one line of text."""
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.ok]
        text = " ".join(f"{mark}  {self.name}: {self.finding}".split("\n"))
        return f"{text} -> {self.remedy}" if self.remedy and self.ok is not True else text


def examine(
    work_base: Path,
    command: Sequence[str] | None = None,
    *,
    repo: Path | None = None,
    ledger_dir: Path | None = None,
    limits: Limits | None = None,
    n_workers: int = 1,
    search_path: str | None = None,
) -> list[Check]:
    """Try everything a bench relies on, in a directory below ``work_base`` that is removed again; takes seconds.

    ``command`` is the kernel's command line, ``repo`` gives the config whose toolchains are looked for on
    ``search_path`` (default: PATH), ``ledger_dir`` (default: ``work_base``) is where the ledger will be. The last two
    are made when they do not exist.
    """
    limits = limits or Limits(3600.0)
    ledger_dir = ledger_dir or work_base
    try:
        work_base.mkdir(parents=True, exist_ok=True)
        ledger_dir.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="planner-doctor-", dir=work_base))
    except OSError as error:
        return [Check("work directory", False, str(error), "choose another --work-dir or --ledger")]
    try:
        return [
            *_processes(place),
            *_limits(place),
            _try("git", "install git 2.5 or later", lambda: _git(place)),
            *_resources(place, limits, n_workers),
            _try("locks", "choose a --work-dir on a local file system", lambda: _locks(place)),
            _try("ledger", "put the ledger on a local file system with --ledger", lambda: _ledger(ledger_dir)),
            *_programs(command, repo, search_path),
        ]
    finally:
        remove_tree(place)


def _try(name: str, remedy: str, probe: Callable[[], str]) -> Check:
    """A check that is passed unless ``probe`` raises; what it returns is the finding."""
    try:
        return Check(name, True, probe())
    except subprocess.TimeoutExpired:
        return Check(name, False, f"no answer within {PROBE_LIMIT_S:.0f} s", remedy)
    except subprocess.CalledProcessError as error:
        return Check(name, False, str(error.stderr or error).strip(), remedy)
    except (PlannerError, OSError, sqlite3.Error) as error:
        return Check(name, False, str(error), remedy)


# --- processes --------------------------------------------------------------------------------------------------------

_ORPHAN = """
import os, time
from bench.process_tree import become_subreaper
become_subreaper()
read, write = os.pipe()
if os.fork() == 0:
    middle = os.getpid()
    if os.fork() == 0:
        while os.getppid() == middle:
            time.sleep(0.01)
        os.write(write, b"%d" % os.getppid())
    os._exit(0)
os.wait()
raise SystemExit(0 if int(os.read(read, 20)) == os.getpid() else "an orphan went to process 1 instead")
"""
_DEATH_SIGNAL = """
import os, time
from bench.process_tree import die_with_parent
ready_read, ready_write = os.pipe()
if os.fork() == 0:
    die_with_parent()
    os.write(ready_write, b"x")
    time.sleep(60)  # keeps stderr open, whose end the doctor waits for
os.read(ready_read, 1)
"""
_ESCAPE = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        with open("escaped", "w") as file:
            file.write(str(os.getpid()))
        os.rename("escaped", "escapee")
        os.execve(sys.executable, ["escapee", "-S", "-E", "-c", "import time; time.sleep(60)"], {})
    os._exit(0)
while not os.path.exists("escapee"):
    time.sleep(0.01)
"""


def _processes(place: Path) -> list[Check]:
    update = "runs cannot be contained here: use Linux 5.4 or later, outside of sandboxes that forbid it"
    return [
        _try("/proc", "mount /proc without hidepid", _proc),
        _try("pidfd", update, _pidfd),
        _try("subreaper", update, lambda: _program(_ORPHAN, "orphans come to their supervisor")),
        _try("death signal", update, lambda: _program(_DEATH_SIGNAL, "a command dies with its supervisor")),
        _try("detached processes", update, lambda: _detached(place)),
        _precedence(),
        _cgroup(),
        Check(
            "other processes' secrets",
            None,
            f"a run has the rights of user {os.getuid()}: it can read this user's files, and the environment of other "
            "processes in /proc",
            "bench agents that you do not trust as a user of their own",
        ),
    ]


def _proc() -> str:
    child = subprocess.Popen(["sleep", "60"])
    try:
        for name in ("stat", "environ", "smaps_rollup"):
            Path(f"/proc/{child.pid}/{name}").read_bytes()
        Path("/proc/1/stat").read_bytes()
        for name in ("loadavg", "meminfo"):
            Path(f"/proc/{name}").read_bytes()
    finally:
        child.kill()
        child.wait()
    return "processes and their memory can be read"


def _pidfd() -> str:
    os.close(os.pidfd_open(os.getpid()))
    return "available"


def _program(code: str, finding: str) -> str:
    root = Path(__file__).parents[1]
    start = f"import sys; sys.path[0] = {str(root)!r}\n"
    command = [*fast_python(), "-c", start + code]
    subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, timeout=PROBE_LIMIT_S)
    return finding


def _detached(place: Path) -> str:
    report = _supervise(place / "detached", [*fast_python(), "-c", _ESCAPE], Limits(PROBE_LIMIT_S))
    escapee = int((place / "detached" / "escapee").read_text())
    if report.left or Path(f"/proc/{escapee}").exists():
        raise OSError("a grandchild in a session of its own outlived its run")
    return "a grandchild that changed session, name and environment is ended with its run"


def _precedence() -> Check:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))"
    refused = subprocess.run([*fast_python(), "-c", code], stderr=subprocess.DEVNULL).returncode
    if refused:
        return Check("precedence", None, "supervisors run like all others: a large fork bomb takes seconds to end")
    return Check("precedence", True, "supervisors run before what they stand over")


def _cgroup() -> Check:
    """Not used by the bench; some would want to start it in a cgroup of its own."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
        for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            if own is not None and (mount / own / "cgroup.controllers").exists():
                controllers = (mount / own / "cgroup.controllers").read_text().strip() or "no controllers"
                delegated = "delegated" if os.access(mount / own / "cgroup.procs", os.W_OK) else "not delegated"
                return Check("cgroup v2", None, f"{delegated}, {controllers} (not needed)")
    except OSError as error:
        return Check("cgroup v2", None, f"{error} (not needed)")
    return Check("cgroup v2", None, "not available (not needed)")


# --- limits -----------------------------------------------------------------------------------------------------------

_MEMORY = "import time; kept = [b'x' * 10_000_000 for _ in range(20)]; time.sleep(60)"
_THREADS = "import time, _thread\nfor _ in range(40): _thread.start_new_thread(time.sleep, (60,))\ntime.sleep(60)"
_FILE = "open('big', 'wb').write(bytes(2_000_000))"
_FORK = """
import os, resource
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    if os.fork() == 0:
        os._exit(0)
except OSError:
    raise SystemExit(0)
raise SystemExit(1)
"""


def _limits(place: Path) -> list[Check]:
    def probe(code: str, limits: Limits, expected: str) -> str:
        report = _supervise(place / expected, [*fast_python(), "-c", code], limits)
        if report.stopped_by != expected:
            raise OSError(f"a run beyond its limit was not stopped by it, but by {report.stopped_by}")
        return f"a run beyond its limit was stopped after {report.wall_ms} ms"

    def file_size() -> str:
        report = _supervise(place / "file", [*fast_python(), "-c", _FILE], Limits(PROBE_LIMIT_S, file_bytes=MB))
        size = (place / "file" / "big").stat().st_size
        if size > MB or report.exit_code == 0:
            raise OSError(f"a file grew to {size} bytes where {MB} were allowed")
        return "a file cannot grow beyond its limit"

    backstop = subprocess.run([*fast_python(), "-c", _FORK]).returncode == 0
    few = Limits(PROBE_LIMIT_S, memory_bytes=100 * MB)
    report_it = "report it with this output"
    return [
        _try("wall limit", report_it, lambda: probe("import time; time.sleep(60)", Limits(0.2), "walltime")),
        _try("memory limit", report_it, lambda: probe(_MEMORY, few, "memory")),
        _try("process limit", report_it, lambda: probe(_THREADS, Limits(PROBE_LIMIT_S, processes=20), "processes")),
        Check(
            "process limit of the system",
            True if backstop else None,
            "binds this user" if backstop else "does not bind this user (root): the supervisor alone counts processes",
        ),
        _try("file size limit", report_it, file_size),
    ]


def _supervise(work_dir: Path, command: Sequence[str], limits: Limits) -> RunReport:
    work_dir.mkdir()
    return run_supervised(
        command,
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        log_path=work_dir / "log",
        limits=limits,
        grace_s=0.1,
    )


# --- files and resources ----------------------------------------------------------------------------------------------


def _git(place: Path) -> str:
    repo = place / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    identity = ("-c", "user.name=doctor", "-c", "user.email=doctor@localhost")
    git(repo, *identity, "commit", "--quiet", "--allow-empty", "--message=base")
    git(place, "clone", "--quiet", "--shared", "--", str(repo), str(place / "clone"))
    git(place / "clone", "worktree", "add", "--quiet", "-b", "cell", str(place / "cell"))
    return f"{git(place, '--version')}, clones and worktrees work"


def _locks(place: Path) -> str:
    with in_use(place):
        if not is_in_use(place):
            raise OSError("a lock on a file of the work directory is not seen by others")
    return "a lock in the work directory holds"


def _ledger(directory: Path) -> str:
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


def _resources(place: Path, limits: Limits, n_workers: int) -> list[Check]:
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
            # A file system that makes them as needed tells 0 of 0.
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
        _try("clock", "set this machine's clock, and that of the file server", lambda: _clock(place)),
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


# --- programs ---------------------------------------------------------------------------------------------------------


def _programs(command: Sequence[str] | None, repo: Path | None, search_path: str | None) -> list[Check]:
    checks = []
    if command is not None:
        found = find_command(command[0], search_path)
        remedy = "install Cyntra, or name its command with --cyntra"
        checks.append(Check("kernel", found is not None, found or f"{command[0]!r} is not on PATH", remedy))
    if repo is not None:
        checks.append(_try("toolchains", "install one of the config's tools", lambda: _toolchains(repo, search_path)))
    shell = shutil.which("/bin/sh")
    return [*checks, Check("shell", shell is not None, shell or "no /bin/sh", "install one: tools are started by it")]


def _toolchains(repo: Path, search_path: str | None) -> str:
    config = load_kernel_config(repo / ".cyntra" / "config.yaml")
    names = [toolchain.name for toolchain in find_toolchains(config, repo, search_path)]
    missing = [name for name in toolchain_names(config) if name not in names]
    if not names:
        raise OSError(f"none of {', '.join(missing)} is on PATH")
    return ", ".join(names) + (f" (missing or disabled: {', '.join(missing)})" if missing else "")
