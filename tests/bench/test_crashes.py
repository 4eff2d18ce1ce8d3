"""Whole benches and ledgers whose processes are killed, disks filled and terminals closed: nothing is lost or left."""

import contextlib
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.containment.strays import MARK
from bench.containment.workdirs import remove_stale_roots
from bench.ledger import Ledger
from tests.bench.conftest import SOLVES, KernelRepo
from tests.bench.failing_writes import sqlite_vfs
from tests.bench.test_run import REPO_ROOT, BenchProcess
from tests.cluster.heads import ray_head
from tests.tune.processes import AGENTS, assert_nothing_left, new_environment, wait_until

SEED = 20261124
N_EXECUTIONS = 6
MEMORY = Path("/dev/shm")
"""A file system in memory: hundreds of ledgers synchronize in no time."""
ENDS_WITHIN_S = 60.0


@pytest.fixture
def repo(kernel_repo: KernelRepo) -> KernelRepo:
    """Two issues whose executions, three each, take about half a second."""
    for name in ("codex", "claude", "opencode"):
        kernel_repo.write_tool(name, SOLVES.format(sleep=0.5, cost=0.1))
    return kernel_repo


@pytest.fixture
def address(ray_cluster: Any) -> str:
    return ray_cluster.get_runtime_context().gcs_address


@pytest.fixture
def draw() -> random.Random:
    """Random moments and victims; pytest shows the seed when a test fails."""
    print("seed", SEED)
    return random.Random(SEED)


# --- the ledger's own writes ---


@pytest.mark.parametrize("how", ["full", "once", "kill", "torn", "size"])
def test_whichever_write_of_a_ledger_fails_nothing_recorded_is_lost_and_the_rest_is_done(
    tmp_path: Path, how: str
) -> None:
    if how != "size":
        try:
            sqlite_vfs()
        except OSError as error:
            pytest.skip(f"this Python's SQLite does not let its writes be replaced: {error}")
    directory = MEMORY / f"planner-{os.getpid()}-{how}" if os.access(MEMORY, os.W_OK) else tmp_path / how
    try:
        command = [sys.executable, "-m", "tests.bench.ledger_life", str(directory), how]
        swept = subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    assert swept.returncode == 0, swept.stderr
    assert int(swept.stdout) >= 20


# --- killed processes ---


def test_killed_workers_supervisors_and_kernels_cost_an_attempt_and_no_execution(
    repo: KernelRepo, address: str, draw: random.Random
) -> None:
    before = repo.state()
    process = BenchProcess(repo, address)
    process.until_finished(0)
    for victims in (kernels, supervisors, workers):
        time.sleep(draw.uniform(0, 0.5))
        kill_one(process, victims, draw)
    output = process.end()
    assert process.process.returncode == 0, output
    # One execution may have been hit every time.
    complete(process, output, "--retry-faults", address=address)
    assert_nothing_of(process)
    assert repo.state() == before


@pytest.mark.parametrize("where", ["embedded", "head"])
def test_a_bench_whose_raylet_dies_ends_with_an_error_and_the_same_command_completes_it(
    repo: KernelRepo, address: str, draw: random.Random, where: str
) -> None:
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(ray_head()) if where == "head" else None
        environment = {**new_environment(), "PATH": os.environ["PATH"]} if head is None else head.environment
        process = BenchProcess(repo, None if head is None else head.address, environment=environment)
        process.until_finished(1)
        time.sleep(draw.uniform(0, 0.5))
        (raylet,) = [pid for pid in with_variables(environment) if "raylet/raylet" in command_line(pid)]
        os.kill(raylet, signal.SIGKILL)
        output = process.end()
        assert process.process.returncode == 1, output
        assert "raylet" in output and "give the same command again" in output, output
        assert_nothing_of(process)
    if head is None:
        assert_nothing_left(environment, besides=AGENTS)
    complete(process, output, address=address)


def test_a_bench_killed_with_the_ray_inside_of_it_leaves_nothing_running_and_is_completed(
    repo: KernelRepo, address: str, draw: random.Random
) -> None:
    environment = {**new_environment(), "PATH": os.environ["PATH"]}
    process = BenchProcess(repo, None, environment=environment)
    process.until_finished(draw.randrange(3))
    time.sleep(draw.uniform(0, 0.5))
    process.process.kill()
    output = process.end()
    assert_nothing_left(environment, besides=AGENTS)
    wait_until(lambda: not runs_in(process.work_base), ENDS_WITHIN_S, "end of its runs")
    complete(process, output, address=address)
    assert_nothing_of(process)


def test_a_bench_whose_terminal_is_closed_stops_cleanly(repo: KernelRepo) -> None:
    environment = {**new_environment(), "PATH": os.environ["PATH"]}
    ours, terminal = pty.openpty()
    # Its Ray runs in the terminal's foreground too, and gets the same hang-up.
    process = BenchProcess(repo, None, environment=environment, terminal=terminal)
    os.close(terminal)
    with draining(ours):
        process.until_finished(1)
    os.close(ours)
    process.process.wait(ENDS_WITHIN_S)
    assert_nothing_of(process)
    assert_nothing_left(environment)
    with Ledger.read(process.ledger_path) as ledger:
        assert ledger.progress().total == N_EXECUTIONS
    Ledger.open(process.ledger_path).close()


# --- full disks ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB; needs the right to mount one."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "planner-test", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Take all space that is left."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_under_the_ledger_ends_the_bench_clearly_and_with_space_it_is_completed(
    repo: KernelRepo, address: str, small_disk: Path
) -> None:
    # Once its log has taken its room, a small ledger needs no more: it is to be short of space from the start.
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 96 * 1024)
    process = BenchProcess(repo, address, "--ledger", small_disk / "ledger.sqlite")
    process.ledger_path = small_disk / "ledger.sqlite"
    output = process.end()
    assert process.process.returncode == 1, output
    assert "the ledger cannot be written" in output and "make space" in output, output
    assert "Traceback" not in output
    assert runs_in(process.work_base) == []
    filler.unlink()
    complete(process, output, "--ledger", process.ledger_path, address=address)


def test_a_full_disk_under_the_clones_gives_faults_that_are_shown_and_with_space_done_again(
    repo: KernelRepo, address: str, small_disk: Path
) -> None:
    filler = fill(small_disk)
    process = BenchProcess(repo, address, "--work-dir", small_disk)
    output = process.end()
    assert process.process.returncode == 3, output
    assert f"{N_EXECUTIONS} faulty ({N_EXECUTIONS} were started more than once)" in output
    with Ledger.read(process.ledger_path) as ledger:
        assert {"No space left" in str(execution.outcome.fault) for execution in ledger.executions()} == {True}
    filler.unlink()
    process.work_base = small_disk
    complete(process, output, "--work-dir", small_disk, "--retry-faults", address=address)
    assert_nothing_of(process)


def test_a_disk_that_fills_up_during_the_runs_makes_them_faults_and_not_failures(
    repo: KernelRepo, address: str, small_disk: Path
) -> None:
    for name in ("codex", "claude", "opencode"):
        # With space again by the time the gates run, nothing but our watch tells that there was none.
        repo.write_tool(name, "#!/bin/sh\ncat > prompt.txt\ncat /dev/zero > filler\nsleep 5\nrm filler\n")
    # One at a time: another's git may fail for want of space and not say why.
    process = BenchProcess(repo, address, "--work-dir", small_disk, "--workers", "1")
    output = process.end()
    assert process.process.returncode == 3, output
    assert f"{N_EXECUTIONS} faulty ({N_EXECUTIONS} were started more than once)" in output
    with Ledger.read(process.ledger_path) as ledger:
        outcomes = [execution.outcome for execution in ledger.executions()]
    assert {outcome.stopped_by for outcome in outcomes} == {"disk"}
    assert all("no space" in str(outcome.fault) for outcome in outcomes), [outcome.fault for outcome in outcomes]
    process.work_base = small_disk
    assert_nothing_of(process)


def test_a_dead_benchs_clone_that_cannot_be_removed_is_left_after_some_patience(tmp_path: Path) -> None:
    kept = tmp_path / "planner-bench-4194999-1" / "0" / "file"
    kept.parent.mkdir(parents=True)
    kept.touch()
    if subprocess.run(["chattr", "+i", str(kept)], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        assert remove_stale_roots(tmp_path, 0.3) == 0
    finally:
        subprocess.run(["chattr", "-i", str(kept)], check=True)
    assert remove_stale_roots(tmp_path, 0.3) == 1


# --- two benches ---


def test_of_two_commands_at_the_same_instant_one_runs_and_the_other_is_refused(repo: KernelRepo, address: str) -> None:
    processes = [BenchProcess(repo, address), BenchProcess(repo, address)]
    outputs = [process.end() for process in processes]
    codes = [process.process.returncode for process in processes]
    assert sorted(codes) == [0, 1], outputs
    winner = processes[codes.index(0)]
    refusal = f"another bench writes to it (process {winner.process.pid})"
    assert refusal in " ".join(outputs[codes.index(1)].split()), outputs
    complete(winner, "", address=address)
    assert_nothing_of(winner)


# --- what is seen from outside ---


def complete(process: BenchProcess, output: str, *options: object, address: str) -> None:
    """Give the same command again: afterwards every planned execution is there exactly once, finished."""
    again = BenchProcess(process.repo, address, *options)
    text = again.end()
    assert again.process.returncode == 0, f"{output}\n{text}"
    with Ledger.read(process.ledger_path) as ledger:
        executions = ledger.executions()
        planned = Counter((case.case_id, str(action)) for case in ledger.cases() for action in case.actions)
        assert Counter((e.case_id, str(e.action)) for e in executions) == planned
        assert len(planned) == N_EXECUTIONS
        progress = ledger.progress()
        assert (progress.finished, progress.total, progress.faults) == (N_EXECUTIONS, N_EXECUTIONS, 0), text
    # A ledger that can be opened has no owner left.
    Ledger.open(process.ledger_path).close()


def assert_nothing_of(process: BenchProcess) -> None:
    """No process of a run and no clone."""
    wait_until(lambda: not runs_in(process.work_base), 10, "end of all runs")
    assert [path.name for path in process.work_base.iterdir()] == []
    worktrees = process.repo.git("worktree", "list", "--porcelain")
    assert worktrees.count("worktree ") == 1


def runs_in(work_base: Path) -> list[int]:
    """The processes that are marked as part of a run in ``work_base``, and those that stand over one."""
    return with_variables({MARK: str(work_base)}) + overseers(work_base, "run-supervisor", "run-guard")


def overseers(work_base: Path, *names: str) -> list[int]:
    """The living processes with one of these names that have files open in ``work_base``."""
    found = []
    for pid in living():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() in names and has_open(pid, work_base):
                found.append(pid)
    return found


def has_open(pid: int, directory: Path) -> bool:
    """Whether it holds any file in ``directory`` open."""
    return any(str(link.readlink()).startswith(f"{directory}/") for link in Path(f"/proc/{pid}/fd").iterdir())


def with_variables(environment: dict[str, str]) -> list[int]:
    """The living processes that were started with these marks; of a path, also with one below it."""
    marks = [f"{name}={environment[name]}".encode() for name in (MARK, "PLANNER_TEST_MARK") if name in environment]
    found = []
    for pid in living():
        with contextlib.suppress(OSError):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(variable.startswith(mark) for mark in marks for variable in variables):
                found.append(pid)
    return found


def living() -> list[int]:
    """The numbers of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> str:
    """The command line; nothing when the process has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def supervisors(process: BenchProcess) -> list[int]:
    """The supervisors of the bench's runs."""
    return overseers(process.work_base, "run-supervisor")


def kernels(process: BenchProcess) -> list[int]:
    """The kernels of the bench's runs."""
    return [pid for pid in runs_in(process.work_base) if "small_kernel.py" in command_line(pid)]


def workers(process: BenchProcess) -> list[int]:
    """Ray's workers that execute something for the bench: they hold its lock open."""
    found = []
    for pid in living():
        with contextlib.suppress(OSError):
            if command_line(pid).startswith("ray::") and has_open(pid, process.work_base):
                found.append(pid)
    return found


def kill_one(process: BenchProcess, victims: Callable[[BenchProcess], list[int]], draw: random.Random) -> None:
    """SIGKILL one of the victims, waiting until there is one."""
    found: list[int] = []

    def look() -> bool:
        found[:] = victims(process)
        return bool(found)

    wait_until(look, ENDS_WITHIN_S, f"one of the {victims.__name__}")
    os.kill(draw.choice(found), signal.SIGKILL)


@contextlib.contextmanager
def draining(terminal: int) -> Iterator[None]:
    """Read what comes to a terminal as long as the block lasts: a program must not wait for its reader."""
    ended = threading.Event()

    def read() -> None:
        os.set_blocking(terminal, False)
        while not ended.wait(0.05):
            with contextlib.suppress(BlockingIOError):
                os.read(terminal, 65536)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()
