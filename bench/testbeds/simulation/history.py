"""The history of a simulated repo: who ran what, when, and what came of it."""

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bench.testbeds.simulation.issues import MAX_ATTEMPTS, SimulatedIssue
from bench.testbeds.simulation.operator import Operator
from bench.testbeds.simulation.world import DAY_MS, START_MS, SimulatedRun, World
from planner.actions import Action

LAUNCH_MS = 1_000
"""From the decision to the start of the agents."""
FIRST_VISIT_MS = 0.5 * DAY_MS
"""Mean time from an issue's creation to its first run."""
RETRY_MS = (300_000, 14_400_000)
"""Shortest and longest time from a failure to the next attempt."""
RUNS_PER_VISIT = 1.7
"""Runs until an issue passes or is given up for now, on average; it only sets how often issues come back."""


class HistoryRun(NamedTuple):
    """One run of the history. Times are ms since the epoch, UTC."""

    number: int
    issue: SimulatedIssue
    action: Action
    outcome: SimulatedRun
    decided_ms: int

    @property
    def started_ms(self) -> int:
        """When the agents started."""
        return self.decided_ms + LAUNCH_MS

    @property
    def ended_ms(self) -> int:
        """When the run was over."""
        return self.started_ms + self.outcome.duration_ms


class History(NamedTuple):
    """The runs in order of decision, and the state in which each issue that was run was left."""

    runs: list[HistoryRun]
    states: dict[str, str]
    """Issue id -> done, escalated, or blocked: it waited for its next attempt when the history ended."""


def make_history(
    world: World,
    created_ms: Mapping[str, int],
    runs: int,
    operator: Operator,
    context_of: Callable[[SimulatedIssue, int, int], dict[str, Any]],
) -> History:
    """``runs`` runs over the issues in ``created_ms`` (issue id -> when it was filed).

    An issue is visited: run until it passes or has failed MAX_ATTEMPTS times; it comes back later, as regressions and
    follow-ups do, as often as it takes to reach ``runs``. ``context_of(issue, attempts, at_ms)`` is what the operator
    looks at; attempts are the issue's failures so far.
    """
    draw = random.Random(f"{world.seed}/history")
    gap_ms = _revisit_gap_ms(runs, len(created_ms), max(created_ms.values()) - START_MS)
    agenda = [(when + draw.expovariate(1 / FIRST_VISIT_MS), issue_id, 1) for issue_id, when in created_ms.items()]
    heapq.heapify(agenda)
    done: list[HistoryRun] = []
    of_issue, of_area = defaultdict[str, list[HistoryRun]](list), defaultdict[int, list[HistoryRun]](list)
    states: dict[str, str] = {}
    while len(done) < runs:
        moment, issue_id, attempt = heapq.heappop(agenda)
        issue, at_ms, earlier = world.issue(issue_id), int(moment), of_issue[issue_id]
        attempts = sum(not run.outcome.passed for run in earlier)
        last = (earlier[-1].action, earlier[-1].outcome) if earlier else None
        action = operator.choose(context_of(issue, attempts, at_ms), last, _is_failing(of_area[issue.area], at_ms))
        outcome = world.run(issue, action, len(earlier), at_ms + LAUNCH_MS)
        run = HistoryRun(len(done), issue, action, outcome, at_ms)
        for runs_so_far in (done, earlier, of_area[issue.area]):
            runs_so_far.append(run)
        if outcome.passed or attempt == MAX_ATTEMPTS:
            states[issue_id] = "done" if outcome.passed else "escalated"
            heapq.heappush(agenda, (run.ended_ms + draw.expovariate(1 / gap_ms), issue_id, 1))
        else:
            states[issue_id] = "blocked"
            heapq.heappush(agenda, (run.ended_ms + draw.uniform(*RETRY_MS), issue_id, attempt + 1))
    return History(done, states)


def _is_failing(runs: list[HistoryRun], at_ms: int) -> bool:
    """Whether the two runs that ended last before ``at_ms`` both failed."""
    ended = sorted((run.ended_ms, run.outcome.passed) for run in runs[-20:] if run.ended_ms <= at_ms)
    return len(ended) >= 2 and not any(passed for _, passed in ended[-2:])


def _revisit_gap_ms(runs: int, issues: int, span_ms: int) -> float:
    """Mean time from the end of a visit to the next; issues are filed all over the span, so each has half of it."""
    visits = max(1.1, runs / issues / RUNS_PER_VISIT)
    return max(1.0, 0.5 * span_ms / (visits - 1))
