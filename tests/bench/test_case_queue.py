"""The queue of cases, beside a plain search through all of them."""

import random

from bench.engine.case_queue import CaseQueue, CaseWork
from bench.ledger import PlannedExecution
from planner.actions import Action
from tests.bench.test_ledger import bench_case

ACTION = Action("serial_handoff", 1, 30, "NA")


def plainly(queue: CaseQueue) -> CaseWork | None:
    """The case with the fewest running executions among those that wait; of equals the first."""
    waiting = [case for case in queue.cases.values() if case.waiting]
    return min(waiting, key=lambda case: (case.running, case.position), default=None)


def test_the_next_case_is_that_of_a_plain_search_whatever_starts_ends_comes_back_or_is_dropped() -> None:
    rng = random.Random(0)
    queue = CaseQueue(bench_case(str(number)) for number in range(12))
    for work in queue.cases.values():
        planned = [PlannedExecution(f"{work.position}-{n}", work.case.case_id, ACTION, n, 0) for n in range(4)]
        queue.add(work, planned)
    running: list[tuple[CaseWork, list[PlannedExecution]]] = []
    started = set()
    for _ in range(400):
        assert queue.first() is plainly(queue)
        assert queue.n_waiting == sum(len(case.waiting) for case in queue.cases.values())
        case, chance = queue.first(), rng.random()
        if case is not None and chance < 0.55:
            running.append((case, queue.start(case, 1)))
            started |= {execution.execution_id for execution in running[-1][1]}
        elif running:
            ended, executions = running.pop(rng.randrange(len(running)))
            queue.end(ended)
            if chance < 0.6:
                queue.add(ended, executions)
            elif chance > 0.98:
                queue.drop(ended)
    assert len(started) > 30
    assert queue.first() is None
