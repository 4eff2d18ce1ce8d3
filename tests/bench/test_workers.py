"""Tests of the pool of Ray actors: outcomes recorded at once, dead workers replaced, nothing left behind."""

import os
import select
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.containment.limits import Deadline
from bench.containment.strays import MARK
from bench.containment.workdirs import in_use, make_work_dir, own_root, remove_stale_roots
from bench.engine.budget import Budget
from bench.engine.execution_worker import Capping
from bench.engine.workers import WorkerPool
from bench.executors.outcome import fault, stopped_early
from bench.judging.objective import Objective
from bench.ledger import Ledger, Progress
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import outcome


class ScriptedExecutor:
    """Does what the issue's id says, and notes every call."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    instant = False
    source = None

    def wall_limit(self, action: Action) -> float:
        return 60.0

    def lane_limit_ms(self, action: Action) -> int | None:
        return None

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        (work_dir / "clone").mkdir()
        with self.notes.open("a") as file:
            file.write(f"{case.issue_id} {action}\n")
        calls = self.notes.read_text().splitlines().count(f"{case.issue_id} {action}")
        if case.issue_id == "always-dies" or (case.issue_id == "dies-once" and calls == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if case.issue_id == "raises":
            raise ValueError("a bug in the executor")
        if case.issue_id == "heals" and calls == 1:
            return fault("the disk was full")
        if case.issue_id == "race":
            return self.race(action, deadline)
        return outcome(duration_ms=calls)

    def race(self, action: Action, deadline: Deadline) -> BenchOutcome:
        """The plan with one candidate passes after 0.4 s, the other one would last half a minute."""
        started = time.monotonic()
        if action.max_candidates_bin != 1:
            reason = self.stopped_by(deadline, started + 30)
            elapsed = round(1000 * (time.monotonic() - started))
            return stopped_early(stopped_by=reason, duration_ms=elapsed, agent_ms=elapsed)
        time.sleep(0.4)
        return outcome(duration_ms=400)

    def stopped_by(self, deadline: Deadline, give_up: float) -> str:
        """What a supervisor does with its control pipe: wait for a limit, and then until it is reached."""
        started, text = time.monotonic(), ""
        control_read, control_write = os.pipe()
        with deadline.hold(control_write):
            while time.monotonic() < give_up:
                if select.select([control_read], [], [], 0.02)[0]:
                    text += os.read(control_read, 4096).decode()
                for line in text.splitlines():
                    reason, seconds = line.split()
                    if time.monotonic() - started >= float(seconds):
                        return reason
        raise AssertionError("nobody stopped it")


def run_pool(
    ray: Any, tmp_path: Path, *issue_ids: str, n_actions: int = 2, **options: Any
) -> tuple[Ledger, list[Progress], list[str]]:
    cases = [bench_case(issue_id) for issue_id in issue_ids]
    cases = [case.model_copy(update={"actions": case.actions[:n_actions]}) for case in cases]
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    ledger.add_cases(cases)
    seen: list[Progress] = []

    def note(progress: Progress) -> None:
        assert progress == ledger.progress()
        seen.append(progress)

    executor = ScriptedExecutor(tmp_path / "notes")
    (tmp_path / "work").mkdir(exist_ok=True)
    pool = WorkerPool(
        ray,
        ledger,
        executor,
        work_base=tmp_path / "work",
        on_progress=note,
        **{"n_workers": 2, **options},
    )
    pool.run(cases)
    assert list((tmp_path / "work").iterdir()) == []
    return ledger, seen, (tmp_path / "notes").read_text().splitlines()


def test_every_planned_execution_is_done_once_and_progress_is_told(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, seen, calls = run_pool(ray_cluster, tmp_path, "1", "2", "raises")
    assert sorted(Counter(calls).values()) == [1, 1, 1, 1, 3, 3]
    assert (ledger.progress().finished, ledger.progress().passed, ledger.progress().faults) == (6, 4, 2)
    assert seen[-1] == ledger.progress()
    workers = {one.worker for one in ledger.logged()}
    assert workers and workers <= {f"{socket.gethostname()} {number}" for number in (1, 2)}
    reasons = {execution.outcome.fault for execution in ledger.executions("case-raises")}
    assert reasons == {"the executor failed: ValueError('a bug in the executor') (the last of 3 attempts)"}


def test_the_execution_of_a_worker_that_dies_is_done_again_a_bounded_number_of_times(
    ray_cluster: Any, tmp_path: Path
) -> None:
    ledger, _, calls = run_pool(ray_cluster, tmp_path, "dies-once", "always-dies", n_actions=1)
    assert [calls.count(line) for line in sorted(set(calls))] == [3, 2]
    (healed,) = ledger.executions("case-dies-once")
    assert healed.outcome.duration_ms == 2
    (lost,) = ledger.executions("case-always-dies")
    assert lost.outcome.fault is not None
    assert lost.outcome.fault.startswith("its worker died")
    assert lost.outcome.fault.endswith("(the last of 3 attempts)")


def test_a_fault_that_heals_is_tried_again_and_shown(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, _, calls = run_pool(ray_cluster, tmp_path, "heals")
    assert len(calls) == 4
    assert (ledger.progress().passed, ledger.progress().faults, ledger.progress().retried) == (2, 0, 2)


def test_an_action_that_a_passing_sibling_has_outrun_is_stopped_in_the_middle(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, _, _ = run_pool(ray_cluster, tmp_path, "race", capping=Capping(Objective(), 1))
    quick, slow = (execution.outcome for execution in ledger.executions())
    assert (quick.passed, quick.duration_ms, slow.status, slow.passed) == (True, 400, "stopped_early", False)
    assert slow.agent_ms < 30_000
    assert ledger.progress().capped == 1


def test_what_is_beyond_the_budget_is_stopped_stays_planned_and_is_counted(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, _, _ = run_pool(ray_cluster, tmp_path, "race", "1", budget=Budget(hours=2 / 3600))
    assert ledger.progress().started == 0 and ledger.progress().finished + ledger.progress().planned == 4
    assert {execution.outcome.passed for execution in ledger.executions()} <= {True}
    assert ledger.progress().planned >= 1
    spent = sum(spent.time_ms for spent in ledger.spent().values())
    assert 400 <= spent < 20_000
    before = ledger.progress()
    ledger.close()
    ledger, _, _ = run_pool(ray_cluster, tmp_path, "race", "1", budget=Budget(hours=spent / 3_600_000))
    assert ledger.progress() == before


def test_a_case_has_its_own_cap_and_dollars_are_reserved_for_what_runs(ray_cluster: Any, tmp_path: Path) -> None:
    ledger, _, _ = run_pool(ray_cluster, tmp_path, "1", "2", budget=Budget(dollars=1.5), n_workers=1)
    # Every execution costs one dollar: after the first, half a dollar is left, and after the second nothing.
    assert (ledger.progress().finished, ledger.progress().planned) == (2, 2)
    ledger.close()
    ledger, _, _ = run_pool(ray_cluster, tmp_path, "1", "2", "3", budget=Budget(case_minutes=0.0001), n_workers=1)
    assert {e.case_id for e in ledger.executions()} == {"case-1", "case-2", "case-3"}


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
