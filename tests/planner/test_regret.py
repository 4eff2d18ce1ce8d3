"""Outcomes of several actions per example, and regret over them, with numbers worked out by hand."""

import numpy as np
import pytest

from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import UNKNOWN_MS, ActionOutcome, Outcomes, make_outcomes, outcomes_of
from planner.errors import ActionError
from planner.evaluation.regret import best_per_case, chosen_rows, fixed_choices, policy_preference, score, single_best

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


def test_the_single_best_action_is_judged_against_its_own_cases() -> None:
    # Serial was tried on the easy case only; there it was worse than the vote.
    learning = make_outcomes(
        [[outcome(SERIAL, 0.8), outcome(VOTE, 0.9)], [outcome(VOTE, 0.1), outcome(LONG, -0.1)]], SPACE
    )
    outcomes = three_examples()
    chosen = chosen_rows(single_best(learning, outcomes).of_action, outcomes)
    assert [SPACE.action(row) for row in outcomes.actions[chosen].tolist()] == [VOTE, VOTE]


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
