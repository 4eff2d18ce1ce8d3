"""Tests of the doctor: what it finds on this machine, and that it says so when something is taken away from it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.containment.limits import Limits
from bench.doctor.check import Check
from bench.doctor.examine import examine
from bench.doctor.kernel import KernelSetting, kernel_checks
from bench.executors.kernel_start import FILE, record_start, recorded_start
from tests.bench.benches import cyntra
from tests.bench.conftest import SMALL_KERNEL, KernelRepo


def named(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


def small_kernel(repo: KernelRepo) -> KernelSetting:
    return KernelSetting(repo.root, cyntra(SMALL_KERNEL))


def test_all_that_the_bench_relies_on_is_tried_and_nothing_is_left_behind(
    kernel_repo: KernelRepo, tmp_path: Path, processes_with: Callable[[str], list[str]]
) -> None:
    before = kernel_repo.state()
    checks = examine(
        tmp_path / "work", small_kernel(kernel_repo), ledger_dir=tmp_path / "ledger", limits=Limits(60, 10**8)
    )
    assert [check.line for check in checks if check.ok is False] == []
    assert {"detached processes", "wall limit", "memory limit", "process limit", "file size limit", "ledger"} < {
        check.name for check in checks if check.ok
    }
    assert named(checks, "toolchains").finding.startswith("codex, claude, opencode")
    assert kernel_repo.state() == before
    assert list((tmp_path / "work").iterdir()) == []
    # What was measured of the kernel stays: every later bench on this machine reads it.
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == [FILE]
    assert 10 < (recorded_start(tmp_path / "ledger", small_kernel(kernel_repo).name) or 0) < 10_000
    assert "passes with a tool that does nothing" in named(checks, "trivial run, serial_handoff").finding
    assert named(checks, "trivial run, speculate_vote with 3").ok
    assert processes_with(str(tmp_path / "work")) == []


def test_every_check_is_one_line_with_its_remedy_when_it_fails(tmp_path: Path) -> None:
    checks = examine(tmp_path, KernelSetting(tmp_path, cyntra(["no-such-kernel"])))
    assert all("\n" not in check.line for check in checks)
    line = named(checks, "kernel").line
    assert line == (
        "FAIL  kernel: 'no-such-kernel' is not on PATH -> install Cyntra, or name its command with --cyntra"
    )


def test_what_is_missing_or_too_little_is_found(
    kernel_repo: KernelRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    checks = examine(
        tmp_path / "work",
        small_kernel(kernel_repo),
        ledger_dir=Path("/proc/self"),
        limits=Limits(60, memory_bytes=2**60),
        n_workers=10**6,
    )
    failed = {check.name for check in checks if check.ok is False}
    assert {"git", "toolchains", "ledger", "memory", "disk", "inodes", "open files"} <= failed


@pytest.mark.parametrize(
    ("config", "said", "cure"),
    [
        (
            {"test_crash": True},
            "every execution would be a fault: Cyntra ended with exit code 1",
            "run the kernel by hand",
        ),
        ({"test_extra_candidates": 1}, "forced serial_handoff with 1 candidates", "kernel 0.1.0"),
    ],
)
def test_what_will_make_every_execution_a_fault_is_said_with_its_cure_before_the_first_one(
    kernel_repo: KernelRepo, tmp_path: Path, config: dict[str, Any], said: str, cure: str
) -> None:
    kernel_repo.write_config(**config)
    (tmp_path / "place").mkdir()
    checks = kernel_checks(tmp_path / "place", small_kernel(kernel_repo), tmp_path)
    check = named(checks, "trivial run, serial_handoff")
    assert check.ok is False and said in check.finding and cure in check.remedy
    assert not (tmp_path / FILE).exists()


def test_a_repo_that_no_execution_could_begin_in_is_said_in_one_line(kernel_repo: KernelRepo, tmp_path: Path) -> None:
    kernel_repo.git("branch", "-m", "main", "trunk")
    (check,) = kernel_checks(tmp_path, small_kernel(kernel_repo), tmp_path)
    assert check.ok is False and "no local branch main" in check.line and "git branch main" in check.line


def test_a_start_up_is_recorded_per_machine_and_kernel_and_the_longest_counts(tmp_path: Path) -> None:
    assert recorded_start(tmp_path, "cyntra") is None
    record_start(tmp_path, "cyntra", 640.25, 0)
    path = record_start(tmp_path, "another", 90.0, 0)
    machines = orjson.loads(path.read_bytes())
    assert {host: sorted(found) for host, found in machines.items()} == {socket.gethostname(): ["another", "cyntra"]}
    path.write_bytes(orjson.dumps({**machines, "far": {"cyntra": {"start_ms": 900, "measured_at": "then"}}}))
    assert (recorded_start(tmp_path, "cyntra"), recorded_start(tmp_path, "another")) == (900, 90.0)
    path.write_text("{")
    assert recorded_start(tmp_path, "cyntra") is None


def test_a_work_directory_that_cannot_be_made_is_the_only_finding(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (check,) = examine(tmp_path / "file" / "work")
    assert check.ok is False
    assert "Not a directory" in check.finding


def test_an_operating_system_that_refuses_a_subreaper_is_found(tmp_path: Path) -> None:
    """A real refusal: a seccomp filter that lets prctl(PR_SET_CHILD_SUBREAPER) fail."""
    script = """
import ctypes, struct, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
SUBREAPER, NO_NEW_PRIVS, SECCOMP, PRCTL = 36, 38, 22, 157
def step(code, jump_true, jump_false, value):
    return struct.pack("HBBI", code, jump_true, jump_false, value)
program = b"".join([
    step(0x20, 0, 0, 0), step(0x15, 0, 3, PRCTL),  # the system call's number
    step(0x20, 0, 0, 16), step(0x15, 0, 1, SUBREAPER),  # its first argument
    step(0x06, 0, 0, 0x00050001),  # fail with EPERM
    step(0x06, 0, 0, 0x7FFF0000),  # allow
])
buffer = ctypes.create_string_buffer(program)
filter = struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
if libc.prctl(SECCOMP, 2, ctypes.create_string_buffer(filter), 0, 0):
    sys.exit("no seccomp")
from bench.doctor.examine import examine
print("\\n".join(check.line for check in examine(Path(sys.argv[1])) if check.ok is False))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "work")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    if os.uname().machine != "x86_64" or "no seccomp" in done.stderr:
        pytest.skip("needs seccomp on x86_64")
    assert done.returncode == 0, done.stderr
    failed = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert "FAIL  subreaper" in failed
    assert "FAIL  detached processes" in failed
