"""Outcomes of several actions per example, and regret over them, with numbers worked out by hand."""

import math

import numpy as np
import pytest

from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import UNKNOWN_MS, ActionOutcome, Outcomes, make_outcomes, outcomes_of
from planner.errors import ActionError
from planner.scoring.metric import cell, columns
from planner.scoring.preferences import Preference, best_per_case, fixed_choices, policy_preference, uniform
from planner.scoring.regret import chosen_rows, regret_won, score
from planner.scoring.utility import DEFAULT_METRICS

SPACE = ActionSpace.default(("serial_handoff", "speculate_vote"))
SERIAL, VOTE = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
LONG = SERIAL._replace(max_minutes_bin=120)


def outcome(action: Action, utility: float | None, passed: float = 1.0, ms: int = 1000) -> ActionOutcome:
    return ActionOutcome(action, passed, ms, None if utility is None else 2 * ms, False, utility)


def three_examples() -> Outcomes:
    """Serial is better, then the vote is, and of the third a single action was executed."""
    return make_outcomes(
        [
            [outcome(VOTE, 0.7), outcome(SERIAL, 0.9, ms=3000)],
            [outcome(SERIAL, -0.1, 0.0), outcome(VOTE, 0.8, ms=5000), outcome(LONG, 0.6)],
            [outcome(SERIAL, None)],
        ],
        SPACE,
    )


def test_outcomes_are_kept_in_the_order_of_the_action_space_whatever_order_they_come_in() -> None:
    outcomes = three_examples()
    assert outcomes.bounds.tolist() == [0, 2, 5, 6]
    assert [SPACE.action(row) for row in outcomes.actions[:5].tolist()] == [SERIAL, VOTE, SERIAL, LONG, VOTE]
    assert outcomes.example.tolist() == [0, 0, 1, 1, 1, 2]
    assert outcomes.comparable.tolist() == [True, True, False]
    assert outcomes.agent_ms[-1] == UNKNOWN_MS
    again = outcomes_of(outcomes.arrays())
    assert all(np.array_equal(getattr(again, name), a, equal_nan=True) for name, a in outcomes.arrays().items())


def test_outcomes_that_do_not_fit_together_or_into_the_space_are_refused() -> None:
    broken = three_examples().arrays() | {"passed": np.zeros(5, dtype=np.float32)}
    with pytest.raises(ValueError, match="differ in length"):
        outcomes_of(broken)
    with pytest.raises(ActionError, match="not in the action space"):
        make_outcomes([[outcome(SERIAL._replace(max_minutes_bin=7), 0.5)]], SPACE)


def test_a_fixed_choice_loses_what_the_best_executed_action_had_over_it() -> None:
    outcomes = three_examples()
    always_serial = score("serial", fixed_choices([SERIAL] * 3, outcomes, SPACE), outcomes)
    assert always_serial.cases == 2
    assert always_serial.regret == pytest.approx((0.0 + 0.9) / 2)
    assert (always_serial.pass_rate, always_serial.pass_regret) == (0.5, 0.5)
    assert (always_serial.mean_time_s, always_serial.mean_agent_time_s) == (2.0, 4.0)
    assert always_serial.free_choice == 1.0
    never_tried = score("other", fixed_choices([VOTE._replace(max_candidates_bin=3)] * 3, outcomes, SPACE), outcomes)
    assert never_tried.free_choice == 0.0
    assert score("best", best_per_case(outcomes), outcomes).regret == 0


def test_a_policy_takes_its_favourite_among_the_executed_actions_and_tells_when_it_had_another() -> None:
    outcomes = three_examples()
    valid = SPACE.valid_actions("code")
    joint = np.full((3, len(valid)), np.log(1e-3))
    joint[0, valid.index(VOTE)] = np.log(0.5)
    joint[1, valid.index(VOTE._replace(max_minutes_bin=120))] = np.log(0.6)
    joint[1, valid.index(LONG)] = np.log(0.2)
    preference = policy_preference(lambda rows, job_type: joint[rows], SPACE, ["code"] * 3, outcomes, SPACE)
    chosen = chosen_rows(preference.of_action, outcomes)
    assert [SPACE.action(row) for row in outcomes.actions[chosen].tolist()] == [VOTE, LONG]
    assert preference.favourite_executed is not None
    assert preference.favourite_executed.tolist()[:2] == [True, False]


def capped(action: Action, bound: float, ms: int = 4000) -> ActionOutcome:
    return ActionOutcome(action, math.nan, ms, 2 * ms, True, bound, capped=True)


def timed(action: Action, passed: float, ms: int, agent_ms: int, cost: float | None = None) -> ActionOutcome:
    return ActionOutcome(action, passed, ms, agent_ms, False, passed - ms / 100_000, cost_usd=cost)


def test_regrets_come_in_order_and_times_count_only_where_the_chosen_action_passes() -> None:
    outcomes = make_outcomes(
        [
            # The serial plan passes 3 s later than the vote and 8 s of agents below it; the failure is no measure.
            [timed(SERIAL, 1, 5000, 5000, 0.3), timed(VOTE, 1, 2000, 13_000, 0.5), timed(LONG, 0, 100, 100, 0.01)],
            # Here it fails.
            [timed(SERIAL, 0, 1000, 1000, 0.1), timed(VOTE, 1, 9000, 9000, 0.2)],
            # Here it passes 2 of 3 times; nobody told what the other cost.
            [timed(SERIAL, 2 / 3, 7000, 7000, 0.4), timed(VOTE, 1, 1000, 2000)],
        ],
        SPACE,
    )
    found = score("serial", fixed_choices([SERIAL] * 3, outcomes, SPACE), outcomes)
    assert found.pass_rate == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert found.pass_regret == pytest.approx((0 + 1 + 1 / 3) / 3)
    assert found.passing_cases == 2
    assert found.time_regret_s == pytest.approx((3 + 6) / 2)
    assert found.agent_regret_s == pytest.approx((0 + 5) / 2)
    assert found.dollar_regret == pytest.approx(0.0)
    vote = score("vote", fixed_choices([VOTE] * 3, outcomes, SPACE), outcomes)
    assert (vote.pass_regret, vote.time_regret_s, vote.regret) == (0, 0, vote.regret_at_most)
    assert vote.agent_regret_s == pytest.approx(8 / 3)
    # Of the last case the vote's dollars are not known.
    assert vote.dollar_regret == pytest.approx((0.2 + 0.0) / 2)
    assert found.regret == pytest.approx(((0.98 - 0.95) + (0.91 + 0.01) + (0.99 - (2 / 3 - 0.07))) / 3, rel=1e-5)
    for name in ("pass_regret", "time_regret_s", "agent_regret_s", "regret"):
        assert getattr(found, f"{name}_low") <= getattr(found, name) <= getattr(found, f"{name}_high")
    never = score("fails", fixed_choices([SERIAL] * 3, outcomes, SPACE), outcomes, examples=np.array([0, 1, 0]) > 0)
    assert (never.passing_cases, never.time_regret_s, never.agent_regret_s, never.dollar_regret) == (
        0,
        None,
        None,
        None,
    )


def test_a_capped_choice_counts_as_unknown_and_its_regret_as_bounds() -> None:
    outcomes = make_outcomes(
        [
            [timed(SERIAL, 1, 1000, 1000), capped(VOTE, 0.9)],
            [timed(SERIAL, 1, 1000, 1000), timed(VOTE, 0, 1000, 2000)],
            # A bound above what ran to its end tells nothing.
            [timed(SERIAL, 1, 50_000, 1000), capped(VOTE, 0.95)],
        ],
        SPACE,
    )
    assert outcomes.comparable.all()
    found = score("vote", fixed_choices([VOTE] * 3, outcomes, SPACE), outcomes)
    assert found.capped_choices == 2
    assert found.pass_rate == 0
    assert found.pass_regret == pytest.approx((0 + 1 + 0) / 3)
    assert found.regret == pytest.approx((0.99 - 0.9 + 0.99 + 0.01 + 0.0) / 3, rel=1e-5)
    # Had the capped ones failed in the end: a failure that used up all time is worth -0.2 by the default objective.
    by_default = score("vote", fixed_choices([VOTE] * 3, outcomes, SPACE), outcomes, metrics=DEFAULT_METRICS)
    assert by_default.regret_at_most == pytest.approx((0.99 + 0.2 + 0.99 + 0.01 + 0.5 + 0.2) / 3, rel=1e-5)
    assert found.regret_at_most == pytest.approx(by_default.regret_at_most + 2 * 0.1 / 3, rel=1e-5)
    assert found.pass_regret_at_most == 1
    assert found.regret_low <= found.regret < found.regret_at_most <= found.regret_high
    assert (found.passing_cases, found.time_regret_s) == (0, None)
    best = score("best", best_per_case(outcomes), outcomes)
    assert (best.regret, best.capped_choices, best.pass_rate) == (0, 0, 1)
    assert not make_outcomes([[capped(SERIAL, 0.9), capped(VOTE, 0.9)]], SPACE).comparable.any()


def test_a_choice_that_was_capped_everywhere_has_bounds_instead_of_a_regret_of_nought() -> None:
    """Its bound lies above what ran to its end, so that it may be the best there is, or lose a pass."""
    outcomes = make_outcomes([[timed(SERIAL, 1, 50_000, 1000), capped(VOTE, 0.95)]] * 12, SPACE)
    vote, serial = (fixed_choices([action] * 12, outcomes, SPACE) for action in (VOTE, SERIAL))
    found = score("vote", vote, outcomes, metrics=DEFAULT_METRICS)
    assert (found.regret, found.regret_at_most) == (0, pytest.approx(0.7))
    assert (found.regret_low, found.regret_high) == (0, pytest.approx(0.7))
    row = found.to_json()
    shown = {metric.key: cell(metric, row) for metric in columns("bench")}
    assert (shown["regret"], shown["pass_regret"]) == ("0 to 0.7 [0, 0.7]", "0 to 1 [0, 1]")
    exact = score("serial", serial, outcomes).to_json()
    assert cell(next(m for m in columns("bench") if m.key == "regret"), exact) == "0 [0, 0]"
    # What wins over it may win nothing, or a pass; against itself nothing is open.
    won = regret_won(vote, serial, outcomes, metrics=DEFAULT_METRICS)
    assert won == (0, pytest.approx(0.7), 0, pytest.approx(0.7))
    lost = regret_won(serial, vote, outcomes, metrics=DEFAULT_METRICS)
    assert lost == (pytest.approx(-0.7), 0, pytest.approx(-0.7), 0)
    assert regret_won(vote, vote, outcomes) == (0, 0, 0, 0)
    half = Preference(np.zeros(24), shares=np.full(24, 0.5))
    assert regret_won(vote, half, outcomes, metrics=DEFAULT_METRICS)[:2] == (0, pytest.approx(0.35))


def test_a_random_choice_is_judged_by_its_expectation() -> None:
    outcomes = make_outcomes(
        [
            [timed(SERIAL, 1, 1000, 1000), timed(VOTE, 1, 5000, 9000), timed(LONG, 0, 1000, 1000)],
            [timed(SERIAL, 1, 2000, 2000), capped(VOTE, 0.9)],
        ],
        SPACE,
    )
    found = score("random", uniform(outcomes), outcomes)
    # Of the second case only half the choice ended.
    assert found.pass_rate == pytest.approx((2 / 3 + 1 / 2) / (1 + 1 / 2))
    assert found.passing_cases == pytest.approx(2 / 3 + 1 / 2)
    assert found.time_regret_s == pytest.approx((4 / 3) / (2 / 3 + 1 / 2))
    assert found.capped_choices == pytest.approx(1 / 2)
    assert found.regret == pytest.approx(((0.04 + 1.0) / 3 + (0.98 - 0.9) / 2) / 2, rel=1e-5)


def test_examples_of_one_problem_are_drawn_together() -> None:
    pairs = [[outcome(SERIAL, 0.9), outcome(VOTE, 0.4)]] * 20 + [[outcome(SERIAL, 0.4), outcome(VOTE, 0.9)]] * 20
    outcomes = make_outcomes(pairs, SPACE)
    always = fixed_choices([SERIAL] * 40, outcomes, SPACE)
    apart = score("serial", always, outcomes)
    together = score("serial", always, outcomes, clusters=np.repeat([0, 1], 20))
    assert apart.regret == together.regret == pytest.approx(0.25)
    assert (together.regret_low, together.regret_high) == pytest.approx((0, 0.5))
    assert apart.regret_low > 0.1 and apart.regret_high < 0.4


def test_regret_won_is_the_difference_on_the_same_examples() -> None:
    outcomes = three_examples()
    serial, vote = (fixed_choices([action] * 3, outcomes, SPACE) for action in (SERIAL, VOTE))
    assert regret_won(serial, vote, outcomes)[0] == pytest.approx((0.9 - 0.2) / 2, rel=1e-5)
    assert regret_won(vote, vote, outcomes) == (0, 0, 0, 0)
    shared = Preference(serial.of_action, shares=uniform(outcomes).shares)
    assert regret_won(shared, vote, outcomes)[0] == pytest.approx((0.1 + (0.9 + 0.2) / 3) / 2 - 0.2 / 2, rel=1e-5)


def test_outcomes_of_an_earlier_program_have_no_capped_actions() -> None:
    arrays = three_examples().arrays()
    del arrays["capped"], arrays["cost_usd"]
    assert not outcomes_of(arrays).capped.any()
    assert np.isnan(outcomes_of(arrays).cost_usd).all()
