"""Tests of the choice of actions."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.planning.selections import AllActions, Choice, Coverage, PlanLimits, concrete_actions, runnable_actions
from planner.actions import Action, ActionSpace

CODE = ActionSpace.default(["serial_handoff", "speculate_vote"])
DEFAULTS = st.sampled_from(CODE.valid_actions("code"))
DEFAULT = Action("serial_handoff", 1, 60, "NA")


def choice(default: Action = DEFAULT, case_id: str = "case", **fields: Any) -> Choice:
    return Choice(case_id, {}, default, **{"pool": concrete_actions(CODE, "code"), **fields})


@given(default=DEFAULTS, n_actions=st.integers(1, 30), seed=st.integers(0, 2**32), case=st.text(max_size=8))
def test_a_case_gets_k_distinct_valid_actions_of_which_the_first_is_the_default(
    default: Action, n_actions: int, seed: int, case: str
) -> None:
    actions = Coverage(seed).choose(choice(default, case), n_actions)
    available = len({default, *concrete_actions(CODE, "code")})
    assert actions[0] == default
    assert len(actions) == len(set(actions)) == min(n_actions, available)
    assert all(CODE.is_valid(action, "code") for action in actions)


@given(default=DEFAULTS, n_actions=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_actions(default: Action, n_actions: int, seed: int) -> None:
    pool = concrete_actions(CODE, "code")
    first, second = (
        [Coverage(seed).choose(choice(default, pool=order), n_actions) for _ in range(2)]
        for order in (pool, pool[::-1])
    )
    assert first == second


def test_another_seed_gives_other_actions() -> None:
    assert len({tuple(Coverage(seed).choose(choice(), 4)) for seed in range(20)}) > 10


@pytest.mark.parametrize("n_actions", [2, 4, 6])
def test_over_a_bench_every_stratum_and_every_minute_bin_is_met_about_equally_often(n_actions: int) -> None:
    sampler = Coverage(0)
    chosen = [a for case in range(40) for a in sampler.choose(choice(case_id=str(case)), n_actions)[1:]]
    strata = Counter((action.swarm_id, action.max_candidates_bin) for action in chosen)
    speculative = [count for stratum, count in strata.items() if stratum[0] == "speculate_vote"]
    assert max(speculative) - min(speculative) <= 2
    minutes = Counter(action.max_minutes_bin for action in chosen if action.swarm_id == "speculate_vote")
    assert set(minutes) == {15, 30, 45, 60, 120}
    assert max(minutes.values()) - min(minutes.values()) <= 3


def test_no_action_leaves_to_cyntra_what_it_could_say() -> None:
    assert {action.max_iterations_bin for action in concrete_actions(CODE, "code")} == {"NA"}
    assert all("NA" not in action[1:3] for action in concrete_actions(CODE, "code"))
    assert all("NA" not in action for action in concrete_actions(CODE, "fab-world"))


def test_limits_exclude_plans_that_would_run_as_smaller_ones() -> None:
    allowed = runnable_actions(CODE, "code", PlanLimits(max_candidates=2, max_minutes=45))
    assert {action.max_candidates_bin for action in allowed} == {1, 2}
    assert {action.max_minutes_bin for action in allowed} == {15, 30, 45}


def test_plans_that_execute_identically_after_caps_are_one_plan() -> None:
    limits = PlanLimits(max_candidates=2, max_minutes=45)
    pool = runnable_actions(CODE, "code", limits)
    default = Action("speculate_vote", 3, 120, "NA")
    actions = AllActions().choose(choice(default, pool=pool, limits=limits), 1)
    assert actions[0] == default and Action("speculate_vote", 2, 45, "NA") not in actions
    assert len({limits.effective(action) for action in actions}) == len(actions) == len(pool)


@given(default=DEFAULTS, executed=DEFAULTS, n_actions=st.integers(2, 8))
def test_the_executed_plan_is_always_tried(default: Action, executed: Action, n_actions: int) -> None:
    actions = Coverage(0).choose(choice(default, executed=executed), n_actions)
    assert actions[0] == default and executed in actions and len(set(actions)) == n_actions


def test_all_takes_every_runnable_action_once_whatever_k_says() -> None:
    actions = AllActions().choose(choice(), 2)
    assert sorted(actions) == sorted(concrete_actions(CODE, "code")) and actions[0] == DEFAULT
