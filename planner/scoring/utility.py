"""What an outcome is worth as one number: the only place that says so.

utility = passed - 0.1 * wall time / limit - 0.1 * agent time / (3 * limit), limit 120 minutes, by default; another
objective has a term of a tenth for each of its metrics. Labels, winners, regret and training all take it from here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from planner.errors import DatasetError

WEIGHT = 0.1
"""What a metric at its limit takes from, or adds to, the 1 of passing."""
LIMIT_MINUTES = 120
"""The largest budget: times are measured against it."""
AGENTS = 3
"""Agents whose time together is measured against as many limits."""
Metrics = tuple[tuple[str, str], ...]
"""(name, "min" or "max") of an objective's metrics, which are keys of TERMS."""
DEFAULT_METRICS: Metrics = (("duration_ms", "min"), ("cost_usd", "min"))
TERMS = {
    "duration_ms": "time / limit",
    "agent_ms": f"agent_time / ({AGENTS} * limit)",
    # Dollars are often unknown, so agent time stands for cost.
    "cost_usd": f"agent_time / ({AGENTS} * limit)",
    "overall": "score",
}
"""What a metric is measured by, between 0 and 1."""


def limit_ms(minute_seconds: float) -> int:
    """The limit in ms, where one minute of budget lasts ``minute_seconds``."""
    return round(LIMIT_MINUTES * minute_seconds * 1000)


def utility(
    passed: Any, wall_ms: Any, agent_ms: Any, limit_ms: float, *, metrics: Metrics = DEFAULT_METRICS, score: Any = 0.0
) -> Any:
    """The utility of an outcome, or of arrays of them; times are clipped at the limit, the score to 0 to 1.

    Times may be of another unit than ms, if the limit is of the same.

    With the default metrics it lies between -0.2 and 1, and no pass is worth less than 0.8.
    """

    def share(metric: str) -> Any:
        if metric == "duration_ms":
            return np.minimum(wall_ms, limit_ms) / limit_ms
        if metric == "overall":
            return np.clip(score, 0.0, 1.0)
        return np.minimum(agent_ms, AGENTS * limit_ms) / (AGENTS * limit_ms)

    return passed + sum((WEIGHT if goal == "max" else -WEIGHT) * share(name) for name, goal in metrics)


def least_utility(metrics: Metrics | None = None) -> float:
    """What no outcome is worth less than: a failure that takes all that the metrics measure; None: of any objective."""
    return -WEIGHT * (len(TERMS) - 1 if metrics is None else sum(goal == "min" for _, goal in metrics))


def utility_text(metrics: Metrics = DEFAULT_METRICS) -> str:
    """The formula in words."""
    terms = [f"{'-' if goal == 'min' else '+'} {WEIGHT:g} * {TERMS[name]}" for name, goal in metrics]
    return f"passed {' '.join(terms)}, limit {LIMIT_MINUTES} minutes"


def recorded_metrics(objective: Sequence[Sequence[str]] | None) -> Metrics:
    """The metrics of the objective that a dataset names; the default ones where it names none."""
    return DEFAULT_METRICS if objective is None else tuple((name, goal) for name, goal in objective)


def check_metrics(recorded: Metrics, wanted: Metrics, source: str, reader: str) -> None:
    """DatasetError when the numbers of ``source`` were made with another objective than ``reader`` judges by."""
    if recorded != wanted:
        raise DatasetError(
            f"{source}: its utilities were made with the objective {in_words(recorded)}, and {reader} judges by "
            f"{in_words(wanted)}: take data of one objective, or relabel the ledger again"
        )


def in_words(metrics: Metrics) -> str:
    """The objective's metrics in their order."""
    return ", then ".join(f"{name} {goal}" for name, goal in metrics)
