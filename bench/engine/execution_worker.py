"""What a node does in a bench: the actor that performs executions, and what it knows of a case."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.containment.limits import Deadline
from bench.containment.workdirs import in_use, make_work_dir, remove_tree
from bench.engine.crew import Obstacle
from bench.engine.derived_outcomes import derive
from bench.engine.execution_logs import LOG_BYTES
from bench.engine.remote_deadline import following
from bench.executors.outcome import last_bytes
from bench.executors.protocol import LOG, Executor, TravellingExecutor
from bench.judging.cap_margin import CapMargin
from bench.judging.objective import Objective, cap_ms
from bench.ledger import PlannedExecution
from planner.actions import Action, action_from_document
from planner.contracts.bench import ActionDocument, BenchCase, BenchExecution, BenchOutcome
from planner.contracts.document import parse
from planner.errors import BenchError


@dataclass(frozen=True)
class Capping:
    """What need not be run: when an execution is stopped because its action cannot win any more (see
    bench.judging.objective.cap_ms), and which outcomes are not derived."""

    objective: Objective
    repeats: int
    start_ms: float = 0.0
    """The kernel's own start-up, which caps leave to noise."""
    shown_limit: frozenset[str] = frozenset()
    """The toolchains whose agents are shown their limit: nothing is derived from their runs."""

    def cap_ms(
        self,
        case: BenchCase,
        outcomes: Mapping[Action, Sequence[BenchOutcome]],
        action: Action,
        spread: Mapping[str, float],
    ) -> int | None:
        """The cap on the next execution of ``action``; ``spread`` as in CapMargin."""
        objective = self.objective.for_job(case.context.job_type)
        return cap_ms(outcomes, action, self.repeats, objective, CapMargin(self.start_ms, spread))


class Done:
    """The executions of a case that yielded an outcome."""

    def __init__(self) -> None:
        self.executions: list[BenchExecution] = []
        self.outcomes: dict[Action, list[BenchOutcome]] = {}

    def add(self, execution: BenchExecution) -> None:
        """Take note of a finished execution, unless it is a fault."""
        if execution.outcome.status != "fault":
            self.executions.append(execution)
            self.outcomes.setdefault(action_of(execution), []).append(execution.outcome)

    def of_repeat(self, repeat: int) -> Iterator[tuple[Action, str, BenchOutcome]]:
        """Those with this number among the repeats of their action."""
        for execution in self.executions:
            if execution.repeat == repeat:
                yield action_of(execution), execution.execution_id, execution.outcome


@dataclass(frozen=True)
class WorkOrder:
    """One call of a worker, in one piece: Ray takes a tenth of a millisecond for each argument."""

    case: bytes
    executions: Sequence[PlannedExecution]
    """Of the case, to be performed one after the other."""
    known: Sequence[bytes]
    """The case's executions that are done, where they matter."""
    work_dir: str
    deadline_key: str
    """Where the driver shortens an execution that takes time."""
    spread: Mapping[str, float]
    """How much the tools' times vary."""
    leftover: str | None = None
    """The work directory of the worker's last call, which is recorded now."""


class ExecutionWorker:
    """The actor: performs one execution at a time."""

    def __init__(self, executor: Executor, capping: Capping | None) -> None:
        self._executor = executor
        self._capping = capping
        self._parcel: Sequence[Any] = ()

    def ready(self, nonce: str | None, parcel: Sequence[Any]) -> Obstacle | None:
        """The answer before any work: None, or why this node can do none.

        ``nonce`` is a file beside the data, by which the node shows that it sees them; ``parcel`` holds the reference
        of what it needs where it does not.
        """
        if not parcel and nonce is not None and not Path(nonce).exists():
            return Obstacle(f"it does not see {Path(nonce).parent} as the driver does: mount it there", unseen=True)
        self._parcel = parcel
        try:
            self._settle()
        except BenchError as error:
            return Obstacle(str(error))
        return None

    def _settle(self) -> None:
        """Take what this node has."""
        if isinstance(self._executor, TravellingExecutor):
            import ray

            parcel = ray.get(self._parcel[0]) if self._parcel else None
            self._executor = self._executor.on_this_node(parcel)

    def execute(self, order: WorkOrder) -> list[tuple[bytes, bytes]]:
        """Perform the order; of each execution its outcome as JSON, and the end of its log.

        The work directory stays until the outcome is recorded: until :meth:`discard`, or the next order.
        """
        if order.leftover is not None:
            self.discard(order.leftover)
        document = parse(BenchCase, order.case, "case")
        done = Done()
        for text in order.known:
            done.add(parse(BenchExecution, text, "execution"))
        work_dir = Path(order.work_dir)
        make_work_dir(work_dir)
        source = self._executor.source
        if self._parcel and source is not None and not source.exists():
            self._settle()  # somebody has emptied the cache
        results = []
        with in_use(work_dir):
            for execution in order.executions:
                outcome = self._derived(document, execution, done)
                if outcome is None:
                    deadline = self._deadline(document, execution, done, order.spread)
                    with (
                        contextlib.nullcontext() if self._executor.instant else following(deadline, order.deadline_key)
                    ):
                        outcome = self._executor.execute(
                            document, execution.action, work_dir, execution.repeat, deadline
                        )
                done.add(finished(execution, outcome))
                log = b"" if outcome.derived_from else last_bytes(work_dir / LOG, LOG_BYTES)
                results.append((outcome.model_dump_json().encode(), log))
        return results

    def _derived(self, case: BenchCase, execution: PlannedExecution, done: "Done") -> BenchOutcome | None:
        if self._capping is None or case.context.job_type != "code":
            return None
        known = done.of_repeat(execution.repeat)
        return derive(execution.action, known, self._executor, self._capping.shown_limit)

    def _deadline(
        self, case: BenchCase, execution: PlannedExecution, done: "Done", spread: Mapping[str, float]
    ) -> Deadline:
        deadline = Deadline()
        cap = None if self._capping is None else self._capping.cap_ms(case, done.outcomes, execution.action, spread)
        if cap is not None:
            deadline.shorten(cap / 1000, "capped")
        return deadline

    def discard(self, work_dir: str) -> None:
        """Remove a work directory."""
        remove_tree(Path(work_dir))


def finished(execution: PlannedExecution, outcome: BenchOutcome) -> BenchExecution:
    """An execution with its outcome, as documents hold it."""
    return BenchExecution(
        schema_version="cyntra.bench_execution.v1",
        execution_id=execution.execution_id,
        case_id=execution.case_id,
        action=ActionDocument(**execution.action._asdict()),
        repeat=execution.repeat,
        outcome=outcome,
    )


def action_of(execution: BenchExecution) -> Action:
    """Which action it performed."""
    return action_from_document(execution.action.model_dump())
