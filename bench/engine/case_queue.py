"""The cases of a bench that still wait, and which of them comes next."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.engine.execution_worker import Done
from bench.ledger import PlannedExecution
from planner.contracts.bench import BenchCase


@dataclass
class CaseWork:
    """What the driver keeps of one case."""

    case: BenchCase
    position: int
    waiting: list[PlannedExecution] = field(default_factory=list)
    done: Done = field(default_factory=Done)
    running: int = 0
    document: bytes = b""
    """The case as JSON, while executions wait of which one was started."""


class CaseQueue:
    """The case with the fewest running executions among those that wait comes first; of equals the first.

    A heap of (running, position), in which a case enters anew whenever that changes. What is out of date is dropped
    when it comes up, so that a choice costs the same among ten cases and among ten thousand.
    """

    def __init__(self, cases: Iterable[BenchCase]) -> None:
        self.cases = {case.case_id: CaseWork(case, position) for position, case in enumerate(cases)}
        self.n_waiting = 0
        self._in_order = list(self.cases.values())
        self._heap: list[tuple[int, int]] = []

    def add(self, case: CaseWork, executions: Sequence[PlannedExecution]) -> None:
        """Let executions wait, after those that do."""
        case.waiting += executions
        self.n_waiting += len(executions)
        self._enter(case)

    def first(self) -> CaseWork | None:
        """The case that comes next; None when nothing waits."""
        while self._heap:
            running, position = self._heap[0]
            case = self._in_order[position]
            if case.waiting and case.running == running:
                return case
            heapq.heappop(self._heap)
        return None

    def start(self, case: CaseWork, count: int) -> list[PlannedExecution]:
        """The first ``count`` executions that wait: they run now, together."""
        executions, case.waiting = case.waiting[:count], case.waiting[count:]
        self.n_waiting -= len(executions)
        case.running += 1
        self._enter(case)
        return executions

    def end(self, case: CaseWork) -> None:
        """What was started together has ended."""
        case.running -= 1
        self._enter(case)

    def drop(self, case: CaseWork) -> int:
        """Nothing of the case waits any more; returns how many executions did."""
        count, case.waiting = len(case.waiting), []
        self.n_waiting -= count
        return count

    def _enter(self, case: CaseWork) -> None:
        if case.waiting:
            heapq.heappush(self._heap, (case.running, case.position))
