"""Correcting a process by how it foresaw cases that it had not seen."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]
NODES = 31
"""Gauss-Hermite nodes."""


@dataclass(frozen=True)
class LatentCalibration:
    """mean' = offset + slope · mean, variance' = scale · variance."""

    offset: float = 0.0
    slope: float = 1.0
    scale: float = 1.0

    def apply(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Calibrated mean and variance, (m,) each."""
        return self.offset + self.slope * mean, self.scale * variance


def calibrate_passes(mean: Array, variance: Array, counts: PassCounts) -> LatentCalibration:
    """The most likely correction of foreseen logits, (n,) each, given the ``counts`` of what came: these are summed up
    over a normal logit; penalised towards none by 2 offset² + 4 log² slope + 2 log² scale."""
    from scipy.optimize import minimize

    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_weights = np.log(weights / weights.sum())
    known = counts.seen
    mean, deviation, counts = mean[known], np.sqrt(variance[known]), counts.take(known)

    def loss(theta: Array) -> float:
        offset, log_slope, log_scale = theta
        centre = offset + np.exp(log_slope) * mean
        logits = centre[:, None] + np.exp(log_scale / 2) * deviation[:, None] * nodes
        log_likelihood = counts.log_likelihood(logits) + log_weights
        top = log_likelihood.max(axis=1, keepdims=True)
        total = float((top[:, 0] + np.log(np.exp(log_likelihood - top).sum(axis=1))).sum())
        return -total + 2 * offset**2 + 4 * log_slope**2 + 2 * log_scale**2

    found = minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=[(-2, 2), (-1.5, 1.5), (-2, 2)])
    return LatentCalibration(float(found.x[0]), float(np.exp(found.x[1])), float(np.exp(found.x[2])))


def calibrate_times(mean: Array, variance: Array, observed: Array, noise: Array) -> LatentCalibration:
    """Offset and variance factor of foreseen mean log times, given observed means known to ``noise``; all (n,)."""
    from scipy.optimize import minimize

    if not len(mean):
        return LatentCalibration()
    off = observed - mean

    def loss(theta: Array) -> float:
        offset, log_scale = theta
        total = np.exp(log_scale) * variance + noise
        return float(0.5 * ((off - offset) ** 2 / total + np.log(total)).sum()) + 2 * offset**2 + 2 * log_scale**2

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-2, 2), (-2, 2)])
    return LatentCalibration(float(found.x[0]), 1.0, float(np.exp(found.x[1])))
