"""What is known of each case's trials: how often it passed, and its log times when it passed and when it failed."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    """Sums over the trials of n cases. passes and trials (n,): a trial that was cut counts with the share of a pass
    that it may have become; times of passing and of failing trials."""

    passes: Array
    trials: Array
    passing: Times
    failing: Times

    def __len__(self) -> int:
        return len(self.passes)

    def take(self, rows: NDArray[np.intp]) -> "CaseTrials":
        """Those of the cases at these positions."""
        return CaseTrials(self.passes[rows], self.trials[rows], self.passing.take(rows), self.failing.take(rows))


MIN_RESIDUALS = 8
TYPICAL_SPREAD = 0.5
"""Standard deviation of log times of one case where too few trials show it."""


def sum_trials(
    case: NDArray[np.int64], n_cases: int, pass_share: Array, log_time: Array, cut: NDArray[np.bool_]
) -> tuple[CaseTrials, Residuals]:
    """Trials (t,) of the cases ``case``. ``pass_share`` is 1 or 0, or between where nobody knows whether the trial
    passed: then its time counts for neither; ``log_time`` is NaN where nobody knows it.

    A trial that was ``cut`` has neither passed nor failed: its log time is that of the cut, and its case gets the share
    of a pass, and the failing time, that are to be expected beyond it.
    """
    passed = pass_share == 1
    timed = np.isfinite(log_time) & (cut | passed | (pass_share == 0))
    whole = ~cut & timed
    residuals = Residuals(
        *(_residuals(case[kind], log_time[kind], n_cases) for kind in (whole & passed, whole & ~passed))
    )
    weight, log_time = pass_share.copy(), log_time.copy()
    if cut.any():
        weight[cut], log_time[cut] = _beyond_cut(passed, log_time, whole, cut)
    passes = np.bincount(case, weight, n_cases)
    trials = np.bincount(case, minlength=n_cases).astype(np.float64)
    fails = ((~passed) | cut) & timed
    return (
        CaseTrials(
            passes,
            trials,
            _times(case[passed & whole], log_time[passed & whole], n_cases),
            _times(case[fails], log_time[fails], n_cases),
        ),
        residuals,
    )


def _times(case: NDArray[np.int64], log_time: Array, n_cases: int) -> Times:
    counts = np.bincount(case, minlength=n_cases).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return Times(counts, np.bincount(case, log_time, n_cases) / counts)


def _residuals(case: NDArray[np.int64], log_time: Array, n_cases: int) -> Array:
    """(x - case mean) · sqrt(n / (n - 1)), pooled over the cases with two trials or more."""
    times = _times(case, log_time, n_cases)
    several = times.counts[case] > 1
    n = times.counts[case][several]
    found = (log_time[several] - times.means[case][several]) * np.sqrt(n / (n - 1))
    if len(found) < MIN_RESIDUALS:
        return TYPICAL_SPREAD * normal_quantiles(32)
    return np.sort(found - found.mean())


def _beyond_cut(
    passed: NDArray[np.bool_], log_time: Array, whole: NDArray[np.bool_], cut: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """For each trial that was cut the share of a pass, and the log time of a failure, (cut,) each.

    p0 · S+(L) / (p0 · S+(L) + (1 - p0) · S-(L)), and E[x | x > log L], from pooled log-normals.
    """
    pass_share = (passed[whole].sum() + 1) / (whole.sum() + 2)
    moments = []
    for kind in (whole & passed, whole & ~passed):
        x = log_time[kind]
        if len(x) < 2:
            x = log_time[whole] if whole.sum() > 1 else log_time[cut]
        moments.append((float(x.mean()), max(float(x.std()), 0.3)))
    mean_failed, sd_failed = moments[1]
    limit = log_time[cut]
    above_passed, above_failed = (_above((limit - m) / s) for m, s in moments)
    share = pass_share * above_passed / np.maximum(pass_share * above_passed + (1 - pass_share) * above_failed, 1e-12)
    z = (limit - mean_failed) / sd_failed
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    # The ratio tends to z far out, where both vanish.
    hazard = np.where(above_failed > 1e-10, density / np.maximum(above_failed, 1e-300), np.maximum(z, 0) + 0.1)
    return share, mean_failed + sd_failed * hazard


def _above(z: Array) -> Array:
    """P(standard normal > z)."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in z.tolist()])
