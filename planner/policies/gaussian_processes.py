"""Two Gaussian processes over cases: of a pass probability's logit, seen through counts, and of a mean log time.

Both take kernels with one variance each, fit these by their marginal likelihood with log-normal priors, and foresee
mean and variance of new cases. Fitting needs scipy, foreseeing numpy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.expectation_propagation import Sites, propagate
from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]
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
    sites: Sites | None = None
    """Of a process of logits, for fitting one like it; foreseeing does not need them."""

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


def fit_passes(kernels: Array, counts: PassCounts, *, steps: int = 12) -> Process:
    """Fit to the ``counts`` of n cases by expectation propagation; ``kernels`` (J, n, n) have variance 1."""
    sites: Sites | None = None

    def evidence(log_variances: Array) -> tuple[float, Array]:
        nonlocal sites
        variances = np.exp(log_variances)
        found = _propagated(combined(kernels, variances), counts, sites)
        sites = found.sites
        return found.evidence, _slope_of_passes(kernels, variances, found)

    variances = _fit_variances(evidence, len(kernels), PASS_PRIOR, steps)
    return passes_given(combined(kernels, variances), counts, variances, start=sites)


def passes_given(summed: Array, counts: PassCounts, variances: Array, *, start: Sites | None = None) -> Process:
    """The process of :func:`fit_passes` with these variances, whose kernels' weighted sum is ``summed`` (n, n).

    ``start`` are the sites of a process of nearly the same cases: from there a few sweeps are enough.
    """
    found = _propagated(summed, counts, start)
    return Process(PASS_PRIOR.constant, variances, found.weights, found.precision, sites=found.sites)


def fit_times(kernels: Array, means: Array, noise: Array, *, steps: int = 12) -> Process:
    """Fit to mean log times (n,) that are known to a variance of ``noise`` (n,); ``kernels`` (J, n, n)."""
    offset = time_offset(means, noise)

    def evidence(log_variances: Array) -> tuple[float, Array]:
        return _gaussian_evidence(kernels, means - offset, noise, TIME_PRIOR.constant, np.exp(log_variances))

    variances = _fit_variances(evidence, len(kernels), TIME_PRIOR, steps)
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


class _Posterior(NamedTuple):
    """What follows from the sites."""

    sites: Sites
    weights: Array
    """K⁻¹ times the logits' means."""
    precision: Array
    """(K + S⁻¹)⁻¹ for the sites' precisions S."""
    evidence: float


def _propagated(summed: Array, counts: PassCounts, start: Sites | None) -> _Posterior:
    covariance = _plus_diagonal(summed + PASS_PRIOR.constant, JITTER)
    precision, log_determinant, mean = covariance, 0.0, np.zeros(len(counts))

    def marginals(sites: Sites) -> tuple[Array, Array]:
        nonlocal precision, log_determinant, mean
        root = np.sqrt(sites.precision)
        lower = cholesky_of(_plus_diagonal(covariance * root * root[:, None], 1.0))
        log_determinant = float(np.log(np.diag(lower)).sum())
        precision = inverse_of(lower) * root * root[:, None]
        given = covariance @ sites.shift
        mean = given - covariance @ (precision @ given)
        return mean, (1 - np.diag(precision) / sites.precision) / sites.precision

    sites, log_scale = propagate(counts, marginals, start)
    evidence = log_scale + 0.5 * float(sites.shift @ mean) - log_determinant
    return _Posterior(sites, sites.shift - sites.precision * mean, precision, evidence)


def _slope_of_passes(kernels: Array, variances: Array, found: _Posterior) -> Array:
    """Of the evidence by the logarithm of each variance, (J,): the sites stand still where they fit."""
    return 0.5 * variances * _traces(kernels, np.outer(found.weights, found.weights) - found.precision)


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


def _fit_variances(evidence: Callable[[Array], tuple[float, Array]], n: int, prior: Prior, steps: int) -> Array:
    """The variances (n,) of largest evidence and prior."""
    from scipy.optimize import minimize

    centre = np.full(n, np.log(prior.median))

    def negative(log_variances: Array) -> tuple[float, Array]:
        value, gradient = evidence(log_variances)
        off = (log_variances - centre) / prior.deviation
        return -(value - 0.5 * float(off @ off)), -(gradient - off / prior.deviation)

    found = minimize(
        negative, centre, jac=True, method="L-BFGS-B", bounds=[(-9.0, 4.0)] * n, options={"maxiter": steps}
    )
    return np.exp(found.x)
