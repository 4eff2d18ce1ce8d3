"""Tests of the doctor: what it finds on this machine, and that it says so when something is taken away from it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.containment.limits import Limits
from bench.doctor.check import Check
from bench.doctor.examine import examine
from tests.bench.conftest import SMALL_KERNEL, KernelRepo


def named(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


def test_all_that_the_bench_relies_on_is_tried_and_nothing_is_left_behind(
    kernel_repo: KernelRepo, tmp_path: Path, processes_with: Callable[[str], list[str]]
) -> None:
    before = kernel_repo.state()
    checks = examine(
        tmp_path / "work", SMALL_KERNEL, repo=kernel_repo.root, ledger_dir=tmp_path / "ledger", limits=Limits(60, 10**8)
    )
    assert [check.line for check in checks if check.ok is False] == []
    assert {"detached processes", "wall limit", "memory limit", "process limit", "file size limit", "ledger"} < {
        check.name for check in checks if check.ok
    }
    assert named(checks, "toolchains").finding.startswith("codex, claude, opencode")
    assert kernel_repo.state() == before
    assert list((tmp_path / "work").iterdir()) == list((tmp_path / "ledger").iterdir()) == []
    assert processes_with(str(tmp_path / "work")) == []


def test_every_check_is_one_line_with_its_remedy_when_it_fails(tmp_path: Path) -> None:
    checks = examine(tmp_path, ["no-such-kernel"])
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
        repo=kernel_repo.root,
        ledger_dir=Path("/proc/self"),
        limits=Limits(60, memory_bytes=2**60),
        n_workers=10**6,
    )
    failed = {check.name for check in checks if check.ok is False}
    assert {"git", "toolchains", "ledger", "memory", "disk", "inodes", "open files"} <= failed


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
