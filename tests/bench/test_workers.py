"""Tests of the pool of Ray actors: outcomes recorded at once, dead workers replaced, nothing left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bench.ledger import Ledger, Progress
from bench.strays import MARK
from bench.workdirs import in_use, make_work_dir, own_root, remove_stale_roots
from bench.workers import WorkerPool
from planner.actions import Action
from planner.contracts import BenchCase, BenchOutcome
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import outcome


class ScriptedExecutor:
    """Does what the issue's id says, and notes every call."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int) -> BenchOutcome:
        (work_dir / "clone").mkdir()
        with self.notes.open("a") as file:
            file.write(f"{case.issue_id} {action}\n")
        calls = self.notes.read_text().splitlines().count(f"{case.issue_id} {action}")
        if case.issue_id == "always-dies" or (case.issue_id == "dies-once" and calls == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if case.issue_id == "raises":
            raise ValueError("a bug in the executor")
        return outcome(duration_ms=calls)


def run_pool(
    ray: Any, tmp_path: Path, *issue_ids: str, max_attempts: int = 3
) -> tuple[Ledger, list[Progress], list[str]]:
    cases = [bench_case(issue_id) for issue_id in issue_ids]
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    ledger.add_cases(cases)
    seen: list[Progress] = []
    executor = ScriptedExecutor(tmp_path / "notes")
    (tmp_path / "work").mkdir(exist_ok=True)
    pool = WorkerPool(
        ray,
        ledger,
        executor,
        work_base=tmp_path / "work",
        n_workers=2,
        on_progress=seen.append,
        max_attempts=max_attempts,
    )
    pool.run(cases)
    assert list((tmp_path / "work").iterdir()) == []
    return ledger, seen, (tmp_path / "notes").read_text().splitlines()


def test_every_planned_execution_is_done_once_and_progress_is_told(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, seen, calls = run_pool(ray_cluster, tmp_path, "1", "2", "raises")
    assert len(calls) == len(set(calls)) == 6
    assert (ledger.progress().finished, ledger.progress().passed, ledger.progress().faults) == (6, 4, 2)
    assert seen[-1] == ledger.progress()
    reasons = {execution.outcome.fault for execution in ledger.executions("case-raises")}
    assert reasons == {"the executor failed: ValueError('a bug in the executor')"}


def test_the_execution_of_a_worker_that_dies_is_done_again_a_bounded_number_of_times(
    ray_cluster: Any, tmp_path: Path
) -> None:
    ledger, _, calls = run_pool(ray_cluster, tmp_path, "dies-once", "always-dies")
    assert [calls.count(line) for line in sorted(set(calls))] == [3, 3, 2, 2]
    assert {execution.outcome.duration_ms for execution in ledger.executions("case-dies-once")} == {2}
    for execution in ledger.executions("case-always-dies"):
        assert execution.outcome.fault is not None
        assert execution.outcome.fault.startswith("its worker died 3 times")


def test_a_bench_of_nothing_but_lost_executions_ends(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, _, calls = run_pool(ray_cluster, tmp_path, "always-dies", max_attempts=1)
    assert (len(calls), ledger.progress().faults) == (2, 2)


def test_only_the_executions_of_the_given_cases_are_done(ray_cluster: Any, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add_cases([bench_case("other")])
    ledger, _, calls = run_pool(ray_cluster, tmp_path, "1")
    assert all(line.startswith("1 ") for line in calls)
    assert ledger.progress().planned == 2


def test_roots_of_dead_benches_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    dead = tmp_path / "planner-bench-4194999-1"
    make_work_dir(dead / "0")
    (dead / "0" / "locked").mkdir(mode=0o000)
    make_work_dir(own_root(tmp_path) / "0")
    (tmp_path / "planner-bench-notes").mkdir()
    assert remove_stale_roots(tmp_path, 0) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([own_root(tmp_path).name, "planner-bench-notes"])


def test_a_dead_benchs_directory_is_not_removed_under_a_supervisor_that_still_ends_processes(tmp_path: Path) -> None:
    work_dir = tmp_path / "planner-bench-4194999-1" / "0"
    make_work_dir(work_dir)
    with in_use(work_dir):
        before = time.monotonic()
        assert remove_stale_roots(tmp_path, 0.3) == 0
        assert time.monotonic() - before >= 0.3
    assert remove_stale_roots(tmp_path, 0.3) == 1
    assert not work_dir.exists()


def test_a_stray_process_of_a_dead_bench_is_killed_with_its_directory(tmp_path: Path) -> None:
    work_dir = tmp_path / "planner-bench-4194999-1" / "0"
    make_work_dir(work_dir)
    stray = subprocess.Popen(["sleep", "300"], env={MARK: str(work_dir)}, start_new_session=True)
    other = subprocess.Popen(["sleep", "300"], env={MARK: str(work_dir.parent) + "2"})
    try:
        remove_stale_roots(tmp_path, 0)
        assert stray.wait(timeout=10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("name", ["planner-bench-notes", "planner-bench--1", "planner-bench-1-1-1"])
def test_a_directory_that_only_looks_like_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "planner-bench-4194999-1").symlink_to(tmp_path / name)
    assert remove_stale_roots(tmp_path, 0) == 0
    assert (tmp_path / name).is_dir()
