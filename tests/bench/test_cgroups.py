"""Runs in cgroups of their own: where those may be made, and what the kernel then keeps; else why not."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.containment.cgroups import NoCgroups, find_cgroups, new_group, own_cgroup, why_no_cgroups
from bench.containment.limits import Deadline, Limits
from bench.containment.run_supervised import RunReport, run_supervised
from bench.doctor.containment import processes
from tests.bench.conftest import KernelRepo
from tests.bench.test_executor import SERIAL, execute
from tests.bench.test_limits import BOMB, MB, MEMORY
from tests.bench.test_supervised import DETACH, is_alive, parent_of, python, until

ROOT = Path(__file__).parents[2]
V2 = b"35 24 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = b"""31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
real = pytest.mark.skipif(find_cgroups() is None, reason=f"no cgroups of our own here: {why_no_cgroups()}")


def test_the_own_cgroup_is_found_below_wherever_cgroup_v2_is_mounted() -> None:
    scope = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope"
    own = own_cgroup(f"0::{scope}\n", V2)
    assert (own.path, own.is_top, own.v1) == (Path(f"/sys/fs/cgroup{scope}"), False, frozenset())
    own = own_cgroup("0::/\n", V2)
    assert (own.path, own.is_top) == (Path("/sys/fs/cgroup"), True)
    own = own_cgroup("9:name=systemd:/\n4:memory:/a\n8:pids:/\n2:cpu,cpuacct:/\n0::/a\n", HYBRID)
    assert own.path == Path("/sys/fs/cgroup/unified/a") and {"memory", "pids", "cpuacct"} < own.v1
    # A container whose own cgroup is mounted as the top.
    own = own_cgroup("0::/docker/1\n", V2.replace(b" / ", b" /docker/1 "))
    assert (own.path, own.is_top) == (Path("/sys/fs/cgroup"), True)
    own = own_cgroup("0::/a b\n", V2.replace(b"/sys/fs/cgroup", rb"/sys/my\040cgroup"))
    assert own.path == Path("/sys/my cgroup/a b")


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "why"),
    [
        ("4:memory:/\n8:pids:/\n", HYBRID, "is not mounted.*unified_cgroup_hierarchy=1"),
        ("0::/a\n", b"23 1 0:28 / /sys rw - sysfs sysfs rw\n", "is not mounted"),
        ("0::/\n", V2.replace(b" / ", b" /../../docker/1 "), "/sys/fs/cgroup shows /../../docker/1.*--privileged"),
    ],
)
def test_without_a_cgroup_that_is_seen_it_is_said_why_and_what_to_do(cgroup: str, mountinfo: bytes, why: str) -> None:
    with pytest.raises(NoCgroups, match=why):
        own_cgroup(cgroup, mountinfo)


def test_the_doctor_says_whether_runs_have_cgroups_and_a_network_and_if_not_the_cure(tmp_path: Path) -> None:
    checks = {check.name: check for check in processes(tmp_path)}
    assert checks["cgroup v2"].ok is (None if find_cgroups() is None else True)
    for name, cures in (
        ("cgroup v2", ("unified_cgroup_hierarchy=1", "Delegate=yes", "--privileged", "Linux 5.14")),
        ("network", ("install passt", "install bubblewrap")),
    ):
        assert checks[name].ok or any(cure in checks[name].line for cure in cures)


def run(
    work_dir: Path, command: list[str], *, deadline: Deadline | None = None, grace_s: float = 0.3, **limits: int
) -> RunReport:
    """Run it in a cgroup of its own, without namespaces."""
    work_dir.mkdir(exist_ok=True)
    return run_supervised(
        command,
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ["PATH"]},
        log_path=work_dir / "log",
        limits=Limits(30, **limits),
        deadline=deadline,
        grace_s=grace_s,
        cgroups=find_cgroups(),
    )


def groups() -> list[Path]:
    """Those of runs, of whichever process."""
    place = find_cgroups()
    return [] if place is None else [path for path in place.glob("planner-bench-*") if path.name[-1].isdigit()]


@real
def test_a_run_is_in_a_cgroup_of_its_own_which_is_gone_after_it(tmp_path: Path) -> None:
    script = 'group=$(grep ^0:: /proc/self/cgroup); echo "${group##*/}"; mkdir "/sys/fs/cgroup${group#0::}/own" || true'
    assert run(tmp_path / "w", ["sh", "-c", f"{script}; exit 7"]).exit_code == 7
    assert (tmp_path / "w" / "log").read_text().startswith("planner-bench-")
    assert groups() == []


@real
def test_memory_is_kept_by_the_kernel_and_ends_the_run_whole(tmp_path: Path) -> None:
    report = run(tmp_path / "w", python(MEMORY, 4, "apart", 100), memory_bytes=300 * MB)
    assert (report.stopped_by, report.left) == ("memory", 0)
    # Pages of files can be given up; those of a tmpfs are nowhere else.
    script = "for n in 1 2 3; do head -c 40000000 /dev/zero > file$n; done; exit 5"
    report = run(tmp_path / "w", ["sh", "-c", script], memory_bytes=50 * MB)
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True).stdout.strip()
    assert (report.stopped_by, report.exit_code) == (("memory", -9) if kind == "tmpfs" else (None, 5))


@real
@pytest.mark.parametrize("kind", ["group", "sessions", "orphans"])
def test_a_fork_bomb_is_stopped_at_its_limit(
    tmp_path: Path, processes_with: Callable[[str], list[str]], kind: str
) -> None:
    report = run(tmp_path / "w", python(BOMB, kind, tmp_path), processes=100)
    assert report.left == 0 and (report.stopped_by == "processes" or kind == "orphans")
    assert processes_with(str(tmp_path)) == [] and groups() == []


@real
def test_it_has_its_grace_before_all_of_it_is_killed(tmp_path: Path) -> None:
    script = "trap 'echo writes what it has > kept; exit 3' TERM; touch ready; while :; do sleep 0.05; done"
    deadline = Deadline()

    def cancel() -> None:
        until((tmp_path / "w/ready").exists)
        deadline.shorten(0, "cancelled")

    thread = threading.Thread(target=cancel)
    thread.start()
    report = run(tmp_path / "w", ["sh", "-c", script], deadline=deadline, grace_s=10)
    thread.join()
    assert (report.stopped_by, report.exit_code) == ("cancelled", 3)
    assert (tmp_path / "w" / "kept").exists() and groups() == []


class Worker:
    """A process of its own that supervises one who does all to get away, and the numbers of those who matter."""

    def __init__(self, directory: Path) -> None:
        note = directory / "note"
        script = (
            "import sys; from pathlib import Path; from tests.bench.test_cgroups import *\n"
            "from tests.bench.test_supervised import ESCAPE\n"
            "run(Path(sys.argv[1]), python(ESCAPE, sys.argv[2], sys.argv[3], 'stay'))"
        )
        words = [sys.executable, "-c", script, str(directory / "w"), str(note), DETACH["all of it"]]
        self.process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
        until(note.exists, 30)
        self.escaped, _, self.supervisor = map(int, note.read_text().split())
        self.guard = parent_of(self.supervisor)


@real
def test_guard_and_supervisor_killed_in_one_instant_leave_nothing(tmp_path: Path) -> None:
    """Without a cgroup, a process that forgot its environment outlives that."""
    worker = Worker(tmp_path)
    os.kill(worker.guard, signal.SIGSTOP)
    os.kill(worker.supervisor, signal.SIGKILL)
    os.kill(worker.guard, signal.SIGKILL)
    assert worker.process.wait() == 1
    assert not is_alive(worker.escaped) and groups() == []


@real
def test_what_all_who_stood_over_it_left_is_ended_by_the_next_bench(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    os.kill(worker.guard, signal.SIGSTOP)
    for process in (worker.process.pid, worker.supervisor, worker.guard):
        os.kill(process, signal.SIGKILL)
    worker.process.wait()
    assert is_alive(worker.escaped) and groups()
    # One that lives keeps its own.
    own = new_group(groups()[0].parent)
    own.make(None, None)
    look = "from bench.containment.cgroups import find_cgroups; assert find_cgroups()"
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True)
    until(lambda: not is_alive(worker.escaped))
    assert groups() == [own.path]
    own.remove()


def test_each_outcome_says_what_kept_its_memory_and_processes(kernel_repo: KernelRepo) -> None:
    expected = "supervisor" if find_cgroups() is None else "cgroup"
    assert execute(kernel_repo, SERIAL, extra_path=[kernel_repo.tools], sandbox="auto").limited_by == expected
    assert execute(kernel_repo, SERIAL, extra_path=[kernel_repo.tools], sandbox="off").limited_by == "supervisor"
