"""Executions in parallel on Ray: a pool of actors, one execution at a time each, while the driver keeps the ledger."""

import contextlib
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.containment.workdirs import own_root, remove_root, remove_stale_roots
from bench.engine.budget import Account, Budget
from bench.engine.case_queue import CaseQueue, CaseWork
from bench.engine.crew import Crew, Worker
from bench.engine.execution_logs import ExecutionLogs
from bench.engine.execution_worker import Capping, ExecutionWorker, WorkOrder, finished
from bench.engine.ray_health import RayHealth
from bench.engine.remote_deadline import RemoteDeadline
from bench.engine.tally import Tally
from bench.executors.outcome import fault
from bench.executors.places import bench_directory
from bench.executors.protocol import Executor, TravellingExecutor
from bench.judging.cap_margin import ToolSpread
from bench.judging.objective import plan_size
from bench.ledger import Ledger, PlannedExecution, Progress
from cluster.nodes import nonce_in
from planner.contracts.bench import BenchCase, BenchExecution, BenchOutcome
from planner.contracts.document import parse

MAX_ATTEMPTS = 3
"""How often an execution may be started that ends in a fault, or whose worker dies under it."""
CLEANUP_PATIENCE_S = 20.0
"""How long the supervisors of dead workers are waited for; they are done within seconds."""
POLL_S = 0.5


@dataclass
class _Running:
    """Executions that a worker is doing."""

    worker: Worker
    executions: list[PlannedExecution]
    case: CaseWork
    work_dir: str
    remote_deadline: RemoteDeadline
    started: float
    cancelled: bool = False

    @property
    def elapsed_ms(self) -> int:
        """How long it has been running."""
        return round(1000 * (time.monotonic() - self.started))


class WorkerPool:
    """Does planned executions on ``n_workers`` actors and records each outcome as soon as it is there.

    Cases go side by side, the executions of one case one after the other as long as there are other cases to do: few
    agents first, and of the same agents the most minutes. So a plan that passes caps those after it, and tells the
    outcomes of the same plan with fewer minutes (``capping``; None = every execution is run, and to its end).
    """

    def __init__(
        self,
        ray: Any,
        ledger: Ledger,
        executor: Executor,
        *,
        work_base: Path,
        n_workers: int | None,
        on_progress: Callable[[Progress], None],
        capping: Capping | None = None,
        budget: Budget = Budget(),
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._ray = ray
        self._ledger = ledger
        self._executor = executor
        self._capping = capping
        self._base = work_base
        self._root = own_root(work_base)
        self._n_workers = n_workers
        self._on_progress = on_progress
        self._logs = ExecutionLogs(ledger.path)
        self._account = Account(budget, ledger.spent())
        self._max_attempts = max_attempts
        self._numbers = itertools.count()
        self._tally = Tally(ledger.progress())
        self._queue = CaseQueue(())
        self._unchecked: list[CaseWork] = []
        """Cases that have used up something since the budget was looked at."""
        self._running: dict[Any, _Running] = {}
        self._leftovers: dict[Worker, str] = {}
        """Worker -> the work directory of its last executions, which it is yet to remove."""
        self._spread = ToolSpread()
        self.idle_nodes: dict[str, str] = {}
        """Host -> why its node got no work, or no more."""
        self.left_out: Counter[str] = Counter()
        """Cap of the budget -> executions that were not done because of it."""

    @property
    def spread(self) -> dict[str, float]:
        """Tool -> how much its times vary, see CapMargin; nothing where times are drawn or recorded: another run of the
        same execution would take as long."""
        return {} if self._executor.instant else self._spread.of_tools()

    def run(self, cases: Sequence[BenchCase]) -> None:
        """Do every planned execution of ``cases``; whatever ends this, no process and no clone is left behind.

        BenchError when Ray breaks down or the ledger cannot be written.
        """
        self._gather(cases)
        remove_stale_roots(self._base, CLEANUP_PATIENCE_S)
        raylet = RayHealth(self._ray)
        source = self._executor.source
        with contextlib.nullcontext() if source is None else nonce_in(bench_directory(source)) as nonce:
            arguments = (self._executor, self._capping)
            pack = self._parcel_maker(cases)
            crew = Crew(self._ray, lambda: ExecutionWorker, arguments, self._n_workers, nonce, pack)
            try:
                self._do_all(crew, raylet)
                last = [worker.actor.discard.remote(work_dir) for worker, work_dir in self._leftovers.items()]
                if last:
                    self._ray.wait(last, num_returns=len(last), timeout=CLEANUP_PATIENCE_S)
            finally:
                self.idle_nodes = crew.barred
                crew.close()
                raylet.close()
                remove_root(self._root, CLEANUP_PATIENCE_S)

    def _parcel_maker(self, cases: Sequence[BenchCase]) -> Callable[[], Any] | None:
        """What gives the parcel for nodes that do not see the source; None where the executor cannot travel."""
        executor = self._executor
        if not isinstance(executor, TravellingExecutor):
            return None
        return lambda: executor.packed({case.base_commit for case in cases})

    def _do_all(self, crew: Crew, raylet: RayHealth) -> None:
        while True:
            self._keep_to_budget()
            unaffordable = self._account.unaffordable(len(self._running))
            if not self._running and (not self._queue.n_waiting or unaffordable):
                self._leave_out(self._queue.cases.values(), unaffordable)
                return
            crew.recruit(self._queue.n_waiting + len(self._running))
            while (case := self._next_case()) is not None and (worker := crew.take()) is not None:
                self._start(case, worker)
            ended = self._ray.wait([*self._running, *crew.answers], timeout=POLL_S)[0]
            raylet.check()
            for reference in ended:
                if reference in self._running:
                    self._collect(reference, crew)
                else:
                    crew.answered(reference)
            self._on_progress(self._tally.progress)

    def _gather(self, cases: Sequence[BenchCase]) -> None:
        self._queue = CaseQueue(cases)
        work = self._queue.cases
        waiting: defaultdict[str, list[PlannedExecution]] = defaultdict(list)
        for execution in self._ledger.planned():
            waiting[execution.case_id].append(execution)
        for case_id, case in work.items():
            self._queue.add(case, sorted(waiting[case_id], key=_order))
        for known in self._ledger.executions():
            if known.case_id in work:
                self._add(work[known.case_id], known)
        self._unchecked = list(work.values())

    def _add(self, case: CaseWork, execution: BenchExecution) -> None:
        case.done.add(execution)
        self._spread.add(execution.case_id, execution.outcome)

    def _next_case(self) -> CaseWork | None:
        return None if self._account.unaffordable(len(self._running)) else self._queue.first()

    def _start(self, case: CaseWork, worker: Worker) -> None:
        executions = self._queue.start(case, len(case.waiting) if self._executor.instant else 1)
        work_dir = str(self._root / str(next(self._numbers)))
        self._ledger.start([execution.execution_id for execution in executions], worker.name)
        self._tally.start(executions)
        if not case.document:
            case.document = case.case.model_dump_json().encode()
        remote_deadline = RemoteDeadline()
        order = WorkOrder(
            case=case.document,
            executions=executions,
            known=[] if self._capping is None else [one.model_dump_json().encode() for one in case.done.executions],
            work_dir=work_dir,
            deadline_key=remote_deadline.key,
            spread=self.spread,
            leftover=self._leftovers.pop(worker, None),
        )
        if not case.waiting:
            case.document = b""
        reference = worker.actor.execute.remote(order)
        self._running[reference] = _Running(worker, executions, case, work_dir, remote_deadline, time.monotonic())

    def _collect(self, reference: Any, crew: Crew) -> None:
        running = self._running.pop(reference)
        self._queue.end(running.case)
        running.remote_deadline.close()
        try:
            results = self._ray.get(reference)
            outcomes = [parse(BenchOutcome, text, "outcome of an execution") for text, _ in results]
            for execution, (_, log) in zip(running.executions, results, strict=True):
                self._logs.keep(execution.execution_id, log)
        except self._ray.exceptions.RayTaskError as error:
            outcomes = [fault(f"the executor failed: {error.cause!r}") for _ in running.executions]
        except self._ray.exceptions.RayError as error:
            # A worker that Ray cannot reach may still live: its execution must not go on beside the next attempt.
            crew.dismiss(running.worker)
            self._lost(running, error)
            return
        self._record(running, outcomes)
        self._leftovers[running.worker] = running.work_dir
        crew.give_back(running.worker, faulty=any(outcome.status == "fault" for outcome in outcomes))
        self._cap_siblings(running.case)

    def _record(self, running: _Running, outcomes: Sequence[BenchOutcome]) -> None:
        """Into the ledger with what counts; a fault is tried again, and what the budget has cut stays planned."""
        final = {}
        self._unchecked.append(running.case)
        for execution, outcome in zip(running.executions, outcomes, strict=True):
            if outcome.derived_from is None:
                self._account.add(execution.case_id, outcome.duration_ms, outcome.cost_usd or 0.0)
            if outcome.stopped_by == "cancelled":
                self._ledger.plan_again(execution.execution_id, "stopped by a cap of the budget", outcome.duration_ms)
                self._tally.plan_again()
            elif outcome.status == "fault" and execution.attempts + 1 < self._max_attempts:
                self._ledger.plan_again(execution.execution_id, str(outcome.fault), outcome.duration_ms)
                self._tally.plan_again()
                self._queue.add(running.case, [replace(execution, attempts=execution.attempts + 1)])
            else:
                if outcome.status == "fault" and execution.attempts:
                    reason = f"{outcome.fault} (the last of {execution.attempts + 1} attempts)"
                    outcome = outcome.model_copy(update={"fault": reason})
                final[execution.execution_id] = outcome
                self._add(running.case, finished(execution, outcome))
        if final:
            self._ledger.finish(final)
            self._tally.finish(final.values())

    def _lost(self, running: _Running, error: Exception) -> None:
        """The worker died: its executions are done again, or given up as faults."""
        reason = f"its worker died (out of memory?): {str(error).splitlines()[0]}"
        self._record(running, [fault(reason, duration_ms=running.elapsed_ms) for _ in running.executions])

    def _cap_siblings(self, case: CaseWork) -> None:
        """Shorten what still runs of a case after one of its executions has ended."""
        for running in self._running.values() if self._capping is not None else ():
            if running.case is case and self._capping is not None:
                execution = running.executions[0]
                cap = self._capping.cap_ms(case.case, case.done.outcomes, execution.action, self.spread)
                if cap is not None:
                    running.remote_deadline.shorten(cap / 1000, "capped")

    def _keep_to_budget(self) -> None:
        """Stop what runs, and leave out what waits, beyond the budget."""
        elapsed: Counter[str] = Counter()
        for running in self._running.values():
            elapsed[running.case.case.case_id] += running.elapsed_ms
        whole = self._account.exhausted(elapsed.total())
        cases = self._queue.cases
        used_up = cases.values() if whole else [*self._unchecked, *(cases[case_id] for case_id in elapsed)]
        for case in used_up:
            case_id = case.case.case_id
            reason = whole or self._account.case_exhausted(case_id, elapsed[case_id])
            if reason is not None:
                self._leave_out([case], reason)
                self._cancel(case, reason)
        self._unchecked = []

    def _leave_out(self, cases: Iterable[CaseWork], reason: str | None) -> None:
        for case in cases:
            if count := self._queue.drop(case):
                self.left_out[reason or "not done"] += count

    def _cancel(self, case: CaseWork, reason: str) -> None:
        for running in self._running.values():
            if running.case is case and not running.cancelled:
                running.cancelled = True
                self.left_out[reason] += len(running.executions)
                running.remote_deadline.shorten(0.0, "cancelled")


def _order(execution: PlannedExecution) -> tuple[float, float]:
    minutes = execution.action.max_minutes_bin
    return plan_size(execution.action._replace(max_minutes_bin="NA")), -math.inf if minutes == "NA" else -minutes
