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


PASS_PRIOR = Prior(0.7, 1.2, 1.0)
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
        return self.foresee_summed(combined(cross, self.variances), combined(own, self.variances))

    def foresee_summed(self, cross: Array, own: Array) -> tuple[Array, Array]:
        """The same from sums of the kernels, weighted with the variances: (m · lanes, n) and (m, lanes, lanes)."""
        m, lanes = own.shape[:2]
        covariance = self.constant + cross
        told = covariance @ self.precision
        if lanes == 1:
            explained = (told * covariance).sum(axis=1)[:, None, None]
        else:
            explained = told.reshape(m, lanes, -1) @ covariance.reshape(m, lanes, -1).transpose(0, 2, 1)
        mean = self.offset + covariance @ self.weights
        return mean.reshape(m, lanes), self.constant + own - explained


def fit_passes(kernels: Array, passes: Array, trials: Array, *, start: Array | None = None, steps: int = 12) -> Process:
    """Fit to ``passes`` of ``trials`` (n,); passes may be fractions. ``kernels`` (J, n, n) have variance 1.

    Laplace approximation (Rasmussen & Williams 2006, algorithms 3.1 and 5.1, for binomial counts).
    """
    weights = np.zeros(len(passes))

    def evidence(log_variances: Array) -> tuple[float, Array]:
        nonlocal weights
        variances = np.exp(log_variances)
        found = _laplace(combined(kernels, variances), passes, trials, PASS_PRIOR.constant, weights)
        weights = found.weights
        return found.evidence, found.gradient(kernels, variances)

    variances = _fit_variances(evidence, len(kernels), PASS_PRIOR, start, steps)
    return passes_given(combined(kernels, variances), passes, trials, variances)


def passes_given(
    summed: Array, passes: Array, trials: Array, variances: Array, *, start: Array | None = None
) -> Process:
    """The process of :func:`fit_passes` with these variances, whose kernels' weighted sum is ``summed`` (n, n).

    ``start`` (n,) are weights of a process of nearly the same cases: from there half the steps are enough.
    """
    found = _laplace(summed, passes, trials, PASS_PRIOR.constant, np.zeros(len(passes)) if start is None else start)
    return Process(PASS_PRIOR.constant, variances, found.score, found.precision)


def fit_times(kernels: Array, means: Array, noise: Array, *, start: Array | None = None, steps: int = 12) -> Process:
    """Fit to mean log times (n,) that are known to a variance of ``noise`` (n,); ``kernels`` (J, n, n)."""
    offset = time_offset(means, noise)

    def evidence(log_variances: Array) -> tuple[float, Array]:
        return _gaussian_evidence(kernels, means - offset, noise, TIME_PRIOR.constant, np.exp(log_variances))

    variances = _fit_variances(evidence, len(kernels), TIME_PRIOR, start, steps)
    return times_given(combined(kernels, variances), means, noise, variances, offset)


def time_offset(means: Array, noise: Array) -> float:
    """The level of mean log times that are known to ``noise``, (n,)."""
    return float(np.average(means, weights=1 / (noise + noise.mean()))) if len(means) else 0.0


def times_given(summed: Array, means: Array, noise: Array, variances: Array, offset: float) -> Process:
    """The process of :func:`fit_times` with these variances, whose kernels' weighted sum is ``summed`` (n, n)."""
    precision = inverse_of(cholesky_of(_plus_diagonal(summed + TIME_PRIOR.constant, noise + JITTER)))
    return Process(TIME_PRIOR.constant, variances, precision @ (means - offset), precision, offset)


def times_without(process: Process, means: Array, kept: NDArray[np.bool_]) -> Process:
    """The process of :func:`times_given` of the cases that are ``kept`` (n,) alone, by its inverse's blocks: a sixth of
    the work of another one."""
    precision, left = process.precision[np.ix_(kept, kept)], process.precision[np.ix_(kept, ~kept)]
    precision = precision - left @ np.linalg.solve(process.precision[np.ix_(~kept, ~kept)], left.T)
    weights = precision @ (means[kept] - process.offset)
    return Process(process.constant, process.variances, weights, precision, process.offset)


def combined(kernels: Array, variances: Array) -> Array:
    """The sum of kernels (J, ...), weighted with their variances (J,)."""
    return np.tensordot(variances, kernels, axes=1)


class _Laplace(NamedTuple):
    """What follows from the mode of the logits."""

    score: Array
    """Gradient of the log-likelihood at the mode, (n,)."""
    precision: Array
    """(K + W⁻¹)⁻¹."""
    evidence: float
    covariance: Array
    curvature: Array
    """W: the negative second derivative of the log-likelihood at the mode, (n,)."""
    third: Array
    """Its third derivative."""
    weights: Array
    """K⁻¹ times the mode."""

    def gradient(self, kernels: Array, variances: Array) -> Array:
        """Of the evidence, by the logarithm of each variance, (J,)."""
        # Posterior variances: those of W^-1 - W^-1 (K + W^-1)^-1 W^-1, which takes no product of matrices.
        posterior = 1 / self.curvature - np.diag(self.precision) / self.curvature**2
        s2 = 0.5 * posterior * self.third
        s1 = 0.5 * _traces(kernels, np.outer(self.weights, self.weights) - self.precision)
        b = kernels @ self.score
        s3 = b - (b @ self.precision) @ self.covariance
        return variances * (s1 + s3 @ s2)


def _laplace(summed: Array, passes: Array, trials: Array, constant: float, start: Array) -> _Laplace:
    """The mode from the weights ``start``, (n,)."""
    from scipy.linalg import cho_solve

    covariance = _plus_diagonal(summed + constant, JITTER)

    def curved(p: Array) -> tuple[Array, Array, Array]:
        """W, its root, and the Cholesky factor of 1 + W^½ K W^½."""
        w = np.maximum(trials * p * (1 - p), 1e-10)
        root = np.sqrt(w)
        return w, root, cholesky_of(_plus_diagonal(covariance * root * root[:, None], 1.0))

    def full_step(logits: Array, p: Array) -> Array:
        w, root, lower = curved(p)
        b = w * logits + passes - trials * p
        return b - root * cho_solve((lower, True), root * (covariance @ b), check_finite=False)

    weights, p, objective = newton(passes, trials, lambda weights: covariance @ weights, full_step, start)
    w, root, lower = curved(p)
    return _Laplace(
        score=passes - trials * p,
        precision=inverse_of(lower) * root * root[:, None],
        evidence=objective - float(np.log(np.diag(lower)).sum()),
        covariance=covariance,
        curvature=w,
        third=-trials * p * (1 - p) * (1 - 2 * p),
        weights=weights,
    )


def newton(
    passes: Array,
    trials: Array,
    times_covariance: Callable[[Array], Array],
    full_step: Callable[[Array, Array], Array],
    weights: Array,
) -> tuple[Array, Array, float]:
    """Climb to the mode of the logits: its weights (n,), its probabilities (n,), and its logarithm up to a constant.

    Logits are weights times the covariance. ``full_step(logits, p)`` are the weights at which a whole step of Newton
    from there ends; it is halved until it climbs.
    """

    def objective(weights: Array, logits: Array) -> float:
        return float(-0.5 * weights @ logits + passes @ logits - trials @ np.logaddexp(0, logits))

    logits = times_covariance(weights)
    current = objective(weights, logits)
    for _ in range(NEWTON_STEPS):
        step = full_step(logits, _logistic(logits)) - weights
        size = 1.0
        while True:
            tried = weights + size * step
            tried_logits = times_covariance(tried)
            value = objective(tried, tried_logits)
            if value >= current - 1e-10 or size < 1e-3:
                break
            size /= 2
        change, current, weights, logits = value - current, value, tried, tried_logits
        if change < NEWTON_TOLERANCE:
            break
    return weights, _logistic(logits), current


def _logistic(logits: Array) -> Array:
    probabilities: Array = 1 / (1 + np.exp(-logits))
    return probabilities


def _gaussian_evidence(
    kernels: Array, means: Array, noise: Array, constant: float, variances: Array
) -> tuple[float, Array]:
    lower = cholesky_of(_plus_diagonal(combined(kernels, variances) + constant, noise + JITTER))
    precision = inverse_of(lower)
    weights = precision @ means
    evidence = -0.5 * means @ weights - np.log(np.diag(lower)).sum()
    return float(evidence), 0.5 * variances * _traces(kernels, np.outer(weights, weights) - precision)


def _traces(kernels: Array, matrix: Array) -> Array:
    """Of each kernel's product with a symmetric ``matrix``, (J,)."""
    return kernels.reshape(len(kernels), -1) @ matrix.ravel()


def _plus_diagonal(matrix: Array, diagonal: Array | float) -> Array:
    """The matrix itself, (n, n), with this on top of its diagonal."""
    matrix.flat[:: len(matrix) + 1] += diagonal
    return matrix


def cholesky_of(matrix: Array) -> Array:
    """L with L Lᵀ = matrix, which is symmetric and no longer needed."""
    from scipy.linalg import cholesky

    # Transposed it is in the order that LAPACK wants, and is not copied.
    lower: Array = cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    return lower


def inverse_of(lower: Array) -> Array:
    """(L Lᵀ)⁻¹: LAPACK's own, a third of the work of solving for the identity."""
    from scipy.linalg.lapack import dpotri

    if not len(lower):
        return lower  # LAPACK would complain of it on stdout
    half, _ = dpotri(lower, lower=True)
    half = np.tril(half)
    full: Array = half + np.tril(half, -1).T
    return full


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
