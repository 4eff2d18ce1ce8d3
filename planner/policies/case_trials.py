"""What is known of each case's trials: how often it passed, and its log times when it passed and when it failed."""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.pass_counts import PassCounts
from planner.policies.trial_draws import Residuals, normal_quantiles

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Times:
    """Log times of one kind of trials, over n cases: how many each has, (n,), and their mean, (n,), NaN without any."""

    counts: Array
    means: Array

    def take(self, rows: NDArray[np.intp]) -> "Times":
        return Times(self.counts[rows], self.means[rows])


@dataclass(frozen=True)
class CaseTrials:
    """Sums over the trials of n cases. A trial that was cut counts for the times of passing and of failing trials with
    the share of a pass that it may have become."""

    counts: PassCounts
    unsure_passes: Array
    """To be expected of those of which nobody knows whether they passed, (n,)."""
    passing: Times
    failing: Times

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def passes(self) -> Array:
        """Those that came and those to be expected, (n,)."""
        return self.counts.passes + self.unsure_passes

    @property
    def trials(self) -> Array:
        """All of them, (n,)."""
        return self.counts.trials + self.counts.unsure

    def take(self, rows: NDArray[np.intp]) -> "CaseTrials":
        """Those of the cases at these positions."""
        return CaseTrials(
            self.counts.take(rows), self.unsure_passes[rows], self.passing.take(rows), self.failing.take(rows)
        )


MIN_RESIDUALS = 8
TYPICAL_SPREAD = 0.5
"""Standard deviation of log times of one case where too few trials show it."""
MIN_SPREAD = 0.3
PRIOR_SPREADS = 2.0
"""Trials of the typical spread that are added to those of each kind when times of all cases are pooled."""
EM_STEPS = 300
LOG_ODDS = (-9.0, 9.0)
"""What a cut may say at most of a trial."""


def sum_trials(
    case: NDArray[np.int64],
    n_cases: int,
    pass_share: Array,
    log_time: Array,
    cut: NDArray[np.bool_],
    odds: Array | None = None,
) -> tuple[CaseTrials, Residuals]:
    """Trials (t,) of the cases ``case``. ``pass_share`` is 1 or 0, or between where nobody knows whether the trial
    passed: then its time counts for neither, and ``odds`` (t,) are what is known of it, see PassCounts; ``log_time`` is
    NaN where nobody knows it.

    A trial that was ``cut`` has neither passed nor failed: its log time is that of the cut, and its case gets the times
    that are to be expected beyond it, and the odds of a pass.
    """
    passed = pass_share == 1
    timed = np.isfinite(log_time) & (cut | passed | (pass_share == 0))
    whole = ~cut & timed
    residuals = Residuals(
        *(_residuals(case[kind], log_time[kind], n_cases) for kind in (whole & passed, whole & ~passed))
    )
    share, times_passed, times_failed = pass_share.copy(), log_time.copy(), log_time.copy()
    log_odds = np.zeros(len(case)) if odds is None else np.log(odds)
    if cut.any():
        beyond = beyond_cut(log_time[whole & passed], log_time[whole & ~passed], log_time[cut])
        share[cut], times_passed[cut], times_failed[cut] = beyond.share, beyond.passing, beyond.failing
        log_odds[cut] = beyond.log_odds
    known = ~cut & ((pass_share == 0) | (pass_share == 1))
    n_unsure = np.bincount(case[~known], minlength=n_cases).astype(np.float64)
    counted = CaseTrials(
        PassCounts(
            np.bincount(case[known], share[known], n_cases),
            np.bincount(case[known], minlength=n_cases).astype(np.float64),
            n_unsure,
            np.exp(np.bincount(case[~known], log_odds[~known], n_cases) / np.maximum(n_unsure, 1.0)),
        ),
        np.bincount(case[~known], share[~known], n_cases),
        _times(case[timed], times_passed[timed], share[timed], n_cases),
        _times(case[timed], times_failed[timed], 1 - share[timed], n_cases),
    )
    return counted, residuals


def _times(case: NDArray[np.int64], log_time: Array, weight: Array, n_cases: int) -> Times:
    counts = np.bincount(case, weight, n_cases)
    with np.errstate(invalid="ignore"):
        return Times(counts, np.bincount(case, weight * log_time, n_cases) / counts)


def _residuals(case: NDArray[np.int64], log_time: Array, n_cases: int) -> Array:
    """(x - case mean) · sqrt(n / (n - 1)), pooled over the cases with two trials or more."""
    times = _times(case, log_time, np.ones(len(case)), n_cases)
    several = times.counts[case] > 1
    n = times.counts[case][several]
    found = (log_time[several] - times.means[case][several]) * np.sqrt(n / (n - 1))
    if len(found) < MIN_RESIDUALS:
        return TYPICAL_SPREAD * normal_quantiles(32)
    return np.sort(found - found.mean())


class BeyondCut(NamedTuple):
    """What is to be expected of trials that were cut, (cut,) each."""

    share: Array
    """Of a pass."""
    passing: Array
    """Log time if it would have passed."""
    failing: Array
    """And if not."""
    log_odds: Array
    """Logarithm of how many times likelier one that would pass is to last so long than one that would fail."""


def beyond_cut(passing: Array, failing: Array, limits: Array) -> BeyondCut:
    """What is to be expected of trials that were cut at ``limits``, beside whole ones that passed and failed; all are
    log times.

    A share of trials passes, after a log-normal time, the others fail after another one; both and the share are fitted
    to all trials, the cut ones included (expectation-maximisation): these are mostly the long and hopeless ones, so
    what ended by itself is no fair sample.
    """
    known = [passing, failing]
    every = np.concatenate([*known, limits])
    pass_share = (len(passing) + 1) / (len(passing) + len(failing) + 2)
    moments = [
        (float(x.mean()), max(float(x.std()), MIN_SPREAD)) if len(x) > 1 else (float(every.mean()), TYPICAL_SPREAD)
        for x in known
    ]
    for _ in range(EM_STEPS):
        weight, means, squares = _foresee_cut(pass_share, moments, limits)
        pass_share = (len(passing) + weight[0].sum() + 1) / (len(every) + 2)
        for kind, x in enumerate(known):
            total = len(x) + weight[kind].sum()
            mean = (x.sum() + weight[kind] @ means[kind]) / total
            scatter = ((x - mean) ** 2).sum() + weight[kind] @ (squares[kind] - 2 * mean * means[kind] + mean**2)
            spread = math.sqrt((scatter + PRIOR_SPREADS * TYPICAL_SPREAD**2) / (total + PRIOR_SPREADS))
            moments[kind] = float(mean), max(spread, MIN_SPREAD)
    weight, means, _ = _foresee_cut(pass_share, moments, limits)
    odds = weight[0] / np.maximum(weight[1], 1e-300) * (1 - pass_share) / pass_share
    return BeyondCut(weight[0], means[0], means[1], np.clip(np.log(np.maximum(odds, 1e-300)), *LOG_ODDS))


def _foresee_cut(
    pass_share: float, moments: list[tuple[float, float]], limits: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
    """Of passing and of failing trials that last longer than ``limits``: how likely each kind is, and the means of
    their log times and of the squares of these, (cut,) each."""
    z = [(limits - mean) / spread for mean, spread in moments]
    above = [_above(one) for one in z]
    passing, failing = pass_share * above[0], (1 - pass_share) * above[1]
    share = passing / np.maximum(passing + failing, 1e-300)
    means, squares = [], []
    for one, tail, (mean, spread) in zip(z, above, moments, strict=True):
        density = np.exp(-(one**2) / 2) / math.sqrt(2 * math.pi)
        # The ratio tends to z far out, where both vanish.
        hazard = np.where(tail > 1e-10, density / np.maximum(tail, 1e-300), np.maximum(one, 0) + 0.1)
        means.append(mean + spread * hazard)
        squares.append(mean**2 + 2 * mean * spread * hazard + spread**2 * (1 + one * hazard))
    return (share, 1 - share), (means[0], means[1]), (squares[0], squares[1])


def _above(z: Array) -> Array:
    """P(standard normal > z)."""
    from scipy.special import ndtr

    found: Array = ndtr(-z)
    return found
