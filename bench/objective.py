"""The order on outcomes: gates first, then duration, then cost, then the smaller plan."""

import math
from collections.abc import Sequence
from statistics import fmean, median

from planner.actions import Action
from planner.contracts import BenchOutcome, Bin
from planner.dataset.outcomes import ActionOutcome

LIMIT_MINUTES = 120
"""The largest budget: times are measured against it in the utility."""
UTILITY = f"passed - 0.1 * time / limit - 0.1 * agent_time / (3 * limit), limit {LIMIT_MINUTES} minutes"
DURATION_TOLERANCE = 0.1
"""Durations within this share of the fastest count as equal: below it the machine's noise would decide."""


def winner(executions: Sequence[tuple[Action, BenchOutcome]]) -> Action | None:
    """The best action of a case, or None when every execution is a fault.

    An action that was executed more than once counts with its share of passes, its median duration and its mean cost.
    The largest share of passes wins; of these the fastest, and all within DURATION_TOLERANCE of the fastest; of these
    the cheapest (an unknown cost comes last); of these the smallest plan.
    """
    outcomes: dict[Action, list[BenchOutcome]] = {}
    for action, outcome in executions:
        if outcome.status != "fault":
            outcomes.setdefault(action, []).append(outcome)
    if not outcomes:
        return None
    passes = {action: fmean(o.passed for o in group) for action, group in outcomes.items()}
    best_share = max(passes.values())
    durations = {a: median(o.duration_ms for o in outcomes[a]) for a, share in passes.items() if share == best_share}
    slowest_equal = min(durations.values()) * (1 + DURATION_TOLERANCE)
    fastest = [action for action, duration in durations.items() if duration <= slowest_equal]
    return min(fastest, key=lambda action: (_mean_cost(outcomes[action]), plan_size(action), str(action)))


def utility(outcome: BenchOutcome, limit_ms: int) -> float:
    """One number for an outcome, for regret: ``passed - 0.1 * wall / limit - 0.1 * agent / (3 * limit)``.

    Both times are clipped: wall at ``limit_ms``, agent time (the sum over up to three candidates) at three times that.
    So it lies between -0.2 and 1, and no passing execution is worth less than 0.8.
    """
    wall = min(outcome.duration_ms, limit_ms) / limit_ms
    agent = min(outcome.agent_ms, 3 * limit_ms) / (3 * limit_ms)
    return float(outcome.passed) - 0.1 * wall - 0.1 * agent


def limit_ms(minute_seconds: float) -> int:
    """The limit of the utility in ms, where one minute of budget lasts ``minute_seconds``."""
    return round(LIMIT_MINUTES * minute_seconds * 1000)


def action_outcome(action: Action, executions: Sequence[BenchOutcome], limit_ms: int) -> ActionOutcome:
    """What came of one action's executions: means over them, none of which is a fault."""
    return ActionOutcome(
        action=action,
        passed=fmean(outcome.passed for outcome in executions),
        duration_ms=round(fmean(outcome.duration_ms for outcome in executions)),
        agent_ms=round(fmean(outcome.agent_ms for outcome in executions)),
        censored=any(outcome.status == "timeout" for outcome in executions),
        utility=fmean(utility(outcome, limit_ms) for outcome in executions),
    )


def plan_size(action: Action) -> float:
    """Candidates x minutes x iterations; "NA" counts as one, for it adds nothing to the plan."""
    return math.prod(_amount(value) for value in action[1:])


def _amount(value: Bin) -> int:
    return 1 if value == "NA" else value


def _mean_cost(outcomes: Sequence[BenchOutcome]) -> float:
    costs = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    return fmean(costs) if costs else math.inf
