"""The shortcuts of the two processes, beside the formulas that they stand for."""

from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.policies import gaussian_processes as gp
from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]


def planted(n: int = 30) -> tuple[Array, Array, Array]:
    """Two kernels (2, n, n), and passes of trials."""
    draw = np.random.default_rng(0)
    group, place = draw.integers(0, 5, n), draw.normal(size=n)
    kernels = np.stack([(group[:, None] == group) * 1.0, np.exp(-((place[:, None] - place) ** 2) / 2)])
    trials = draw.integers(1, 6, n).astype(np.float64)
    return kernels, draw.binomial(trials.astype(int), 0.4).astype(np.float64), trials


def test_passes_are_foreseen_as_the_textbook_has_it() -> None:
    """One factor after another, each with its cavity, as Rasmussen & Williams have it (algorithm 3.5)."""
    kernels, passes, trials = planted()
    variances = np.array([0.8, 0.5])
    counts = PassCounts.known(passes, trials)
    found = gp.passes_given(gp.combined(kernels, variances), counts, variances)
    covariance = gp.PASS_PRIOR.constant + np.tensordot(variances, kernels, axes=1) + gp.JITTER * np.eye(30)
    precision, shift = np.full(30, 1e-6), np.zeros(30)
    for _ in range(30):
        for at in range(30):
            posterior = np.linalg.inv(np.linalg.inv(covariance) + np.diag(precision))
            own, mean = posterior[at, at], (posterior @ shift)[at]
            without = 1 / own - precision[at]
            centre = (mean / own - shift[at]) / without
            logits = centre + np.linspace(-8, 8, 401) / np.sqrt(without)
            weight = np.exp(counts.take(np.array([at])).log_likelihood(logits[None])[0])
            weight = weight * np.exp(-0.5 * without * (logits - centre) ** 2)
            new = float(weight @ logits / weight.sum())
            variance = float(weight @ (logits - new) ** 2 / weight.sum())
            precision[at], shift[at] = 1 / variance - without, new / variance - centre * without
    posterior = np.linalg.inv(np.linalg.inv(covariance) + np.diag(precision))
    assert covariance @ found.weights == pytest.approx(posterior @ shift, abs=2e-3)
    assert found.precision == pytest.approx(np.linalg.inv(covariance + np.diag(1 / precision)), abs=2e-3)


def test_mean_times_are_foreseen_as_the_textbook_has_it() -> None:
    kernels, means, trials = planted()
    variances, noise = np.array([0.3, 0.2]), 0.2 / trials
    found = gp.times_given(gp.combined(kernels, variances), means, noise, variances, 0.7)
    precision = np.linalg.inv(gp.TIME_PRIOR.constant + np.tensordot(variances, kernels, axes=1) + np.diag(noise))
    assert found.precision == pytest.approx(precision, rel=1e-5, abs=1e-6)
    assert found.weights == pytest.approx(precision @ (means - 0.7), rel=1e-5, abs=1e-6)


def test_times_without_some_cases_are_those_of_the_others_alone() -> None:
    kernels, means, trials = planted()
    variances, noise = np.array([0.3, 0.2]), 0.2 / trials
    summed = gp.combined(kernels, variances)
    kept: NDArray[np.bool_]
    for kept in (np.arange(30) % 4 > 0, np.ones(30, dtype=bool), np.zeros(30, dtype=bool)):
        found = gp.times_without(gp.times_given(summed, means, noise, variances, 0.7), means, kept)
        wanted = gp.times_given(summed[np.ix_(kept, kept)], means[kept], noise[kept], variances, 0.7)
        assert found.precision == pytest.approx(wanted.precision, abs=1e-9)
        assert found.weights == pytest.approx(wanted.weights, abs=1e-9)


def test_both_evidences_have_the_gradient_that_their_slope_shows() -> None:
    kernels, passes, trials = planted()

    def of_passes(logs: Array) -> tuple[float, Array]:
        found = gp._propagated(gp.combined(kernels, np.exp(logs)), PassCounts.known(passes, trials), None)
        return found.evidence, gp._slope_of_passes(kernels, np.exp(logs), found)

    def of_times(logs: Array) -> tuple[float, Array]:
        return gp._gaussian_evidence(kernels, passes - passes.mean(), 0.2 / trials, 0.3, np.exp(logs))

    for evidence, tolerance in ((of_passes, 1e-2), (of_times, 1e-6)):  # sweeps end before all factors stand still
        at = np.log([0.8, 0.5])
        slope = [(evidence(at + h)[0] - evidence(at - h)[0]) / 2e-4 for h in 1e-4 * np.eye(2)]
        assert evidence(at)[1] == pytest.approx(slope, rel=tolerance, abs=tolerance)
