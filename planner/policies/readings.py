"""Reading a decision from expected outcomes: by utility, by price, or safely; and the gate, which follows a model only
where it has been shown to beat the best fixed action.

A reading turns outcomes (n, plans) into scores (n, plans); the plan with the largest is taken. Outcomes that came and
outcomes that are foreseen are read alike, so what a choice lost can be measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.scoring.plan_outcome import PlanOutcomes
from planner.scoring.utility import DEFAULT_METRICS, LIMIT_MINUTES, Metrics
from planner.scoring.utility import utility as worth

Array: TypeAlias = NDArray[np.float64]
Reading = Callable[[PlanOutcomes], Array]
PRICE = 0.2
"""Passes that agents are worth that work the whole limit: fixed, and not tuned to the past."""
SAFE_MARGIN = 0.0
"""Passes by which the safe reading may fall behind."""
GAIN_TEMPERATURE = 0.05
"""Utility by which an action must be better to be e times as probable."""
RESAMPLES = 1000


def utility(outcomes: PlanOutcomes, limit: float, metrics: Metrics = DEFAULT_METRICS) -> Array:
    """What outcomes are worth under an objective: see planner.scoring.utility."""
    found: Array = worth(outcomes.passed, outcomes.wall, outcomes.agent, limit, metrics=metrics)
    return found


def price(outcomes: PlanOutcomes, limit: float, rate: float = PRICE) -> Array:
    """Passes less ``rate`` for agents that work the whole limit: the least agent time at given passes."""
    return outcomes.passed - rate * outcomes.agent / limit


def safe(outcomes: PlanOutcomes, limit: float, reference: int, margin: float = SAFE_MARGIN) -> Array:
    """Utility of the plans that are foreseen to pass as often as the plan ``reference`` does; the others far below."""
    behind = outcomes.passed < outcomes.passed[:, reference, None] - margin - 1e-12
    return utility(outcomes, limit) - 10.0 * behind


def by_utility(limit: float = LIMIT_MINUTES, metrics: Metrics = DEFAULT_METRICS) -> Reading:
    """The utility reading; ``limit`` is in the unit of the outcomes' times, as for the others."""
    return partial(utility, limit=limit, metrics=metrics)


def by_price(limit: float, rate: float = PRICE) -> Reading:
    """The price reading."""
    return partial(price, limit=limit, rate=rate)


def settled(scores: Array) -> Array:
    """Scores without the last digits, in which sums over other batches differ: plans that amount to the same have the
    same score, and of equals the first is taken."""
    return np.round(scores, 9)


def per_episode(reading: Reading, n_runs: int) -> Reading:
    """The same worth for episodes of at most so many runs: what one run may take at most is then the limit of each."""

    def read(outcomes: PlanOutcomes) -> Array:
        return n_runs * reading(PlanOutcomes(*(kind / n_runs for kind in outcomes)))

    return read


@dataclass(frozen=True)
class Gate:
    """Whether a model is followed, and why."""

    open: bool
    fixed: int
    """The best fixed plan on the cases that it was judged on."""
    gain: float
    """Mean score over that of the best fixed plan, on cases that the model had not seen; NaN where there were none."""
    error: float
    """Standard error of the gain: a bootstrap over groups."""
    cases: int


def judge_gate(foreseen: Array, came: Array, groups: NDArray[np.int64], *, seed: int = 0) -> Gate:
    """Open where following ``foreseen`` gains more than one standard error over the best fixed plan.

    Both are scores (n, plans): what a model foresaw of cases that it had not seen, and what came. Cases of one of the
    ``groups`` (n,) are drawn together.
    """
    if not len(came):
        return Gate(False, 0, float("nan"), float("nan"), 0)
    fixed = int(came.mean(axis=0).argmax())
    chosen = came[np.arange(len(came)), foreseen.argmax(axis=1)]
    gains = chosen - came[:, fixed]
    distinct, places = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(places, gains), np.bincount(places)
    drawn = np.random.default_rng(seed).integers(0, len(distinct), size=(RESAMPLES, len(distinct)))
    error = float((sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).std())
    gain = float(gains.mean())
    return Gate(len(distinct) > 1 and gain > error, fixed, gain, error, len(came))
