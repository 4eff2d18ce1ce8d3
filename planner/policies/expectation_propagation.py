"""Expectation propagation: logits with a Gaussian prior, seen through counts, as if seen through Gaussian factors.

Every case's factor is replaced by the Gaussian with which its logit has the mean and variance that it has with the
factor itself (Minka 2001; Rasmussen & Williams 2006, section 3.6). Few trials leave skewed beliefs: one failure among
cases that nearly always or nearly never pass says "never", where the mode of the logits (Laplace) stays near "maybe".
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]
SWEEPS = 60
TOLERANCE = 1e-3
"""By how much means, in deviations, and variances, as ratios, may still move."""
DAMPING = 0.8
"""Share of each step that is taken: all factors move at once, and would otherwise overshoot."""
MIN_PRECISION = 1e-6
"""A trial that was cut can leave a logit less sure than before: no Gaussian factor can, so such a one says next to
nothing."""
_GRID = np.linspace(-7.5, 7.5, 61)
"""Deviations from the mean at which a belief is summed up."""
_STEP = float(_GRID[1] - _GRID[0])


class Sites(NamedTuple):
    """A Gaussian factor of each of n logits f: exp(shift · f - precision · f² / 2); (n,) each."""

    precision: Array
    shift: Array

    def take(self, rows: NDArray[np.bool_]) -> "Sites":
        """Those of these cases."""
        return Sites(self.precision[rows], self.shift[rows])

    def among(self, rows: NDArray[np.bool_]) -> "Sites":
        """Those of the cases ``rows`` among all, of which the others have none."""
        precision, shift = np.zeros(len(rows)), np.zeros(len(rows))
        precision[rows], shift[rows] = self
        return Sites(precision, shift)


class Propagated(NamedTuple):
    """The factors, and the logarithm of what they must be multiplied with to have the counts' evidence."""

    sites: Sites
    log_scale: float


def propagate(
    counts: PassCounts, marginals: Callable[[Sites], tuple[Array, Array]], start: Sites | None = None
) -> Propagated:
    """The factors of ``counts``; ``marginals`` says which mean and variance each logit has with such factors and the
    prior, (n,) each. ``start`` are factors of nearly the same problem: from there a few sweeps are enough."""
    sites = start or _first(counts)
    for sweep in range(SWEEPS):
        mean, variance = marginals(sites)
        found, scale, moved = _matched(counts, sites, mean, variance)
        if moved < TOLERANCE or sweep == SWEEPS - 1:
            break
        sites = Sites(*(old + DAMPING * (new - old) for old, new in zip(sites, found, strict=True)))
    return Propagated(sites, scale)


def _first(counts: PassCounts) -> Sites:
    """What the trials say around a rate that one more pass and one more failure keep off 0 and 1."""
    rate = (counts.passes + 1) / (counts.trials + 2)
    precision = MIN_PRECISION + counts.trials * rate * (1 - rate)
    return Sites(precision, precision * np.log(rate / (1 - rate)))


def _matched(counts: PassCounts, sites: Sites, mean: Array, variance: Array) -> tuple[Sites, float, float]:
    """The factors that give each logit the moments that it has with its counts instead of its present factor; the
    logarithm of the present ones' scale; and by how much the moments differ."""
    without = 1 / variance - sites.precision
    shift = mean / variance - sites.shift
    centre, deviation = shift / without, np.sqrt(variance)
    logits = mean[:, None] + deviation[:, None] * _GRID
    log_density = counts.log_likelihood(logits) - 0.5 * without[:, None] * (logits - centre[:, None]) ** 2
    top = log_density.max(axis=1)
    density = np.exp(log_density - top[:, None])
    total = density.sum(axis=1)
    wanted_mean = (density * logits).sum(axis=1) / total
    wanted_variance = (density * (logits - wanted_mean[:, None]) ** 2).sum(axis=1) / total
    # The normal density's own factor, without which both are given.
    log_norm = top + np.log(total * deviation * _STEP) + 0.5 * np.log(without / (2 * np.pi))
    precision = 1 / wanted_variance - without
    usual = precision > MIN_PRECISION
    found = Sites(
        np.where(usual, precision, MIN_PRECISION),
        np.where(usual, wanted_mean / wanted_variance - shift, (wanted_mean - centre) * without),
    )
    log_factor = 0.5 * (
        np.log(without / (without + sites.precision))
        + (shift + sites.shift) ** 2 / (without + sites.precision)
        - centre * shift
    )
    moved = max(
        float(np.max(np.abs(wanted_mean - mean) / deviation, initial=0.0)),
        float(np.max(np.abs(np.minimum(wanted_variance, 1 / without) / variance - 1), initial=0.0)),
    )
    return found, float((log_norm - log_factor).sum()), moved
