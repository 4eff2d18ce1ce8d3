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
MIN_GROUPS = 8
"""With fewer, drawing them again does not tell how far a mean could have come out otherwise."""
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
    """Mean score over that, on cases that the model had not seen; NaN where there were none. From logs alone it is
    believed, and did not come."""
    error: float
    """The standard error of the gain."""
    doubt: float
    """By how much the model may be wrong about plans that were run: 0 where all plans were."""
    cases: int
    lacking: str = ""
    """What there is too little of to say anything, whatever the gain; it stays shut then."""

    @property
    def open(self) -> bool:
        """Whether the gain is more than error and doubt together; they are independent."""
        return not self.lacking and self.gain > math.hypot(self.error, self.doubt)


def judge_gate(foreseen: Array, came: Array, groups: NDArray[np.int64]) -> Gate:
    """Open where following ``foreseen`` gains more than one standard error over the best fixed plan.

    Both are scores (n, plans): what a model foresaw of cases that it had not seen, and what came. Cases of one of the
    ``groups`` (n,) are drawn together; fewer than MIN_GROUPS open nothing.
    """
    if not len(came):
        return Gate(BEST_FIXED, float("nan"), float("nan"), 0.0, 0)
    fixed = int(came.mean(axis=0).argmax())
    chosen = came[np.arange(len(came)), foreseen.argmax(axis=1)]
    gain, error = _mean_over_groups(chosen - came[:, fixed], groups)
    return Gate(BEST_FIXED, gain, error, 0.0, len(came), _lacking(groups))


@dataclass(frozen=True)
class Logged:
    """n decisions of which one plan each was run: it, what today's rule runs, and its group; (n,) each."""

    ran: NDArray[np.intp]
    rule: NDArray[np.intp]
    groups: NDArray[np.int64]


def judge_from_logs(reading: Reading, foreseen: PlanOutcomes, believed: PlanOutcomes, logged: Logged) -> Gate:
    """Open where the gain over today's rule is more than the model may be wrong about plans that were run.

    Nobody ran the plans that the model would choose, so their worth is what is ``believed`` (n, plans) by a model that
    knows the case; only of the plans that were run is it what came. How far passes that were ``foreseen`` of these,
    without the case, lie from those that came, and the standard error of that, bound what is believed of the others:
    gain, difference and their errors count as independent. One standard error of each, as where the gain came: in
    logs of 20 to 160 runs of recorded agents the model is then followed where there is much to win, and hardly ever
    where there is nothing (docs/results.md).
    """
    rows = np.arange(len(logged.rule))
    worth = reading(believed)
    chosen = worth[rows, reading(foreseen).argmax(axis=1)]
    gain, error = _mean_over_groups(chosen - worth[rows, logged.rule], logged.groups)
    off, off_error = _mean_over_groups(
        foreseen.passed[rows, logged.ran] - believed.passed[rows, logged.ran], logged.groups
    )
    return Gate(TODAYS_RULE, gain, error, math.hypot(off, off_error), len(rows), _lacking(logged.groups))


def _lacking(groups: NDArray[np.int64]) -> str:
    n = len(np.unique(groups))
    return f"{n} issue{'' if n == 1 else 's'}, {MIN_GROUPS} are needed" if n < MIN_GROUPS else ""


def _mean_over_groups(values: Array, groups: NDArray[np.int64]) -> tuple[float, float]:
    """The mean of values (n,) and its standard error, drawing groups."""
    if not len(values):
        return float("nan"), float("nan")
    distinct, places = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(0).integers(0, len(distinct), size=(RESAMPLES, len(distinct)))
    return float(values.mean()), float((sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).std())
