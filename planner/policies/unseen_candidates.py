"""Candidates of which nobody recorded whether they passed, though one of their run did: how likely it is of each.

Were they left out, a tool would seem to pass as often as runs with several candidates do.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.dataset.trials import Trials

Array: TypeAlias = NDArray[np.float64]
STEPS = 20
MIN_SHARE = 1e-4
"""What a run that passed says at most of one of its candidates."""
PRIOR_PASSES, PRIOR_TRIALS = 1.0, 2.0


class PassShares(NamedTuple):
    """Of each trial, (t,)."""

    share: Array
    """Whether it passed, or how likely it did; NaN where nothing is known."""
    odds: Array
    """How many times likelier what is known of its run is if it passed than if it did not; 1 where no run tells."""


def pass_shares(trials: Trials) -> PassShares:
    """Of each trial whether it passed, or where that is not known and it was not cut, how likely it did.

    Expectation-maximisation over the tools' pass rates: of m candidates with rate p, one of which passed at least, m p
    / (1 - (1 - p)^m) are expected to have passed; less those that are known, they are shared among the others.
    """
    tools, tool = np.unique(trials.tool, return_inverse=True)
    known, asked = np.isfinite(trials.passed) & ~trials.cut, trials.one_of_several
    found = np.where(known, trials.passed, np.nan)
    counted = known | asked
    m, passers = trials.candidates[asked], trials.known_passers[asked]
    rates, p = np.full(len(tools), 0.5), np.full(int(asked.sum()), 0.5)
    for _ in range(STEPS):
        p = rates[tool[asked]]
        found[asked] = np.clip((m * p / (1 - (1 - p) ** m) - passers) / (m - passers), 0.0, 1.0)
        passes = np.bincount(tool[counted], found[counted], len(tools))
        rates = (passes + PRIOR_PASSES) / (np.bincount(tool[counted], minlength=len(tools)) + PRIOR_TRIALS)
    share, odds = np.clip(found[asked], MIN_SHARE, 1 - MIN_SHARE), np.ones(len(found))
    odds[asked] = share / (1 - share) * (1 - p) / p
    return PassShares(found, odds)
