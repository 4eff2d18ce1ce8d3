"""A stand-in kernel that is kept for many runs: each has its own result, and it ends with whoever gives it runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbeds.sandbox.kept_kernel import KeptKernel
from tests.tune.processes import MARK, assert_nothing_left, new_environment, processes_with, wait_until

GIVES_RUNS = """
import os, sys
from bench.testbeds.sandbox.kept_kernel import KeptKernel
kernel = KeptKernel(os.environ)
print(*kernel.run(["run", "--once", "--issue", "1"]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return new_environment()


@pytest.fixture
def kernel(environment: dict[str, str]) -> Iterator[KeptKernel]:
    kept = KeptKernel(environment)
    yield kept
    kept.close()
    assert_nothing_left(environment)


def dry_run(config: Path) -> list[str]:
    return ["--config", str(config), "run", "--once", "--issue", "1", "--dry-run"]


def test_each_run_of_a_kept_kernel_has_its_own_exit_code_and_errors(kernel: KeptKernel, sandbox: Path) -> None:
    config = sandbox / ".cyntra" / "config.yaml"
    assert kernel.run(dry_run(config)) == (0, "")
    code, errors = kernel.run(dry_run(config.with_name("missing.yaml")))
    assert (code, errors.count("\n")) == (1, 1) and "missing.yaml" in errors
    code, errors = kernel.run(["--config", str(config), "walk"])
    assert code == 2 and "invalid choice: 'walk'" in errors
    assert kernel.run(dry_run(config)) == (0, "")


def test_a_kept_kernel_that_was_killed_fails_the_run_that_it_was_given(
    kernel: KeptKernel, sandbox: Path, environment: dict[str, str]
) -> None:
    assert kernel.run(dry_run(sandbox / ".cyntra" / "config.yaml")) == (0, "")
    for pid in processes_with(MARK, environment):
        os.kill(pid, signal.SIGKILL)
    assert kernel.run(dry_run(sandbox / ".cyntra" / "config.yaml")) == (-signal.SIGKILL, "the kernel was killed")


def test_a_kept_kernel_ends_when_whoever_gave_it_runs_is_killed(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", GIVES_RUNS]
    giver = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert giver.stdout is not None
    assert giver.stdout.readline().startswith("1 cyntra-sandbox: ")
    giver.kill()
    giver.communicate()
    wait_until(lambda: not processes_with(MARK, environment), 10, "the kernel's end")
