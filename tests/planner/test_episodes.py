"""Tests of episodes: sequences of plans on recorded trials, one by one and over orders, and on draws of a model."""

import itertools
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.policies.trial_draws import Draws, Latents, Residuals, expected_plans
from planner.scoring.episodes import expected_sequences, observed_sequences, sequence_outcomes
from planner.scoring.plan_outcome import Plan
from tests.planner.test_plan_outcome import step_by_step

PLANS = [Plan(s, c, n, m) for s, c, n, m in itertools.product([False, True], [1, 2], [1, 2], [6.0, 20.0])]
trials = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), min_size=5, max_size=5)


def run_by_run(sequence: tuple[Plan, ...], came: list[tuple[bool, float]]) -> tuple[bool, float, float]:
    """Pass, wall and agent time of an episode, as a person would go through it."""
    wall, agent = 0.0, 0.0
    for plan in sequence:
        passed, more_wall, more_agent = step_by_step(plan, came)
        wall, agent, came = wall + more_wall, agent + more_agent, came[plan.n_trials :]
        if passed:
            return True, wall, agent
    return False, wall, agent


@given(trials)
@settings(max_examples=25, deadline=None)
def test_an_episode_over_orders_is_the_mean_of_going_through_each_order_run_by_run(
    came: list[tuple[bool, float]],
) -> None:
    sequences = [
        *observed_sequences(PLANS, 1, 5)[:4],
        *observed_sequences(PLANS, 2, 5)[::7],
        *observed_sequences(PLANS, 3, 5)[::29],
    ]
    found = expected_sequences(sequences, [p for p, _ in came], [t for _, t in came])
    orders = [[came[at] for at in order] for order in itertools.permutations(range(5))]
    for at, sequence in enumerate(sequences):
        each = [run_by_run(sequence, order) for order in orders]
        assert found.passed[at] == pytest.approx(fmean(p for p, _, _ in each))
        assert found.wall[at] == pytest.approx(fmean(w for _, w, _ in each))
        assert found.agent[at] == pytest.approx(fmean(a for _, _, a in each))


def test_only_sequences_that_the_trials_are_enough_for_are_observed() -> None:
    found = observed_sequences(PLANS, 2, 3)
    assert found and all(sum(plan.n_trials for plan in sequence) <= 3 for sequence in found)
    assert (Plan(True, 2, 1, 6.0), Plan(False, 1, 1, 6.0)) in found


def test_a_first_failure_makes_a_second_one_likelier_where_cases_differ() -> None:
    """Half of the draws always pass and half never do: who failed once fails again."""
    plan = Plan(False, 1, 1, 60.0)
    passed = np.repeat([[1.0], [0.0]], 2, axis=1)
    once, twice = sequence_outcomes([(plan,), (plan, plan)], passed, np.ones((2, 2)), np.ones((2, 2))).passed
    assert (once, twice) == (0.5, 0.5)


def test_a_models_episode_agrees_with_playing_it_many_times() -> None:
    latents = Latents(np.array([0.3, 2.0, 2.5]).reshape(3, 1, 1), np.array([2.0, 0.2, 0.2]).reshape(3, 1, 1, 1))
    residuals = Residuals(np.linspace(-0.6, 0.6, 9), np.linspace(-0.6, 0.6, 9))
    first, second = Plan(True, 2, 1, 10.0), Plan(False, 1, 2, 30.0)
    found = expected_plans(latents, Draws.make(residuals, 2, 3, n=4000), [(first, second)])
    draw = np.random.default_rng(5)
    played: list[tuple[bool, float, float]] = []
    for _ in range(6000):
        logit, if_passed, if_failed = (float(draw.normal(m, v**0.5)) for m, v in ((0.3, 2.0), (2.0, 0.2), (2.5, 0.2)))
        came: list[tuple[bool, float]] = []
        for _ in range(4):
            passes = bool(draw.random() < 1 / (1 + np.exp(-logit)))
            came.append((passes, float(np.exp((if_passed if passes else if_failed) + draw.uniform(-0.6, 0.6)))))
        played.append(run_by_run((first, second), came))
    means = np.array(played, dtype=float).mean(axis=0)
    assert [kind[0, 0] for kind in found] == pytest.approx(means.tolist(), rel=0.04)
