"""Tests of the choice of actions."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.candidates import CandidateSampler, PlanLimits, concrete_actions
from planner.actions import Action, ActionSpace

CODE = ActionSpace.default(["serial_handoff", "speculate_vote"])
DEFAULTS = st.sampled_from(CODE.valid_actions("code"))


@given(default=DEFAULTS, n_actions=st.integers(1, 30), seed=st.integers(0, 2**32), case=st.text(max_size=8))
def test_a_case_gets_k_distinct_valid_actions_of_which_the_first_is_the_default(
    default: Action, n_actions: int, seed: int, case: str
) -> None:
    actions = CandidateSampler(seed).choose(concrete_actions(CODE, "code"), default, case, n_actions)
    available = len({default, *concrete_actions(CODE, "code")})
    assert actions[0] == default
    assert len(actions) == len(set(actions)) == min(n_actions, available)
    assert all(CODE.is_valid(action, "code") for action in actions)


@given(default=DEFAULTS, n_actions=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_actions(default: Action, n_actions: int, seed: int) -> None:
    pool = concrete_actions(CODE, "code")
    first, second = (
        [CandidateSampler(seed).choose(order, default, "case", n_actions) for _ in range(2)]
        for order in (pool, pool[::-1])
    )
    assert first == second


def test_another_seed_gives_other_actions() -> None:
    pool = concrete_actions(CODE, "code")
    default = pool[0]
    assert len({tuple(CandidateSampler(seed).choose(pool, default, "case", 4)) for seed in range(20)}) > 10


@pytest.mark.parametrize("n_actions", [2, 4, 6])
def test_over_a_bench_every_stratum_and_every_minute_bin_is_met_about_equally_often(n_actions: int) -> None:
    sampler = CandidateSampler(0)
    pool = concrete_actions(CODE, "code")
    default = Action("serial_handoff", 1, 60, "NA")
    chosen = [a for case in range(40) for a in sampler.choose(pool, default, str(case), n_actions)[1:]]
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
    limits = PlanLimits(max_candidates=2, max_minutes=45)
    allowed = [action for action in concrete_actions(CODE, "code") if limits.allow(action)]
    assert {action.max_candidates_bin for action in allowed} == {1, 2}
    assert {action.max_minutes_bin for action in allowed} == {15, 30, 45}
