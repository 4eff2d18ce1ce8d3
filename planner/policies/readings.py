"""Reading a decision from expected outcomes: by utility, by price, or safely; and the gate, which follows a model only
where it has been shown to beat the best fixed action, or, where only logs are known, is sure to beat today's rule.

A reading turns outcomes (n, plans) into scores (n, plans); the plan with the largest is taken. Outcomes that came and
outcomes that are foreseen are read alike, so what a choice lost can be measured.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.scoring.bootstrap import ratio_interval
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
Reference = Literal["the best fixed plan", "today's rule"]
BEST_FIXED: Reference = "the best fixed plan"
TODAYS_RULE: Reference = "today's rule"


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
    """Whether a model is followed, and why: where its gain exceeds its error and the doubt together."""

    over: Reference
    """What it was compared with, and what is done where it is shut."""
    gain: float
    """Mean score over that, on cases that the model had not seen; NaN where there were none."""
    error: float
    """Of a gain that came, its standard error; of one that is believed, what its 95 % interval lies below it."""
    doubt: float
    """By how much the model may be wrong about plans that were run: 0 where all plans were."""
    cases: int

    @property
    def open(self) -> bool:
        """Whether the gain is more than error and doubt together; they are independent."""
        return self.gain > math.hypot(self.error, self.doubt)


def judge_gate(foreseen: Array, came: Array, groups: NDArray[np.int64], *, seed: int = 0) -> Gate:
    """Open where following ``foreseen`` gains more than one standard error over the best fixed plan.

    Both are scores (n, plans): what a model foresaw of cases that it had not seen, and what came. Cases of one of the
    ``groups`` (n,) are drawn together; one group alone opens nothing.
    """
    if not len(came):
        return Gate(BEST_FIXED, float("nan"), float("nan"), 0.0, 0)
    fixed = int(came.mean(axis=0).argmax())
    chosen = came[np.arange(len(came)), foreseen.argmax(axis=1)]
    gains = chosen - came[:, fixed]
    distinct, places = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(places, gains), np.bincount(places)
    drawn = np.random.default_rng(seed).integers(0, len(distinct), size=(RESAMPLES, len(distinct)))
    error = float((sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).std()) if len(distinct) > 1 else float("inf")
    return Gate(BEST_FIXED, float(gains.mean()), error, 0.0, len(came))


@dataclass(frozen=True)
class Logged:
    """n decisions of which one plan each was run: it, what today's rule runs, and its group; (n,) each."""

    ran: NDArray[np.intp]
    rule: NDArray[np.intp]
    groups: NDArray[np.int64]


def judge_from_logs(reading: Reading, foreseen: PlanOutcomes, believed: PlanOutcomes, logged: Logged) -> Gate:
    """Open where the gain over today's rule is surely more than the model may be wrong about plans that were run.

    Nobody ran the plans that the model would choose, so their worth is what is ``believed`` (n, plans) by a model that
    knows the case; only of the plans that were run is it what came. How far passes that were ``foreseen`` of these,
    without the case, lie from those that came, at the end of its 95 % interval, bounds what is believed of the others.
    """
    rows = np.arange(len(logged.rule))
    if len(np.unique(logged.groups)) < 2:
        return Gate(TODAYS_RULE, float("nan"), float("nan"), float("nan"), len(rows))
    worth = reading(believed)
    chosen = worth[rows, reading(foreseen).argmax(axis=1)]
    gain, low, _ = _interval_over_groups(chosen - worth[rows, logged.rule], logged.groups)
    off = foreseen.passed[rows, logged.ran] - believed.passed[rows, logged.ran]
    _, off_low, off_high = _interval_over_groups(off, logged.groups)
    return Gate(TODAYS_RULE, gain, gain - low, max(-off_low, off_high), len(rows))


def _interval_over_groups(values: Array, groups: NDArray[np.int64]) -> tuple[float, float, float]:
    """The mean of values (n,) and its 95 % interval, drawing groups."""
    places = np.unique(groups, return_inverse=True)[1]
    return ratio_interval(np.bincount(places, values), np.bincount(places))
