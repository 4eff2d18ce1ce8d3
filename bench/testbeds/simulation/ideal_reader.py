"""What plans come to in a simulated world, exactly, for who knows an issue and for an ideal reader of its context.

The world knows its parameters, so both follow without a run. The ideal reader knows what issues have in common: the
difficulty of areas, kinds, components and sizes, how strong and how reliable every tool is. Of an issue it sees what
the tracker shows, and believes of what that hides (difficulty, affinities, minutes) what the world draws it from. It
reads no outcome of the issue, nor its hidden draws. Issues that were never run have no history of their own, so nobody
can read more; who has to infer the parameters from runs reads less: it is an upper bound.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.testbeds.simulation.issues import (
    AFFINITY_SPREAD,
    EASY_WORDS,
    HARD_WORDS,
    HIDDEN_DIFFICULTY,
    HIDDEN_MINUTES,
    TOOL_MINUTES,
    SimulatedIssue,
    shown_of,
)
from bench.testbeds.simulation.issues import SLOWER_IF_HARD as SLOWER
from bench.testbeds.simulation.world import (
    BREAK_MINUTES,
    BREAK_SPREAD,
    BREAKS,
    GATE_SECONDS,
    OUTAGE_BREAKS,
    TIME_SPREAD,
    TOOLS,
    WANDER_FACTOR,
    WANDERS,
    World,
    tool_order,
)
from planner.scoring.plan_outcome import Plan, PlanOutcomes

Array: TypeAlias = NDArray[np.float64]
DRAWS = 400
"""Of what an issue hides."""
TIMES = 64
"""Moments of a run at which it is reckoned how many lanes still work."""


@dataclass(frozen=True)
class Belief:
    """Equally likely states of one issue: logit of solving and log of the median minutes, (draws, tools), and how often
    a launch of each tool breaks, (tools,)."""

    logit: Array
    log_minutes: Array
    breaks: Array


def known(world: World, issue: SimulatedIssue, at_ms: int) -> Belief:
    """The one state that is so."""
    solves = np.array([[world.solve_probability(issue, tool, at_ms) for tool in TOOLS]])
    return Belief(
        np.log(solves) - np.log1p(-solves),
        np.array([[issue.log_minutes[tool] for tool in TOOLS]]),
        _breaks(world, at_ms),
    )


def read(world: World, issue: SimulatedIssue, at_ms: int) -> Belief:
    """What the ideal reader believes at that moment."""
    draw = np.random.default_rng(0).normal(size=(DRAWS, 2 + 2 * len(TOOLS)))
    words = str(issue.document["title"]).lower().split()
    hidden = HIDDEN_DIFFICULTY * draw[:, 0]
    if any(word in HARD_WORDS for word in words):
        hidden = abs(hidden)
    elif any(word in EASY_WORDS for word in words):
        hidden = -abs(hidden)
    difficulty, log_minutes = shown_of(world.seed, issue)
    strengths = np.array([world.strength(issue, tool, at_ms) for tool in TOOLS])
    affinities, tool_minutes = draw[:, 2 : 2 + len(TOOLS)], draw[:, 2 + len(TOOLS) :]
    minutes = log_minutes + SLOWER * hidden + HIDDEN_MINUTES * draw[:, 1]
    return Belief(
        strengths + AFFINITY_SPREAD * affinities - (difficulty + hidden)[:, None],
        minutes[:, None] + TOOL_MINUTES * tool_minutes,
        _breaks(world, at_ms),
    )


def outcomes(belief: Belief, hint: str | None, plans: list[Plan]) -> PlanOutcomes:
    """Expected outcomes (plans,) in minutes, of plans with one attempt a lane; a lane's time is followed to the end,
    so only the grid of moments and the draws of a belief are inexact."""
    from scipy.special import ndtr

    limits = sorted({plan.limit for plan in plans})
    grid = np.union1d(np.concatenate([[1e-9], np.geomspace(BREAK_MINUTES / 4, limits[-1], TIMES)]), limits)
    order = [TOOLS.index(tool) for tool in tool_order(hint)]
    breaks = belief.breaks[order, None]
    solves = (1 / (1 + np.exp(-belief.logit)))[:, order, None]
    usual = (np.log(grid) - belief.log_minutes[:, order, None]) / TIME_SPREAD
    ended = ndtr(usual)
    wandered = ndtr(usual - math.log(WANDER_FACTOR) / TIME_SPREAD)
    passed = (1 - breaks) * solves * ended
    verified = passed + (1 - breaks) * (1 - solves) * ((1 - WANDERS) * ended + WANDERS * wandered)
    works = 1 - verified - breaks * ndtr(np.log(grid / BREAK_MINUTES) / BREAK_SPREAD)
    found = []
    for plan in plans:
        at, lanes = int(np.searchsorted(grid, plan.limit)), slice(plan.lanes)
        any_works = 1 - np.prod(1 - works[:, lanes, : at + 1], axis=1)
        gates = GATE_SECONDS / 60 * verified[:, lanes, at].sum(axis=1)
        found.append(
            (
                1 - np.prod(1 - passed[:, lanes, at], axis=1).mean(),
                (np.trapezoid(any_works, grid[: at + 1]) + gates).mean(),
                np.trapezoid(works[:, lanes, : at + 1], grid[: at + 1]).sum(axis=1).mean(),
            )
        )
    return PlanOutcomes(*np.array(found).T)


def _breaks(world: World, at_ms: int) -> Array:
    return np.array([OUTAGE_BREAKS if world.is_down(tool, at_ms) else BREAKS for tool in TOOLS])
