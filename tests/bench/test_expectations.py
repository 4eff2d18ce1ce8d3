"""Tests of winners and labels by expectation: a case of recorded trials is judged over all orders of these."""

from pathlib import Path

import pytest

from bench.containment.limits import Deadline
from bench.executors.replay import ReplayExecutor, is_observed
from bench.judging.benched_trials import benched_trials
from bench.judging.expectations import expectations
from bench.judging.objective import Objective
from bench.judging.results import CaseResults
from bench.planning.cases import add_cases
from bench.planning.selections import AllActions
from planner.actions import Action, action_from_document
from planner.contracts.bench import BenchCase
from planner.scoring.utility import limit_ms
from tests.bench.test_replay import MINUTE, write_tables

TRIALS: list[tuple[bool, float]] = [(True, 10), (False, 20), (False, 20), (False, 20)]
ONE_ATTEMPT = Action("serial_handoff", 1, 60, 1)
FOUR_AT_ONCE = Action("speculate_vote", 2, 60, 2)


@pytest.fixture
def result(tmp_path: Path) -> CaseResults:
    executor = ReplayExecutor.prepare(write_tables(tmp_path / "tables", {("p", "x"): TRIALS}), n_trials=4)
    case = add_cases([], [], executor.drafts(None, "recorded"), AllActions(), 4, None)[0]
    actions = [action_from_document(action.model_dump()) for action in case.actions]
    outcomes = {a: [executor.execute(case, a, Path("unused"), 0, Deadline(None))] for a in actions}
    return CaseResults(case, outcomes, Objective(), minute_seconds=60.0)


def test_a_lucky_first_trial_wins_in_the_recorded_order_and_not_over_orders(result: CaseResults) -> None:
    recorded = {o.action: o for o in result.action_outcomes(limit_ms(60.0), recorded=True)}
    expected = {o.action: o for o in result.action_outcomes(limit_ms(60.0))}
    assert recorded[ONE_ATTEMPT].passed == 1.0
    assert expected[ONE_ATTEMPT].passed == 0.25
    assert expected[FOUR_AT_ONCE].passed == 1.0
    assert expected[ONE_ATTEMPT].duration_ms == (10 + 20 * 3) / 4 * MINUTE
    assert result.verdict.action != ONE_ATTEMPT
    # Three of four trials cannot be told from four of four, so time decides between these.
    assert result.expected[result.verdict.action].passed == 0.75


def test_an_expectation_is_no_surer_than_the_trials_that_it_rests_on(result: CaseResults) -> None:
    # 1 of 4 trials against 2 of 4 is no proof: the certainty is that of four executions each, not of 24 orders.
    few = expectations(result.case, [ONE_ATTEMPT], 60.0)[ONE_ATTEMPT]
    assert few.trials == 4
    assert result.verdict.confidence < 0.999


def test_a_case_of_an_earlier_ledger_has_no_trials_and_keeps_its_outcomes(result: CaseResults) -> None:
    document = result.case.model_dump(exclude={"trials"}, exclude_unset=True)
    older = CaseResults(BenchCase.model_validate(document), result.outcomes, Objective(), minute_seconds=60.0)
    assert older.expected == {}
    assert older.verdict.action == ONE_ATTEMPT._replace(max_minutes_bin=15)
    assert {o.action: o.passed for o in older.action_outcomes(limit_ms(60.0))}[ONE_ATTEMPT] == 1.0


def test_every_observed_action_has_an_expectation(result: CaseResults) -> None:
    assert set(result.expected) == {action for action in result.outcomes if is_observed(action, 4)}


def test_recorded_trials_become_rows_once_whatever_number_of_actions_used_them(result: CaseResults) -> None:
    rows = benched_trials({"train": [result], "val": [], "test": []})
    assert [(row.tool, row.passed, row.duration_ms, row.split) for row in rows] == [
        ("x", passed, minutes * MINUTE, "train") for passed, minutes in TRIALS
    ]
    assert {row.subject.issue_id for row in rows} == {"p"}


def test_launches_of_a_case_that_was_run_are_known_as_far_as_its_outcome_tells(result: CaseResults) -> None:
    case = BenchCase.model_validate(result.case.model_dump(exclude={"trials"}, exclude_unset=True))
    passed = result.outcomes[FOUR_AT_ONCE][0]
    cut = passed.launches[0].model_copy(update={"exit_code": None, "duration_ms": 5})
    both = [launch.model_copy(update={"exit_code": 0}) for launch in passed.launches[:2]]
    for outcome, wanted in (
        (passed.model_copy(update={"launches": both}), [None, None]),  # which of the two passed is not known
        (passed.model_copy(update={"launches": both[:1]}), [True]),
        (passed.model_copy(update={"launches": both, "passed": False}), [False, False]),
        (passed.model_copy(update={"launches": [cut], "passed": False}), [None]),
    ):
        ran = CaseResults(case, {FOUR_AT_ONCE: [outcome]}, Objective())
        rows = benched_trials({"train": [ran], "val": [], "test": []})
        assert [row.passed for row in rows] == wanted
        assert [row.cut for row in rows] == [launch.exit_code is None for launch in outcome.launches]


def test_a_trial_that_ended_after_the_next_split_began_is_not_learned_from(tmp_path: Path) -> None:
    # Trials of a problem start an hour after one another; agent y's first begins with agent x's.
    tables = write_tables(tmp_path / "tables", {("p", "x"): TRIALS, ("q", "x"): TRIALS})
    executor = ReplayExecutor.prepare(tables, n_trials=4)
    cases = add_cases([], [], executor.drafts(None, "recorded"), AllActions(), 4, None)
    learning, held_out = (CaseResults(case, {}, Objective()) for case in cases)
    rows = benched_trials({"train": [learning], "val": [], "test": [held_out]})
    assert {row.split for row in rows} == {"test"}  # all end after the held-out case was decided
