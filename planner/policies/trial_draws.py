"""From latents to actions: draws of what each attempt would do, the same for every case and action, and the rule.

Common random numbers: two actions differ by what they do, not by what was drawn for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.scoring.episodes import PlanSequence, runs_of, sequence_outcomes
from planner.scoring.plan_outcome import Plan, PlanOutcomes, plan_outcomes

Array: TypeAlias = NDArray[np.float64]
DRAWS = 150
BLOCK = 2000
"""Draws of cases computed at once, so that they stay in the cache."""


@dataclass(frozen=True)
class Latents:
    """What is believed of m questions of some lanes each: pass logit, mean log time of passing and of failing trials.

    mean (3, m, lanes), covariance (3, m, lanes, lanes); spread (2, m, lanes) is what the residuals of passing and of
    failing trials are multiplied by, None leaves them as they are.
    """

    mean: Array
    covariance: Array
    spread: Array | None = None

    def take(self, rows: slice) -> "Latents":
        """Those of these questions."""
        spread = None if self.spread is None else self.spread[:, rows]
        return Latents(self.mean[:, rows], self.covariance[:, rows], spread)


@dataclass(frozen=True, eq=False)
class Residuals:
    """How log times of one case's trials scatter around its mean, as deviations in order: of passing and of failing."""

    passing: Array
    failing: Array


@dataclass(frozen=True)
class Draws:
    """Standard normal latents (3, draws, lanes), and residuals of passing and failing trials (draws, lanes, attempts).

    Logits are stratified, times antithetic; a lane has its own residuals, and its own latents where tools differ.
    """

    latents: Array
    passing: Array
    failing: Array

    @classmethod
    def make(cls, residuals: Residuals, lanes: int, attempts: int, *, n: int = DRAWS, seed: int = 0) -> "Draws":
        """``n`` draws, an even number."""
        draw = np.random.default_rng(seed)
        logits = np.stack([draw.permutation(normal_quantiles(n)) for _ in range(lanes)], axis=1)
        times = draw.normal(size=(2, n // 2, lanes))
        shape = (n // 2, lanes, attempts)
        return cls(
            np.concatenate([logits[None], np.concatenate([times, -times], axis=1)]),
            *(_antithetic(kind, shape, draw) for kind in (residuals.passing, residuals.failing)),
        )


@lru_cache(maxsize=16)
def draws_of(residuals: Residuals, lanes: int, attempts: int) -> Draws:
    """The draws of a model's residuals, made once: a decision needs the same each time."""
    return Draws.make(residuals, lanes, attempts)


def expected_plans(latents: Latents, draws: Draws, plans: Sequence[Plan | PlanSequence]) -> PlanOutcomes:
    """Expected outcomes (m, plans) of plans whose lane j has the j-th tool; with latents of one lane, all have it.

    Of a sequence of plans the outcomes of the episode: that a run failed moves what is believed before the next one.

    Log times are of the unit in which the plans' limits are.
    """
    n, _, attempts = draws.passing.shape
    sequences = [runs_of(plan) for plan in plans]
    step = max(1, BLOCK // n)
    parts = []
    for start in range(0, latents.mean.shape[1], step):
        trials = _trials(latents.take(slice(start, start + step)), draws)
        parts.append(sequence_outcomes(sequences, *trials, lane_stride=attempts))
    return PlanOutcomes(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))


def draw_plans(latents: Latents, draws: Draws, plans: Sequence[PlanSequence]) -> PlanOutcomes:
    """What single plans come to for one question, draw by draw, (draws, plans)."""
    trials = (kind[0] for kind in _trials(latents, draws))
    return plan_outcomes([plan for (plan,) in plans], *trials, lane_stride=draws.passing.shape[2])


def _trials(latents: Latents, draws: Draws) -> tuple[Array, Array, Array]:
    """What each attempt of each lane would do, (m, draws, lanes · attempts): its chance to pass, and its times."""
    n, lanes, attempts = draws.passing.shape
    n_tools = latents.mean.shape[2]
    roots = np.sqrt(np.maximum(latents.covariance, 1e-9)) if n_tools == 1 else _roots(latents.covariance)
    drawn = latents.mean[:, :, None] + np.einsum("kmij,knj->kmni", roots, draws.latents[..., :n_tools])
    shape = (drawn.shape[1], n, lanes, attempts)
    passed = np.broadcast_to(1 / (1 + np.exp(-drawn[0]))[..., None], (*drawn.shape[1:3], n_tools, attempts))
    spread = np.ones((2, 1, 1)) if latents.spread is None else latents.spread
    passing, failing = (
        np.exp(drawn[k][..., None] + spread[k - 1][:, None, :, None] * kind)
        for k, kind in ((1, draws.passing), (2, draws.failing))
    )
    flat = [np.broadcast_to(a, shape).reshape(*shape[:2], -1) for a in (passed, passing, failing)]
    return flat[0], flat[1], flat[2]


@cache
def normal_quantiles(n: int) -> Array:
    """The middles of n equally likely slices of the standard normal."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])


def _antithetic(values: Array, shape: tuple[int, ...], draw: np.random.Generator) -> Array:
    """Stratified draws from ``values`` (sorted), each with its mirror image in the other half."""
    size = int(np.prod(shape))
    shares = ((draw.permutation(size) + 0.5) / size).reshape(shape)
    both = np.concatenate([shares, 1 - shares])
    return np.interp(both * (len(values) - 1), np.arange(len(values)), values)


def _roots(covariance: Array) -> Array:
    """Lower triangles L with L Lᵀ = covariance, (..., lanes, lanes)."""
    lanes = covariance.shape[-1]
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(lanes))
