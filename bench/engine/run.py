"""A whole bench: cases, executions on Ray, outcomes in a ledger; what the ledger has is not run again."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.containment.limits import Limits
from bench.engine.budget import Budget
from bench.engine.workers import Capping, WorkerPool
from bench.executors import Executor
from bench.executors.cyntra.executor import LONGEST_RUN, CyntraExecutor, find_command
from bench.executors.replay import TRIALS, ReplayExecutor
from bench.executors.simulate import SimulateExecutor, simulated_origin
from bench.judging.objective import Objective, Verdict, judge
from bench.ledger import Ledger, Progress
from bench.planning.cases import CaseOrigin, add_cases, build_cases, git_origin, select_issues
from bench.planning.selections import AllActions, Coverage, Selection
from cluster.connect import connect
from planner.actions import action_from_document
from planner.artifacts.beads import read_issues
from planner.artifacts.records import Quarantine
from planner.artifacts.universe import NO_UNIVERSE, choose_universe
from planner.contracts.bench import BenchCase
from planner.errors import BenchError, ClusterError

SANDBOX_COMMAND = "cyntra-sandbox"
EXECUTORS = ("cyntra", "simulate", "replay")
SELECTIONS = ("coverage", "policy", "all")


@dataclass(frozen=True)
class CyntraSettings:
    """What the cyntra executor takes beyond the repo."""

    command: Sequence[str] | None = None
    """The kernel's command; None = ``cyntra`` on PATH."""
    limits: Limits = LONGEST_RUN
    """What every execution may use."""
    pass_on: Sequence[str] = ()
    """Names of further environment variables that runs may see."""


@dataclass(frozen=True)
class ReplaySettings:
    """What the replay executor takes beyond the tables."""

    trials: int = TRIALS
    minute_seconds: float = 60.0


@dataclass(frozen=True)
class CaseReport:
    """What the ledger says of one case; counts are executions."""

    case_id: str
    issue_id: str
    planned: int
    finished: int
    passed: int
    capped: int
    faults: int
    verdict: Verdict | None
    """None as long as nothing but faults is known."""


@dataclass(frozen=True)
class BenchReport:
    """What a bench did. ``resumed`` executions were in the ledger before; ``set_aside`` is issue id -> reason."""

    ledger_path: Path
    metrics: tuple[tuple[str, str], ...]
    """What decided after passing, in order: (name, "min" or "max"), as far as the cases' job types tell it."""
    cases: list[CaseReport]
    read: int
    """Issues (or problems with an agent) that there were."""
    set_aside: dict[str, str]
    run: int
    """Executions done by this call."""
    resumed: int
    faults: int
    """Executions in the ledger that ended in a fault, whoever ran them."""
    retried: int
    """Executions that were started more than once."""
    derived: int = 0
    """Executions for which nothing was run, because the same plan with more minutes told their outcome."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Cap of the budget -> executions that were not done because of it."""


@dataclass(frozen=True)
class Bench:
    """What performs the executions, where cases come from, and what the outcomes depend on."""

    executor: Executor
    settings: Mapping[str, Any]
    objective: Objective
    read: int
    set_aside: dict[str, str]
    make_cases: Callable[[Sequence[BenchCase], Selection], list[BenchCase]]
    """The stored cases that count and the new ones, from all that are stored."""


def run_bench(
    repo: Path,
    *,
    executor: str = EXECUTORS[0],
    cyntra: CyntraSettings = CyntraSettings(),
    replay: ReplaySettings = ReplaySettings(),
    ledger_path: Path | None = None,
    n_actions: int = 4,
    repeats: int = 1,
    limit: int | None = None,
    issue_ids: Sequence[str] | None = None,
    select: str = SELECTIONS[0],
    policies: Sequence[Path] = (),
    seed: int = 0,
    full: bool = False,
    budget: Budget = Budget(),
    workers: int | None = None,
    kernel_dir: Path | None = None,
    universe_id: str | None = None,
    work_base: Path | None = None,
    address: str | None = None,
    retry_faults: bool = False,
    take_over: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> BenchReport:
    """Bench ``repo``'s issues and report; run again after an interruption it does only what is missing.

    ``executor`` is one of EXECUTORS; for replay ``repo`` is a folder of tables. ``select`` is one of SELECTIONS;
    ``policies`` are trained runs, for "policy". ``full`` runs every execution to its end, also those that cannot win.
    ``ledger_path`` defaults to ``.cyntra/planner/bench/ledger.sqlite`` in the repo (for replay there is no default),
    ``workers`` to the cluster's CPUs, ``universe_id`` to the repo's only universe, ``work_base`` (where clones live) to
    the system's directory for temporary files. An interrupt, SIGTERM or a closed terminal stops the bench cleanly: it
    raises KeyboardInterrupt and leaves no process and no clone.
    """
    setup = prepare(
        repo,
        executor,
        cyntra=cyntra,
        replay=replay,
        n_actions=n_actions,
        limit=limit,
        issue_ids=issue_ids,
        kernel_dir=kernel_dir,
        universe_id=universe_id,
    )
    selection = make_selection(select, policies, seed)
    with Ledger.open(ledger_path or default_ledger(repo, executor), take_over=take_over) as ledger:
        ledger.bind({**setup.settings, "objective": setup.objective.to_document()})
        cases = setup.make_cases(ledger.cases(), selection)
        ledger.add_cases(cases, repeats)
        if retry_faults:
            ledger.plan_faults_again()
        before = ledger.progress()
        progress(before)
        left_out: Mapping[str, int] = {}
        if any(execution.case_id in {case.case_id for case in cases} for execution in ledger.planned()):
            capping = None if full else Capping(setup.objective, repeats)
            left_out = _run_planned(
                ledger, cases, setup.executor, capping, budget, workers, work_base, address, progress
            )
        after = ledger.progress()
        return BenchReport(
            ledger_path=ledger.path,
            metrics=_metrics(setup.objective, cases),
            cases=[_case_report(ledger, case, repeats, setup.objective) for case in cases],
            read=setup.read,
            set_aside=setup.set_aside,
            run=after.finished - before.finished,
            resumed=before.finished,
            faults=after.faults,
            retried=after.retried,
            derived=ledger.n_derived(),
            left_out=dict(left_out),
        )


def prepare(
    repo: Path,
    executor: str,
    *,
    cyntra: CyntraSettings = CyntraSettings(),
    replay: ReplaySettings = ReplaySettings(),
    n_actions: int = 4,
    limit: int | None = None,
    issue_ids: Sequence[str] | None = None,
    kernel_dir: Path | None = None,
    universe_id: str | None = None,
) -> Bench:
    """Everything that a bench needs before it opens its ledger; BenchError when something is missing."""
    repo = repo.resolve()
    if executor == "replay":
        return _replay(repo, replay, n_actions, limit, issue_ids)
    universe = choose_universe(repo, universe_id)
    universe_id = None if universe is NO_UNIVERSE else universe.universe_id
    performer: CyntraExecutor | SimulateExecutor
    if executor == "simulate":
        performer = SimulateExecutor.prepare(repo, kernel_dir)
        origin: CaseOrigin = simulated_origin(repo, performer)
        settings: dict[str, Any] = {"simulation": {"seed": performer.world.seed, "days": performer.world.days}}
    else:
        command = default_command() if cyntra.command is None else cyntra.command
        performer = CyntraExecutor.prepare(
            repo,
            command,
            kernel_dir=kernel_dir,
            universe_id=universe_id,
            limits=cyntra.limits,
            extra_path=sandbox_path(command),
            pass_on=cyntra.pass_on,
        )
        origin = git_origin(repo, kernel_dir, performer.environment["PATH"])
        settings = {"command": [Path(command[0]).name, *command[1:]]}
    issues = read_issues(repo, Quarantine(repo))

    def make_cases(stored: Sequence[BenchCase], selection: Selection) -> list[BenchCase]:
        cases = build_cases(
            repo,
            limit=limit,
            issue_ids=issue_ids,
            kernel_dir=kernel_dir,
            universe_id=universe_id,
            n_actions=n_actions,
            selection=selection,
            stored=stored,
            origin=origin,
        )
        if isinstance(performer, CyntraExecutor):
            performer.check_tools(cases)
        return cases

    return Bench(
        executor=performer,
        settings={**settings, "universe_id": universe_id},
        objective=Objective.of_universe(universe),
        read=len(issues),
        set_aside=select_issues(issues, issue_ids).set_aside,
        make_cases=make_cases,
    )


def _replay(
    directory: Path, settings: ReplaySettings, n_actions: int, limit: int | None, issue_ids: Sequence[str] | None
) -> Bench:
    executor = ReplayExecutor.prepare(directory, n_trials=settings.trials, minute_seconds=settings.minute_seconds)

    def make_cases(stored: Sequence[BenchCase], selection: Selection) -> list[BenchCase]:
        kept = [case for case in stored if issue_ids is None or case.issue_id in issue_ids]
        known = {case.case_id for case in kept}
        drafts = (s for s in executor.drafts(issue_ids, directory.name) if s.choice.case_id not in known)
        return add_cases(kept, stored, drafts, selection, n_actions, limit)

    return Bench(
        executor=executor,
        settings={"replay": directory.name, "trials": settings.trials, "minute_seconds": settings.minute_seconds},
        objective=Objective(),
        read=len(executor.cases) + len(executor.too_few),
        set_aside=executor.too_few,
        make_cases=make_cases,
    )


def make_selection(select: str, policies: Sequence[Path], seed: int) -> Selection:
    """How actions are chosen; ``policies`` are trained runs, for "policy"."""
    if select == "policy":
        from bench.planning.policy_selection import PolicySelection

        return PolicySelection(policies, seed)
    return AllActions() if select == "all" else Coverage(seed)


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
    from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir

    return [toolchain_dir()]


def _run_planned(
    ledger: Ledger,
    cases: Sequence[BenchCase],
    executor: Executor,
    capping: Capping | None,
    budget: Budget,
    workers: int | None,
    work_base: Path | None,
    address: str | None,
    progress: Callable[[Progress], None],
) -> Mapping[str, int]:
    work_base = work_base or Path(tempfile.gettempdir())
    work_base.mkdir(parents=True, exist_ok=True)
    try:
        with connect(address) as ray, _interrupted_by_signals():
            n_workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            pool = WorkerPool(
                ray,
                ledger,
                executor,
                work_base=work_base.resolve(),
                n_workers=n_workers,
                on_progress=progress,
                capping=capping,
                budget=budget,
            )
            pool.run(cases)
            return pool.left_out
    except ConnectionError as error:
        raise ClusterError(f"Ray cannot be reached: {error}; start it, or leave out --address") from None


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Take SIGTERM, by which ``ray job stop`` ends a bench, and SIGHUP, by which a closed terminal does, as interrupts.

    In force once Ray has set its own. Under nohup a bench goes on without its terminal.
    """
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def default_ledger(repo: Path, executor: str) -> Path:
    """Where outcomes go unless told: beside the repo's other artifacts; recorded trials are not ours to write to."""
    if executor == "replay":
        raise BenchError("recorded trials have no place for a ledger: name its file with --ledger")
    directory = repo.resolve() / ".cyntra" / "planner" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    # The bench is not to show up in the repo's own `git status`.
    (directory / ".gitignore").write_text("*\n")
    return directory / "ledger.sqlite"


def _metrics(objective: Objective, cases: Sequence[BenchCase]) -> tuple[tuple[str, str], ...]:
    told = [objective.for_job(job_type).metrics for job_type in {case.context.job_type for case in cases}]
    return max(told, key=len, default=objective.metrics)


def _case_report(ledger: Ledger, case: BenchCase, repeats: int, objective: Objective) -> CaseReport:
    executions = ledger.executions(case.case_id)
    outcomes = [(action_from_document(e.action.model_dump()), e.outcome) for e in executions]
    return CaseReport(
        case_id=case.case_id,
        issue_id=case.issue_id,
        planned=len(case.actions) * repeats,
        finished=len(executions),
        passed=sum(outcome.passed for _, outcome in outcomes),
        capped=sum(outcome.status == "stopped_early" for _, outcome in outcomes),
        faults=sum(outcome.status == "fault" for _, outcome in outcomes),
        verdict=judge(outcomes, objective.for_job(case.context.job_type)),
    )
