"""A whole bench: cases from a repo, executions on Ray, outcomes in a ledger; what the ledger has is not run again."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import Ground, build_cases, git_ground, select_issues
from bench.executors import Executor
from bench.executors.cyntra import CyntraExecutor, find_command
from bench.executors.simulate import SimulateExecutor, simulated_ground
from bench.ledger import Ledger, Progress
from bench.objective import winner
from bench.workers import WorkerPool
from cluster.connect import connect
from planner.actions import Action, action_from_document
from planner.artifacts.beads import read_issues
from planner.artifacts.records import Quarantine
from planner.artifacts.universe import NO_UNIVERSE, choose_universe
from planner.contracts import BenchCase
from planner.errors import BenchError, ClusterError

SANDBOX_COMMAND = "cyntra-sandbox"
EXECUTORS = ("cyntra", "simulate")


@dataclass(frozen=True)
class CaseReport:
    """What the ledger says of one case; counts are executions."""

    case_id: str
    issue_id: str
    planned: int
    finished: int
    passed: int
    faults: int
    winner: Action | None
    """None as long as nothing but faults is known."""


@dataclass(frozen=True)
class BenchReport:
    """What a bench did. ``resumed`` executions were in the ledger before; ``set_aside`` is issue id -> reason."""

    ledger_path: Path
    cases: list[CaseReport]
    read: int
    """Issues in the repo."""
    set_aside: dict[str, str]
    run: int
    """Executions done by this call."""
    resumed: int
    faults: int
    """Executions in the ledger that ended in a fault, whoever ran them."""


@dataclass(frozen=True)
class _Setup:
    """What performs the executions, what they start from, and what their outcomes depend on."""

    executor: Executor
    ground: Ground
    settings: Mapping[str, Any]


def run_bench(
    repo: Path,
    *,
    executor: str = EXECUTORS[0],
    ledger_path: Path | None = None,
    n_actions: int = 4,
    repeats: int = 1,
    limit: int | None = None,
    issue_ids: Sequence[str] | None = None,
    seed: int = 0,
    command: Sequence[str] | None = None,
    workers: int | None = None,
    kernel_dir: Path | None = None,
    universe_id: str | None = None,
    wall_limit_s: float | None = None,
    pass_on: Sequence[str] = (),
    work_base: Path | None = None,
    address: str | None = None,
    retry_faults: bool = False,
    take_over: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> BenchReport:
    """Bench ``repo``'s issues and report; run again after an interruption it does only what is missing.

    ``ledger_path`` defaults to ``.cyntra/planner/bench/ledger.sqlite`` in the repo, ``workers`` to the cluster's CPUs,
    ``universe_id`` to the repo's only universe, ``work_base`` (where clones live) to the system's directory for
    temporary files. ``executor`` is one of EXECUTORS; cyntra alone takes ``command`` (default: ``cyntra`` on PATH),
    ``wall_limit_s`` and ``pass_on``. An interrupt or SIGTERM stops the bench cleanly: it raises KeyboardInterrupt and
    leaves no process and no clone.
    """
    repo = repo.resolve()
    universe = choose_universe(repo, universe_id)
    universe_id = None if universe is NO_UNIVERSE else universe.universe_id
    if executor == "simulate":
        setup = _simulated(repo, kernel_dir, universe_id)
    else:
        setup = _real(repo, command, kernel_dir, universe_id, wall_limit_s, pass_on)
    issues = read_issues(repo, Quarantine(repo))
    with Ledger.open(ledger_path or _default_ledger(repo), take_over=take_over) as ledger:
        ledger.bind(setup.settings)
        cases = build_cases(
            repo,
            limit=limit,
            issue_ids=issue_ids,
            kernel_dir=kernel_dir,
            universe_id=universe_id,
            n_actions=n_actions,
            seed=seed,
            stored=ledger.cases(),
            ground=setup.ground,
        )
        ledger.add_cases(cases, repeats)
        if retry_faults:
            ledger.plan_faults_again()
        before = ledger.progress()
        progress(before)
        if any(execution.case_id in {case.case_id for case in cases} for execution in ledger.planned()):
            _run_planned(ledger, cases, setup.executor, workers, work_base, address, progress)
        after = ledger.progress()
        return BenchReport(
            ledger_path=ledger.path,
            cases=[_case_report(ledger, case, repeats) for case in cases],
            read=len(issues),
            set_aside=select_issues(issues, issue_ids).set_aside,
            run=after.finished - before.finished,
            resumed=before.finished,
            faults=after.faults,
        )


def _real(
    repo: Path,
    command: Sequence[str] | None,
    kernel_dir: Path | None,
    universe_id: str | None,
    wall_limit_s: float | None,
    pass_on: Sequence[str],
) -> _Setup:
    command = default_command() if command is None else command
    executor = CyntraExecutor.prepare(
        repo,
        command,
        kernel_dir=kernel_dir,
        universe_id=universe_id,
        wall_limit_s=wall_limit_s,
        extra_path=sandbox_path(command),
        pass_on=pass_on,
    )
    return _Setup(
        executor,
        git_ground(repo, kernel_dir, executor.environment["PATH"]),
        {"command": [Path(command[0]).name, *command[1:]], "universe_id": universe_id},
    )


def _simulated(repo: Path, kernel_dir: Path | None, universe_id: str | None) -> _Setup:
    executor = SimulateExecutor.prepare(repo, kernel_dir)
    world = {"seed": executor.world.seed, "days": executor.world.days}
    return _Setup(executor, simulated_ground(repo, executor), {"simulation": world, "universe_id": universe_id})


def default_command() -> list[str]:
    """The real kernel, when it is on PATH; BenchError says what to do when it is not."""
    if find_command("cyntra") is None:
        raise BenchError(
            "cyntra is not on PATH: install Cyntra, name its command with --cyntra, "
            f"or pass --cyntra {SANDBOX_COMMAND} for a sandbox repo"
        )
    return ["cyntra"]


def sandbox_path(command: Sequence[str]) -> list[Path]:
    """The directory of the sandbox's scripted agents, when the command is the sandbox's kernel; else nothing."""
    if Path(command[0]).name != SANDBOX_COMMAND:
        return []
    from bench.sandbox.toolchains.launchers import toolchain_dir

    return [toolchain_dir()]


def _run_planned(
    ledger: Ledger,
    cases: Sequence[BenchCase],
    executor: Executor,
    workers: int | None,
    work_base: Path | None,
    address: str | None,
    progress: Callable[[Progress], None],
) -> None:
    work_base = work_base or Path(tempfile.gettempdir())
    work_base.mkdir(parents=True, exist_ok=True)
    # Ray's workers are niced by default, and so would every run be whose duration is measured.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with connect(address) as ray, _interrupted_by_sigterm():
            n_workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            pool = WorkerPool(
                ray, ledger, executor, work_base=work_base.resolve(), n_workers=n_workers, on_progress=progress
            )
            pool.run(cases)
    except ConnectionError as error:
        raise ClusterError(f"Ray cannot be reached: {error}; start it, or leave out --address") from None


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Take SIGTERM, by which ``ray job stop`` ends a bench, as an interrupt; in force once Ray has set its own."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _default_ledger(repo: Path) -> Path:
    directory = repo / ".cyntra" / "planner" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    # The bench is not to show up in the repo's own `git status`.
    (directory / ".gitignore").write_text("*\n")
    return directory / "ledger.sqlite"


def _case_report(ledger: Ledger, case: BenchCase, repeats: int) -> CaseReport:
    executions = ledger.executions(case.case_id)
    outcomes = [(action_from_document(e.action.model_dump()), e.outcome) for e in executions]
    return CaseReport(
        case_id=case.case_id,
        issue_id=case.issue_id,
        planned=len(case.actions) * repeats,
        finished=len(executions),
        passed=sum(outcome.passed for _, outcome in outcomes),
        faults=sum(outcome.status == "fault" for _, outcome in outcomes),
        winner=winner(outcomes),
    )
