"""Two Gaussian processes over cases: of a pass probability's logit, seen through counts, and of a mean log time.

Both take kernels with one variance each, fit these by their marginal likelihood with log-normal priors, and foresee
mean and variance of new cases. Fitting needs scipy, foreseeing numpy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
NEWTON_STEPS = 30
NEWTON_TOLERANCE = 1e-5
JITTER = 1e-8


class Prior(NamedTuple):
    """What is expected of a kernel's variance before anything is seen: log-normal around ``median``."""

    median: float
    deviation: float
    constant: float
    """Variance of the level that all cases share; it is not fitted."""


PASS_PRIOR = Prior(2.5, 1.2, 1.0)
"""Trials of one case mostly end alike: on recorded runs of real agents all kernels together have a variance of 20 to
30. Where each case was tried once, as in logs, the prior alone says so."""
TIME_PRIOR = Prior(0.15, 1.5, 0.3)


@dataclass(frozen=True)
class Process:
    """A fitted process: what foreseeing takes of it."""

    constant: float
    variances: Array
    """Of each kernel, (J,)."""
    weights: Array
    """(n,): the mean of a new case is its covariance with the n known ones times these."""
    precision: Array
    """(n, n): the variance of a new case is its own less a quadratic form of its covariances with this."""
    offset: float = 0.0
    """Added to every mean."""

    def foresee(self, cross: Array, own: Array) -> tuple[Array, Array]:
        """Means (m, lanes) and covariances (m, lanes, lanes) of new cases that come in m questions of some lanes each,
        from kernels with the known cases (J, m · lanes, n) and with each other (J, m, lanes, lanes)."""
        m, lanes = own.shape[1:3]
        covariance = self.constant + np.tensordot(self.variances, cross, axes=1)
        told = covariance @ self.precision
        if lanes == 1:
            explained = (told * covariance).sum(axis=1)[:, None, None]
        else:
            explained = told.reshape(m, lanes, -1) @ covariance.reshape(m, lanes, -1).transpose(0, 2, 1)
        mean = self.offset + covariance @ self.weights
        return mean.reshape(m, lanes), self.constant + np.tensordot(self.variances, own, axes=1) - explained


def fit_passes(kernels: Array, passes: Array, trials: Array, *, start: Array | None = None, steps: int = 12) -> Process:
    """Fit to ``passes`` of ``trials`` (n,); passes may be fractions. ``kernels`` (J, n, n) have variance 1.

    Laplace approximation (Rasmussen & Williams 2006, algorithms 3.1 and 5.1, for binomial counts).
    """
    weights = np.zeros(len(passes))

    def evidence(log_variances: Array) -> tuple[float, Array]:
        nonlocal weights
        found = _laplace(kernels, passes, trials, PASS_PRIOR.constant, np.exp(log_variances), weights)
        weights = found.weights
        return found.evidence, found.gradient(kernels, np.exp(log_variances))

    variances = _fit_variances(evidence, len(kernels), PASS_PRIOR, start, steps)
    return passes_given(kernels, passes, trials, variances)


def passes_given(kernels: Array, passes: Array, trials: Array, variances: Array) -> Process:
    """The process of :func:`fit_passes` with these variances."""
    found = _laplace(kernels, passes, trials, PASS_PRIOR.constant, variances, np.zeros(len(passes)))
    return Process(PASS_PRIOR.constant, variances, found.score, found.precision)


def fit_times(kernels: Array, means: Array, noise: Array, *, start: Array | None = None, steps: int = 12) -> Process:
    """Fit to mean log times (n,) that are known to a variance of ``noise`` (n,); ``kernels`` (J, n, n)."""
    offset = float(np.average(means, weights=1 / (noise + noise.mean()))) if len(means) else 0.0

    def evidence(log_variances: Array) -> tuple[float, Array]:
        return _gaussian_evidence(kernels, means - offset, noise, TIME_PRIOR.constant, np.exp(log_variances))

    variances = _fit_variances(evidence, len(kernels), TIME_PRIOR, start, steps)
    return times_given(kernels, means, noise, variances, offset)


def times_given(kernels: Array, means: Array, noise: Array, variances: Array, offset: float) -> Process:
    """The process of :func:`fit_times` with these variances."""
    covariance = TIME_PRIOR.constant + np.tensordot(variances, kernels, axes=1) + np.diag(noise + JITTER)
    precision = np.linalg.inv(covariance)
    return Process(TIME_PRIOR.constant, variances, precision @ (means - offset), precision, offset)


class _Laplace(NamedTuple):
    """What follows from the mode of the logits."""

    score: Array
    """Gradient of the log-likelihood at the mode, (n,)."""
    precision: Array
    """(K + W⁻¹)⁻¹."""
    evidence: float
    covariance: Array
    third: Array
    """Third derivative of the log-likelihood at the mode."""
    weights: Array
    """K⁻¹ times the mode."""

    def gradient(self, kernels: Array, variances: Array) -> Array:
        """Of the evidence, by the logarithm of each variance, (J,)."""
        # Posterior variances: K - K (K + W^-1)^-1 K.
        inner = np.einsum("ij,ji->i", self.covariance @ self.precision, self.covariance)
        s2 = 0.5 * (np.diag(self.covariance) - inner) * self.third
        flat = kernels.reshape(len(kernels), -1)
        s1 = 0.5 * (flat @ np.outer(self.weights, self.weights).ravel() - flat @ self.precision.ravel())
        b = kernels @ self.score
        s3 = b - (b @ self.precision) @ self.covariance
        return variances * (s1 + s3 @ s2)


def _laplace(kernels: Array, passes: Array, trials: Array, constant: float, variances: Array, start: Array) -> _Laplace:
    """Newton from the logits that the weights ``start`` give, (n,)."""
    from scipy.linalg import cho_solve, cholesky

    n = len(passes)
    covariance = constant + np.tensordot(variances, kernels, axes=1) + JITTER * np.eye(n)

    def objective(weights: Array, logits: Array) -> float:
        return float(-0.5 * weights @ logits + passes @ logits - trials @ np.logaddexp(0, logits))

    weights, logits = start, covariance @ start
    current = objective(weights, logits)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-logits))
        w = np.maximum(trials * p * (1 - p), 1e-10)
        root = np.sqrt(w)
        lower = cholesky(np.eye(n) + root[:, None] * covariance * root[None], lower=True, check_finite=False)
        b = w * logits + passes - trials * p
        step = b - root * cho_solve((lower, True), root * (covariance @ b), check_finite=False) - weights
        size = 1.0
        while True:
            tried = weights + size * step
            tried_logits = covariance @ tried
            value = objective(tried, tried_logits)
            if value >= current - 1e-10 or size < 1e-3:
                break
            size /= 2
        change, current, weights, logits = value - current, value, tried, tried_logits
        if change < NEWTON_TOLERANCE:
            break
    p = 1 / (1 + np.exp(-logits))
    w = np.maximum(trials * p * (1 - p), 1e-10)
    root = np.sqrt(w)
    lower = cholesky(np.eye(n) + root[:, None] * covariance * root[None], lower=True, check_finite=False)
    precision = root[:, None] * cho_solve((lower, True), np.diag(root), check_finite=False)
    return _Laplace(
        passes - trials * p,
        precision,
        current - float(np.log(np.diag(lower)).sum()),
        covariance,
        -trials * p * (1 - p) * (1 - 2 * p),
        weights,
    )


def _gaussian_evidence(
    kernels: Array, means: Array, noise: Array, constant: float, variances: Array
) -> tuple[float, Array]:
    from scipy.linalg import cho_solve, cholesky

    n = len(means)
    covariance = constant + np.tensordot(variances, kernels, axes=1) + np.diag(noise + JITTER)
    lower = cholesky(covariance, lower=True, check_finite=False)
    precision = cho_solve((lower, True), np.eye(n), check_finite=False)
    weights = precision @ means
    evidence = -0.5 * means @ weights - np.log(np.diag(lower)).sum()
    flat = kernels.reshape(len(kernels), -1)
    gradient = 0.5 * (flat @ (np.outer(weights, weights) - precision).ravel())
    return float(evidence), variances * gradient


def _fit_variances(
    evidence: Callable[[Array], tuple[float, Array]], n: int, prior: Prior, start: Array | None, steps: int
) -> Array:
    """The variances (n,) of largest evidence and prior."""
    from scipy.optimize import minimize

    centre = np.full(n, np.log(prior.median))

    def negative(log_variances: Array) -> tuple[float, Array]:
        value, gradient = evidence(log_variances)
        off = (log_variances - centre) / prior.deviation
        return -(value - 0.5 * float(off @ off)), -(gradient - off / prior.deviation)

    first = centre if start is None else np.log(start)
    found = minimize(negative, first, jac=True, method="L-BFGS-B", bounds=[(-9.0, 4.0)] * n, options={"maxiter": steps})
    return np.exp(found.x)
