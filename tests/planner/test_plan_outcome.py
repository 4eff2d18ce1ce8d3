"""Tests of the replay rule: the arithmetic against a version that goes from attempt to attempt, and over orders."""

import itertools
import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.actions import Action
from planner.scoring.orders import expected_outcomes, trial_orders
from planner.scoring.plan_outcome import Plan, plan_of, plan_outcomes

PLANS = [
    Plan(side_by_side, lanes, attempts, limit)
    for side_by_side, lanes, attempts, limit in itertools.product(
        [False, True], [1, 2, 3], [1, 2], [5, 8, 20, math.inf]
    )
]
trials = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), min_size=6, max_size=6)


def step_by_step(plan: Plan, came: Sequence[tuple[bool, float]]) -> tuple[bool, float, float]:
    """Pass, wall and agent time, by going from attempt to attempt as a person would."""
    rows = [range(lane * plan.attempts, (lane + 1) * plan.attempts) for lane in range(plan.lanes)]
    if not plan.side_by_side:
        rows = [range(plan.n_trials)]
    ends = []
    for row in rows:
        spent, passed = 0.0, False
        for trial in row:
            if passed or spent >= plan.limit:
                break
            passes, time = came[trial]
            passed = passes and spent + time <= plan.limit
            spent = min(spent + time, plan.limit)
        ends.append((passed, spent))
    return any(p for p, _ in ends), max(s for _, s in ends), sum(s for _, s in ends)


@given(trials)
@settings(max_examples=150, deadline=None)
def test_what_came_of_recorded_trials_is_what_going_through_them_one_by_one_gives(came: list[tuple[bool, int]]) -> None:
    passed, times = np.array([float(p) for p, _ in came]), np.array([float(t) for _, t in came])
    found = plan_outcomes(PLANS, passed, times, times)
    for at, plan in enumerate(PLANS):
        assert (found.passed[at], found.wall[at], found.agent[at]) == step_by_step(plan, came)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 12), st.integers(1, 12)), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_an_expectation_is_the_mean_over_everything_that_may_come(chances: list[tuple[float, int, int]]) -> None:
    plans = [plan for plan in PLANS if plan.n_trials <= 4]
    share, if_passed, if_failed = (np.array(column, dtype=float) for column in zip(*chances, strict=True))
    found = plan_outcomes(plans, share, if_passed, if_failed)
    for at, plan in enumerate(plans):
        total = np.zeros(3)
        for passes in itertools.product([True, False], repeat=4):
            chance = math.prod(p if passed else 1 - p for passed, (p, _, _) in zip(passes, chances, strict=True))
            came = [(passed, a if passed else b) for passed, (_, a, b) in zip(passes, chances, strict=True)]
            total += chance * np.array(step_by_step(plan, came))
        assert [found.passed[at], found.wall[at], found.agent[at]] == pytest.approx(total.tolist())


def test_lanes_with_trials_of_their_own_take_them_and_not_their_neighbours() -> None:
    passed, times = np.array([0.0, 1.0, 0.0, 1.0]), np.array([3.0, 4.0, 7.0, 1.0])
    found = plan_outcomes([Plan(True, 2, 1, 60.0)], passed, times, times, lane_stride=2)
    assert (found.passed[0], found.wall[0], found.agent[0]) == (0.0, 7.0, 10.0)


def test_an_action_becomes_a_plan_whose_unset_budgets_are_what_the_caller_says() -> None:
    assert plan_of(Action("serial_handoff", 1, 30, "NA"), 2.0) == Plan(False, 1, 1, 60.0)
    assert plan_of(Action("speculate_vote", "NA", "NA", 2), 1.0, candidates=3, minutes=45) == Plan(True, 3, 2, 45.0)


def test_over_orders_means_over_all_permutations_of_the_trials() -> None:
    came = [(False, 20), (True, 25), (False, 50), (True, 5)]
    plans = [Plan(False, 1, 2, 60), Plan(True, 2, 1, 24), Plan(True, 2, 2, 60)]
    found = expected_outcomes(plans, [p for p, _ in came], [t for _, t in came])
    for at, plan in enumerate(plans):
        every = [step_by_step(plan, order) for order in itertools.permutations(came)]
        wanted = [fmean(float(value) for value in column) for column in zip(*every, strict=True)]
        assert [found.mean.passed[at], found.mean.wall[at], found.mean.agent[at]] == pytest.approx(wanted)
    assert found.orders == 24
    assert not any(error.any() for error in found.error)


def test_of_too_many_orders_a_seeded_sample_is_taken_whose_error_is_told() -> None:
    passed, times = [True, False] * 4, list(range(1, 9))
    plan = [Plan(True, 3, 2, 10)]
    sampled = expected_outcomes(plan, passed, times, at_most=500)
    whole = expected_outcomes(plan, passed, times, at_most=math.factorial(8))
    assert sampled.orders == 500 and whole.orders == math.factorial(8)
    assert abs(sampled.mean.agent[0] - whole.mean.agent[0]) < 4 * sampled.error.agent[0]
    assert sampled.error.agent[0] > 0
    assert (trial_orders(8, at_most=500)[0] == trial_orders(8, at_most=500)[0]).all()
