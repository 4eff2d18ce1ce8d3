"""Expected outcomes of a replayed case's actions: means over all orders of its trials, which are exchangeable.

The recorded order is one draw of many: what passed in it passes less often in others. So labels and winners follow the
expectation, and the recorded order stands beside it. A case that was really run has no trials, and keeps its outcomes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from planner.actions import Action
from planner.contracts.bench import BenchCase
from planner.scoring.orders import expected_outcomes
from planner.scoring.plan_outcome import plan_of


@dataclass(frozen=True)
class Expectation:
    """What comes of an action on average; times are ms."""

    passed: float
    duration_ms: float
    agent_ms: float
    passed_error: float
    """Standard errors: 0 where all orders were taken."""
    duration_error: float
    agent_error: float
    trials: int
    """How many trials it rests on: all it says is no surer than these."""


def expectations(case: BenchCase, actions: Iterable[Action], minute_seconds: float) -> dict[Action, Expectation]:
    """The expectation of each action that the case's trials are enough for; none where the case has no trials."""
    trials = case.trials or []
    plans = {action: plan_of(action, 1000 * minute_seconds) for action in actions}
    known = {action: plan for action, plan in plans.items() if plan.n_trials <= len(trials)}
    if not known:
        return {}
    found = expected_outcomes(
        list(known.values()), [trial.passed for trial in trials], [trial.duration_ms for trial in trials]
    )
    mean, error = found.mean, found.error
    return {
        action: Expectation(
            passed=float(mean.passed[at]),
            duration_ms=float(mean.wall[at]),
            agent_ms=float(mean.agent[at]),
            passed_error=float(error.passed[at]),
            duration_error=float(error.wall[at]),
            agent_error=float(error.agent[at]),
            trials=len(trials),
        )
        for at, action in enumerate(known)
    }
