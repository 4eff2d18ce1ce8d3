"""Executions in parallel on Ray: a pool of actors, one execution at a time each, while the driver keeps the ledger."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.executors import Executor
from bench.executors.outcome import fault
from bench.ledger import Ledger, PlannedExecution, Progress
from bench.workdirs import in_use, make_work_dir, own_root, remove_root, remove_stale_roots, remove_tree
from planner.actions import Action
from planner.contracts import BenchCase, BenchOutcome, parse

MAX_ATTEMPTS = 3
"""How often an execution may be started whose worker dies under it."""
CLEANUP_PATIENCE_S = 20.0
"""How long the supervisors of dead workers are waited for; they are done within seconds."""
POLL_S = 0.5


class ExecutionWorker:
    """The actor: performs one execution at a time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def execute(self, case: bytes, action: Action, work_dir: str, repeat: int) -> bytes:
        """Perform one execution; its outcome as JSON. The work directory stays until :meth:`discard`."""
        make_work_dir(Path(work_dir))
        with in_use(Path(work_dir)):
            outcome = self._executor.execute(parse(BenchCase, case, "case"), action, Path(work_dir), repeat)
        return outcome.model_dump_json().encode()

    def discard(self, work_dir: str) -> None:
        """Remove a work directory, once the outcome is recorded."""
        remove_tree(Path(work_dir))


class WorkerPool:
    """Does planned executions on ``n_workers`` actors and records each outcome as soon as it is there."""

    def __init__(
        self,
        ray: Any,
        ledger: Ledger,
        executor: Executor,
        *,
        work_base: Path,
        n_workers: int,
        on_progress: Callable[[Progress], None],
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._ray = ray
        self._ledger = ledger
        self._executor = executor
        self._base = work_base
        self._root = own_root(work_base)
        self._n_workers = n_workers
        self._on_progress = on_progress
        self._max_attempts = max_attempts
        self._numbers = itertools.count()
        self._workers: list[Any] = []
        self._idle: list[Any] = []
        self._waiting: list[PlannedExecution] = []
        self._running: dict[Any, tuple[Any, PlannedExecution, str]] = {}
        self._discarded: list[Any] = []

    def run(self, cases: Sequence[BenchCase]) -> None:
        """Do every planned execution of ``cases``; whatever ends this, no process and no clone is left behind."""
        documents = {case.case_id: case.model_dump_json().encode() for case in cases}
        planned = [execution for execution in self._ledger.planned() if execution.case_id in documents]
        self._waiting = planned[::-1]
        remove_stale_roots(self._base, CLEANUP_PATIENCE_S)
        try:
            actor = self._actor_class()
            for _ in range(min(self._n_workers, len(planned))):
                self._add_worker(actor)
            while self._waiting or self._running:
                while self._idle and self._waiting:
                    self._start(documents)
                for reference in self._ray.wait(list(self._running), timeout=POLL_S)[0]:
                    self._collect(reference, actor)
                self._on_progress(self._ledger.progress())
            if self._discarded:
                self._ray.wait(self._discarded, num_returns=len(self._discarded), timeout=CLEANUP_PATIENCE_S)
        finally:
            for worker in self._workers:
                self._ray.kill(worker)
            remove_root(self._root, CLEANUP_PATIENCE_S)

    def _start(self, documents: dict[str, bytes]) -> None:
        worker, execution = self._idle.pop(), self._waiting.pop()
        work_dir = str(self._root / str(next(self._numbers)))
        self._ledger.start(execution.execution_id)
        document = documents[execution.case_id]
        reference = worker.execute.remote(document, execution.action, work_dir, execution.repeat)
        self._running[reference] = (worker, execution, work_dir)

    def _collect(self, reference: Any, actor: Any) -> None:
        worker, execution, work_dir = self._running.pop(reference)
        try:
            outcome = parse(BenchOutcome, self._ray.get(reference), f"outcome of {execution.execution_id}")
        except self._ray.exceptions.RayTaskError as error:
            outcome = fault(f"the executor failed: {error.cause!r}")
        except self._ray.exceptions.RayError as error:
            # A worker that Ray cannot reach may still live: its execution must not go on beside the next attempt.
            self._ray.kill(worker)
            self._workers.remove(worker)
            self._add_worker(actor)
            self._lost(execution, error)
            return
        self._ledger.finish(execution.execution_id, outcome)
        self._discarded.append(worker.discard.remote(work_dir))
        self._idle.append(worker)

    def _lost(self, execution: PlannedExecution, error: Exception) -> None:
        """The worker died: the execution is done again, or given up as a fault."""
        attempts = execution.attempts + 1
        if attempts >= self._max_attempts:
            reason = f"its worker died {attempts} times (out of memory?): {str(error).splitlines()[0]}"
            self._ledger.finish(execution.execution_id, fault(reason))
            return
        self._ledger.plan_again(execution.execution_id)
        self._waiting.append(replace(execution, attempts=attempts))

    def _actor_class(self) -> Any:
        cpus = self._ray.cluster_resources().get("CPU", 1.0)
        # More workers than CPUs is sensible, for agents mostly wait for a model's answer.
        share = math.floor(min(1.0, cpus / self._n_workers) * 1000) / 1000
        return self._ray.remote(num_cpus=share, max_restarts=0, max_task_retries=0)(ExecutionWorker)

    def _add_worker(self, actor: Any) -> None:
        worker = actor.remote(self._executor)
        self._workers.append(worker)
        self._idle.append(worker)
