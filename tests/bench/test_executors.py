"""One suite over every executor: what the bench relies on, whoever performs the executions."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.containment.limits import Deadline
from bench.containment.workdirs import make_work_dir
from bench.executors.cyntra.kind import tool_directories
from bench.executors.protocol import Executor
from bench.planning.cases import git_origin
from bench.testbeds.sandbox.create import create_sandbox
from bench.testbeds.simulation.executor import SimulateExecutor, simulated_origin
from bench.testbeds.simulation.repo import simulate_repo
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchCase, BenchOutcome
from tests.bench.benches import cases_of, executor_of
from tests.bench.conftest import SMALL_KERNEL, SOLVES, KernelRepo
from tests.bench.test_replay import replayed_cases, write_tables


@dataclass(frozen=True)
class Subject:
    """An executor with a case, and two actions that really differ."""

    executor: Executor
    case: BenchCase
    short: Action
    wide: Action
    cap_s: float
    """Shorter than any execution of the case."""
    work_dir: Path

    def execute(self, action: Action, repeat: int = 0, deadline: Deadline | None = None) -> BenchOutcome:
        work_dir = self.work_dir / f"{action}-{repeat}-{len(list(self.work_dir.glob('*')))}"
        make_work_dir(work_dir)
        return self.executor.execute(self.case, action, work_dir, repeat, deadline or Deadline())


CODE = (Action("serial_handoff", 1, 60, "NA"), Action("speculate_vote", 2, 60, "NA"))
WITH_ITERATIONS = (Action("serial_handoff", 1, 60, 1), Action("speculate_vote", 2, 60, 1))


def small_kernel(tmp_path: Path, kernel_repo: KernelRepo) -> Subject:
    kernel_repo.write_tool("codex", SOLVES.format(sleep=0.5, cost=0.1))
    executor = executor_of(kernel_repo.root, SMALL_KERNEL)
    (case,) = cases_of(kernel_repo.root, issue_ids=["1"], n_actions=1)
    return Subject(executor, case, *CODE, 0.1, tmp_path / "work")


def sandbox(tmp_path: Path, kernel_repo: KernelRepo) -> Subject:
    repo = create_sandbox(tmp_path / "sandbox", issues=2, seed=1)
    executor = executor_of(repo, ["cyntra-sandbox"], extra_path=tool_directories(["cyntra-sandbox"]))
    (case, *_) = cases_of(repo, n_actions=1, origin=git_origin(Repo(repo), executor.environment["PATH"]))
    return Subject(executor, case, *CODE, 0.05, tmp_path / "work")


def simulation(tmp_path: Path, kernel_repo: KernelRepo) -> Subject:
    simulate_repo(tmp_path / "sim", runs=20, issues=5, open_issues=2, seed=1)
    executor = SimulateExecutor.prepare(Repo(tmp_path / "sim"))
    (case, *_) = cases_of(tmp_path / "sim", n_actions=1, origin=simulated_origin(Repo(tmp_path / "sim"), executor))
    return Subject(executor, case, *CODE, 1.0, tmp_path / "work")


def replay(tmp_path: Path, kernel_repo: KernelRepo) -> Subject:
    from bench.executors.replay import ReplayExecutor

    tables = write_tables(tmp_path / "tables", {("p", "x"): [(False, 20), (True, 25)]})
    executor = ReplayExecutor.prepare(tables, n_trials=2)
    return Subject(executor, replayed_cases(executor)[0], *WITH_ITERATIONS, 60.0, tmp_path / "work")


@pytest.fixture(params=[small_kernel, sandbox, simulation, replay], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest, tmp_path: Path, kernel_repo: KernelRepo) -> Subject:
    make: Callable[[Path, KernelRepo], Subject] = request.param
    return make(tmp_path, kernel_repo)


def test_an_outcome_says_what_ran_and_what_it_took(subject: Subject) -> None:
    for action, lanes in ((subject.short, 1), (subject.wide, 2)):
        outcome = subject.execute(action)
        assert (outcome.fault, outcome.stopped_by, outcome.derived_from) == (None, None, None)
        assert outcome.passed == (outcome.status == "success")
        assert len(outcome.launches) == lanes
        assert outcome.agent_ms == sum(launch.duration_ms for launch in outcome.launches)
        assert outcome.duration_ms >= max(launch.duration_ms for launch in outcome.launches)
        plan = outcome.executed_plan
        assert plan is not None
        assert (plan.swarm_id_executed, plan.max_candidates_executed) == (action.swarm_id, lanes)
        assert plan.timeout_seconds_executed == 3600


def test_a_capped_execution_is_stopped_early_whatever_it_would_have_come_to(subject: Subject) -> None:
    outcome = subject.execute(subject.short, deadline=Deadline(subject.cap_s))
    assert (outcome.status, outcome.stopped_by, outcome.passed) == ("stopped_early", "capped", False)
    assert outcome.duration_ms >= 1000 * subject.cap_s
    assert outcome.gates == [] and outcome.executed_plan is None


def test_what_is_drawn_or_looked_up_is_the_same_each_time(subject: Subject) -> None:
    if subject.executor.instant:
        assert subject.execute(subject.wide) == subject.execute(subject.wide)
    else:
        assert subject.execute(subject.wide).launches != subject.execute(subject.wide).launches


def test_a_case_of_another_repo_is_a_fault_and_no_exception(subject: Subject) -> None:
    foreign = subject.case.model_copy(update={"case_id": "case-x", "issue_id": "nobody", "base_commit": "0" * 40})
    work_dir = subject.work_dir / "foreign"
    make_work_dir(work_dir)
    outcome = subject.executor.execute(foreign, subject.short, work_dir, 0, Deadline())
    # The simulated world knows every issue: it draws one from its name.
    assert (outcome.status == "fault" and bool(outcome.fault)) or isinstance(subject.executor, SimulateExecutor)


def test_an_executor_travels_to_a_worker_and_tells_its_limits(subject: Subject) -> None:
    executor: Executor = pickle.loads(pickle.dumps(subject.executor))
    half = subject.short._replace(max_minutes_bin=30)
    assert executor.lane_limit_ms(subject.short) == 2 * (executor.lane_limit_ms(half) or 0) > 0
    assert executor.wall_limit(subject.short) * 1000 >= (executor.lane_limit_ms(subject.short) or 0)
