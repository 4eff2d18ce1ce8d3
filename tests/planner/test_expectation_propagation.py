"""Beliefs about logits from few trials, beside the integrals that they stand for."""

from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.policies import gaussian_processes as gp
from planner.policies.expectation_propagation import TOLERANCE, propagate
from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]
LOGITS = np.linspace(-60.0, 60.0, 24_001)


def one_case(counts: PassCounts, prior: float) -> tuple[float, float, float]:
    """Mean and variance of the logit of the only case, and the log evidence, by summing up the prior's density."""
    log_density = counts.log_likelihood(LOGITS[None])[0] - LOGITS**2 / (2 * prior)
    density = np.exp(log_density) / np.sqrt(2 * np.pi * prior) * (LOGITS[1] - LOGITS[0])
    mean = float((density * LOGITS).sum() / density.sum())
    return mean, float((density * (LOGITS - mean) ** 2).sum() / density.sum()), float(np.log(density.sum()))


@pytest.mark.parametrize(
    ("passes", "trials", "cut", "odds"),
    [
        (0, 1, 0, 1),
        (1, 1, 0, 1),
        (3, 5, 0, 1),
        (40, 50, 0, 1),
        (5000, 5000, 0, 1),
        (0.3, 1, 0, 1),
        (0, 0, 1, 0.2),
        (1, 2, 2, 0.1),
    ],
)
def test_one_case_is_believed_as_its_integral_says(passes: float, trials: float, cut: float, odds: float) -> None:
    counts = PassCounts(*(np.array([float(value)]) for value in (passes, trials, cut, odds)))
    mean, variance, evidence = one_case(counts, 25.0 + gp.PASS_PRIOR.constant)
    found = gp._propagated(np.array([[25.0]]), counts, None)
    prior = 25.0 + gp.PASS_PRIOR.constant
    assert prior * found.weights[0] == pytest.approx(mean, abs=0.02)
    assert prior - prior * found.precision[0, 0] * prior == pytest.approx(variance, rel=0.01)
    assert found.evidence == pytest.approx(evidence, abs=0.01)


def test_counts_say_what_each_trial_says() -> None:
    counts = PassCounts(np.array([2.0, 0.0]), np.array([3.0, 0.0]), np.array([1.0, 0.0]), np.array([0.2, 1.0]))
    p = np.array([0.1, 0.5, 0.9])
    found = counts.log_likelihood(np.log(p / (1 - p))[None].repeat(2, axis=0))
    assert found[0] == pytest.approx(np.log(p**2 * (1 - p) * (1 - p + 0.2 * p)))
    assert found[1] == pytest.approx(0.0)
    assert counts.seen.tolist() == [True, False]
    only_cut = PassCounts(np.zeros(1), np.zeros(1), np.ones(1), np.full(1, 0.2))
    assert only_cut.seen.all()


def test_a_cut_that_leaves_a_logit_less_sure_than_before_lowers_it_all_the_same() -> None:
    """A case like one that always passed ran into its cut, as one that fails would: it may be either."""
    counts = PassCounts(np.array([9.0, 0.0]), np.array([9.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 0.02]))
    prior = np.array([[25.0, 24.0], [24.0, 25.0]])
    found = gp._propagated(prior.copy(), counts, None)
    covariance = prior + gp.PASS_PRIOR.constant
    grid = np.linspace(-25.0, 35.0, 601)
    both = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    log_density = -0.5 * np.einsum("abi,ij,abj->ab", both, np.linalg.inv(covariance), both)
    first, second = counts.log_likelihood(np.stack([grid, grid]))
    density = np.exp(log_density + first[:, None] + second[None])
    wanted = (density * both[..., 1]).sum() / density.sum()
    # A Gaussian factor lowers it without making it less sure: within a seventh of its deviation.
    assert (covariance @ found.weights)[1] == pytest.approx(wanted, abs=0.4)
    without = gp._propagated(prior.copy(), counts.without(np.array([False, True])), None)
    assert (covariance @ without.weights)[1] > wanted + 0.5


def test_one_failure_says_much_where_cases_nearly_always_or_nearly_never_pass() -> None:
    """The mode of the logit alone would leave a chance of a quarter."""
    failed = PassCounts.known(np.zeros(1), np.ones(1))
    process = gp.passes_given(np.array([[25.0]]), failed, np.ones(1))
    mean, covariance = process.foresee_summed(np.array([[25.0]]), np.full((1, 1, 1), 25.0))
    chance = 1 / (1 + np.exp(-(mean[0, 0] + np.sqrt(covariance[0, 0, 0]) * np.random.default_rng(0).normal(size=9999))))
    passing = 1 / (1 + np.exp(-LOGITS))
    weight = (1 - passing) * np.exp(-(LOGITS**2) / 52)
    truth = float((weight * passing).sum() / weight.sum())
    assert truth < 0.15
    assert chance.mean() == pytest.approx(truth, abs=0.02)


def test_a_cut_trial_does_not_say_that_its_case_passes_now_and_then() -> None:
    """Of cases of which half always pass and half never do, some are cut: how much cases differ is still found."""
    draw = np.random.default_rng(0)
    case: NDArray[np.int64] = np.arange(60)
    passes = 3.0 * (draw.random(60) < 0.5)
    cut = np.where(case % 3 == 0, 3.0, 0.0)
    counts = PassCounts(np.where(cut > 0, 0.0, passes), 3.0 - cut, cut, np.full(60, 0.3))
    shares = PassCounts.known(np.where(cut > 0, 0.75, passes), np.full(60, 3.0))
    kernel = np.eye(60)[None]
    found, as_shares = (gp.fit_passes(kernel, of).variances[0] for of in (counts, shares))
    assert found > 2 * as_shares


def test_sites_that_are_given_are_left_where_they_fit() -> None:
    draw = np.random.default_rng(0)
    trials = draw.integers(1, 4, 40).astype(np.float64)
    counts = PassCounts.known(np.minimum(draw.integers(0, 4, 40), trials).astype(np.float64), trials)
    kernel = 4.0 * np.exp(-((np.arange(40)[:, None] - np.arange(40)) ** 2) / 8)
    first = gp.passes_given(kernel.copy(), counts, np.ones(1))
    asked: list[int] = []

    def marginals(sites: object) -> tuple[Array, Array]:
        asked.append(1)
        covariance = kernel + gp.PASS_PRIOR.constant + gp.JITTER * np.eye(40)
        assert first.sites is not None
        posterior = np.linalg.inv(np.linalg.inv(covariance) + np.diag(first.sites.precision))
        return posterior @ first.sites.shift, np.diag(posterior).copy()

    again = propagate(counts, marginals, first.sites)
    assert len(asked) == 1
    assert first.sites is not None
    assert again.sites.precision == pytest.approx(first.sites.precision, rel=5 * TOLERANCE)
