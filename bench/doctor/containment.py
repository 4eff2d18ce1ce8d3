"""Whether runs can be contained here: the supervisor's means, and each of its limits, tried on real processes."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.containment.cgroups import find_cgroups, why_no_cgroups
from bench.containment.fast_python import fast_python
from bench.containment.limits import Limits
from bench.containment.namespaces import find_bubblewrap, network_problem, why_not
from bench.containment.run_supervised import RunReport, run_supervised
from bench.doctor.check import PROBE_LIMIT_S, Check, attempt

MB = 1_000_000
_ORPHAN = """
import os, time
from bench.containment.process_tree import become_subreaper
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
from bench.containment.process_tree import die_with_parent
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


def processes(place: Path) -> list[Check]:
    """What the supervisor needs so that no process gets away."""
    update = "runs cannot be contained here: use Linux 5.4 or later, outside of sandboxes that forbid it"
    return [
        attempt("/proc", "mount /proc without hidepid", _proc),
        attempt("pidfd", update, _pidfd),
        attempt("subreaper", update, lambda: _program(_ORPHAN, "orphans come to their supervisor")),
        attempt("death signal", update, lambda: _program(_DEATH_SIGNAL, "a command dies with its supervisor")),
        attempt("detached processes", update, lambda: _detached(place)),
        _precedence(),
        _cgroup(),
        _namespaces(),
        _network(),
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
    root = Path(__file__).parents[2]
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


def _namespaces() -> Check:
    program = find_bubblewrap()
    if program is not None:
        return Check("namespaces", True, f"{program}: runs see their clone, and neither your home nor other processes")
    return Check(
        "namespaces",
        None,
        f"a run has the rights of user {os.getuid()}: it can read this user's files, and the environment of other "
        "processes in /proc",
        f"{why_not()}; or bench agents that you do not trust as a user of their own",
    )


def _network() -> Check:
    problem = network_problem("loopback-blocked")
    if problem is None:
        return Check("network", True, "--network loopback-blocked: runs reach the network, but no port of this machine")
    return Check("network", None, "runs reach the ports of this machine, unless --network off", problem)


def _cgroup() -> Check:
    place = find_cgroups()
    if place is not None:
        return Check("cgroup v2", True, f"{place}: the kernel keeps each run's memory and processes, and ends it whole")
    return Check("cgroup v2", None, "supervisors look at memory and processes, ten times a second", why_no_cgroups())


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


def limit_checks(place: Path) -> list[Check]:
    """Each limit, on a run that goes beyond it."""

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
        attempt("wall limit", report_it, lambda: probe("import time; time.sleep(60)", Limits(0.2), "walltime")),
        attempt("memory limit", report_it, lambda: probe(_MEMORY, few, "memory")),
        attempt("process limit", report_it, lambda: probe(_THREADS, Limits(PROBE_LIMIT_S, processes=20), "processes")),
        Check(
            "process limit of the system",
            True if backstop else None,
            "binds this user" if backstop else "does not bind this user (root): the supervisor alone counts processes",
        ),
        attempt("file size limit", report_it, file_size),
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
