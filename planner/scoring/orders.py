"""Expected outcomes over the orders of a case's trials: they are exchangeable, so the recorded order is one draw."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.scoring.plan_outcome import Plan, PlanOutcomes, plan_outcomes

EXACT_ORDERS = 720
"""Up to so many orders all are taken (six trials); of more, a sample of so many."""


class ExpectedOutcomes(NamedTuple):
    """Means over orders, (plans,) each, and the standard errors of these means: 0 where every order was taken."""

    mean: PlanOutcomes
    error: PlanOutcomes
    orders: int


def trial_orders(n_trials: int, *, at_most: int = EXACT_ORDERS, seed: int = 0) -> tuple[NDArray[np.intp], bool]:
    """Orders of the trials, (orders, n_trials), and whether these are all there are."""
    if math.factorial(n_trials) <= at_most:
        return np.array(list(itertools.permutations(range(n_trials))), dtype=np.intp), True
    draw = np.random.default_rng(seed)
    return np.argsort(draw.random((at_most, n_trials)), axis=1), False


def expected_outcomes(
    plans: Sequence[Plan], passed: Sequence[bool], times: Sequence[float], *, at_most: int = EXACT_ORDERS, seed: int = 0
) -> ExpectedOutcomes:
    """What plans come to on recorded trials, (n_trials,) each, in whatever order these had come."""
    orders, exact = trial_orders(len(passed), at_most=at_most, seed=seed)
    share, time = np.asarray(passed, dtype=np.float64)[orders], np.asarray(times, dtype=np.float64)[orders]
    every = plan_outcomes(plans, share, time, time)
    errors = [np.zeros(len(plans)) if exact else a.std(axis=0, ddof=1) / math.sqrt(len(orders)) for a in every]
    return ExpectedOutcomes(PlanOutcomes(*(a.mean(axis=0) for a in every)), PlanOutcomes(*errors), len(orders))
