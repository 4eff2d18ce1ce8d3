"""A whole bench: cases, executions on Ray, outcomes in a ledger; what the ledger has is not run again."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.engine.budget import Budget
from bench.engine.execution_worker import Capping
from bench.engine.workers import WorkerPool
from bench.executors.fault_reasons import FaultGroup, fault_groups
from bench.executors.kernel_start import recorded_start
from bench.executors.protocol import Executor
from bench.executors.registry import PreparedBench, executor_kind
from bench.judging.cap_margin import DEFAULT_START_MS
from bench.judging.objective import Objective, Verdict, judge
from bench.ledger import Ledger, Progress
from bench.ledger_copy import copied
from bench.options import BenchOptions
from bench.planning.selections import AllActions, Coverage, Selection, WatchedSelection
from cluster.connect import connect
from planner.actions import action_from_document
from planner.contracts.bench import BenchCase
from planner.errors import ClusterError
from planner.options import OptionsModel
from planner.places import place_of


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
    compared: int
    """Actions of which an outcome is known."""
    planned_actions: int
    derived: Mapping[str, str]
    """Execution whose outcome was derived -> the one with more minutes that gave it."""
    verdict: Verdict | None
    """None as long as nothing but faults is known."""

    @property
    def judged(self) -> bool:
        """Whether there is a winner, and something that it was compared with, if anything was to be."""
        return self.verdict is not None and (self.compared > 1 or self.planned_actions == 1)


@dataclass(frozen=True)
class CapReport:
    """What the caps of a bench left to noise, and from which toolchains nothing was derived."""

    start_ms: float
    """The kernel's own start-up."""
    start_measured: bool
    """Whether `planner bench --doctor` has measured it; otherwise it is a default."""
    spread: Mapping[str, float]
    """Tool -> how much its times vary, see bench.judging.cap_margin."""
    shown_limit: Sequence[str]
    """Toolchains whose agents are shown their limit."""


@dataclass(frozen=True)
class BenchReport:
    """What a bench did. ``resumed`` executions were in the ledger before; ``set_aside`` is issue id -> reason."""

    ledger_path: Path
    metrics: tuple[tuple[str, str], ...]
    """What decided after passing, in order: (name, "min" or "max"), as far as the cases' job types have it."""
    cases: list[CaseReport]
    read: int
    """Issues (or problems with an agent) that there were."""
    set_aside: dict[str, str]
    unreadable: list[Mapping[str, str]]
    """What could not be read: path, reason, consequence."""
    run: int
    """Executions done by this call."""
    resumed: int
    faults: int
    """Executions in the ledger that ended in a fault, whoever ran them."""
    fault_reasons: list[FaultGroup]
    """One for each distinct reason, with what cures it."""
    retried: int
    """Executions that were started more than once."""
    caps: CapReport | None = None
    """None: nothing is capped or derived in this bench."""
    derived: int = 0
    """Executions for which nothing was run, because the outcome of the same plan with more minutes gave theirs."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Cap of the budget -> executions that were not done because of it."""
    idle_nodes: dict[str, str] = field(default_factory=dict)
    """Host -> why its node got no work, or no more."""

    def to_json(self) -> dict[str, Any]:
        """All of it by its names."""
        cases = [
            {**asdict(replace(case, verdict=None)), "verdict": case.verdict and case.verdict.to_json()}
            for case in self.cases
        ]
        return {**asdict(replace(self, cases=[])), "ledger_path": str(self.ledger_path), "cases": cases}


def run_bench(
    source: Path,
    options: BenchOptions,
    own: OptionsModel | None = None,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    planned: Callable[[int], None] = lambda _: None,
) -> BenchReport:
    """Bench what ``source`` holds and report; run again after an interruption it does only what is missing.

    ``planned`` gets the number of new cases that have their actions, ``progress`` how far the executions are.

    ``source`` is a repo, for the executor replay a folder of tables; ``own`` are the options of the executor's kind
    (default: its defaults). An interrupt, SIGTERM or a closed terminal stops the bench cleanly: it raises
    KeyboardInterrupt and leaves no process and no clone.
    """
    kind = executor_kind(options.executor)
    setup = kind.prepare(source, options, own or kind.options())
    recorded = setup.objective
    objective = Objective.of_universe(setup.universe) if recorded is None else Objective.from_document(recorded)
    selection = WatchedSelection(make_selection(options), planned)
    copy = place_of(options.ledger_copy) if options.ledger_copy else None
    with (
        Ledger.open(options.ledger or kind.default_ledger(source), take_over=options.take_over) as ledger,
        copied(ledger.path, copy),
    ):
        ledger.bind({**setup.settings, "objective": objective.to_document()})
        cases = setup.make_cases(ledger.cases(), selection)
        ledger.add_cases(cases, options.repeats)
        if options.retry_faults:
            ledger.plan_faults_again()
        if options.full:
            ledger.plan_to_the_end()
        before = ledger.progress()
        progress(before)
        left_out: Mapping[str, int] = {}
        idle_nodes: Mapping[str, str] = {}
        caps = None if options.full else _caps(setup, options, ledger.path.parent)
        if any(execution.case_id in {case.case_id for case in cases} for execution in ledger.planned()):
            capping = None
            if caps is not None:
                capping = Capping(objective, options.repeats, caps.start_ms, frozenset(caps.shown_limit))
            pool = _run_planned(ledger, cases, setup.executor, capping, options, progress)
            left_out, idle_nodes = pool.left_out, pool.idle_nodes
            caps = caps and replace(caps, spread=pool.spread)
        after = ledger.progress()
        return BenchReport(
            ledger_path=ledger.path,
            metrics=_metrics(objective, cases),
            cases=[_case_report(ledger, case, options.repeats, objective) for case in cases],
            read=setup.read,
            set_aside=dict(setup.set_aside),
            unreadable=list(setup.unreadable),
            run=after.finished - before.finished,
            resumed=before.finished,
            faults=after.faults,
            fault_reasons=fault_groups(ledger.fault_reasons().items()),
            retried=after.retried,
            caps=caps,
            derived=ledger.n_derived(),
            left_out=dict(left_out),
            idle_nodes=dict(idle_nodes),
        )


def _caps(setup: PreparedBench, options: BenchOptions, ledger_dir: Path) -> CapReport:
    """What caps leave to noise on this machine; nothing where executions take no real time."""
    listed = set(options.shown_limit)
    shown = sorted(listed | {tool for tool, program in setup.programs.items() if program in listed})
    if setup.executor.instant:
        return CapReport(0.0, True, {}, shown)
    measured = recorded_start(ledger_dir, " ".join(map(str, setup.settings.get("command", ()))))
    return CapReport(DEFAULT_START_MS if measured is None else measured, measured is not None, {}, shown)


def make_selection(options: BenchOptions) -> Selection:
    """How actions are chosen."""
    if options.select == "policy":
        from bench.planning.policy_selection import PolicySelection

        return PolicySelection(options.policies, options.seed)
    if options.select == "informative":
        from bench.planning.informative_selection import InformativeSelection

        return InformativeSelection(options.policies)
    return AllActions() if options.select == "all" else Coverage(options.seed)


def budget_of(options: BenchOptions) -> Budget:
    """The hard caps."""
    return Budget(options.max_case_minutes, options.max_hours, options.max_dollars)


def _run_planned(
    ledger: Ledger,
    cases: Sequence[BenchCase],
    executor: Executor,
    capping: Capping | None,
    options: BenchOptions,
    progress: Callable[[Progress], None],
) -> WorkerPool:
    work_base = options.work_dir or Path(tempfile.gettempdir())
    work_base.mkdir(parents=True, exist_ok=True)
    try:
        with connect(options.address) as ray, _interrupted_by_signals():
            pool = WorkerPool(
                ray,
                ledger,
                executor,
                work_base=work_base.resolve(),
                n_workers=options.workers,
                on_progress=progress,
                capping=capping,
                budget=budget_of(options),
            )
            pool.run(cases)
            return pool
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


def _metrics(objective: Objective, cases: Sequence[BenchCase]) -> tuple[tuple[str, str], ...]:
    known = [objective.for_job(job_type).metrics for job_type in {case.context.job_type for case in cases}]
    return max(known, key=len, default=objective.metrics)


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
        compared=len({action for action, outcome in outcomes if outcome.status != "fault"}),
        planned_actions=len(case.actions),
        derived={e.execution_id: e.outcome.derived_from for e in executions if e.outcome.derived_from is not None},
        verdict=judge(outcomes, objective.for_job(case.context.job_type)),
    )
