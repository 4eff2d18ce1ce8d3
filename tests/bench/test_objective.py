"""Tests of the order on outcomes."""

from typing import Any

import pytest

from bench.objective import plan_size, utility, winner
from planner.actions import Action
from planner.contracts import BenchOutcome

SERIAL = Action("serial_handoff", 1, 15, "NA")
LONG = Action("serial_handoff", 1, 60, "NA")
WIDE = Action("speculate_vote", 3, 15, "NA")


def outcome(passed: bool = True, duration_ms: int = 1000, cost: float | None = 1.0, **other: Any) -> BenchOutcome:
    document = {
        "passed": passed,
        "status": "success" if passed else "failed",
        "stopped_by": None,
        "fault": None,
        "duration_ms": duration_ms,
        "agent_ms": duration_ms,
        "cost_usd": cost,
        "gates": [],
        "fail_codes": [],
        "exit_code": 0,
        "launches": [],
        "executed_plan": None,
    }
    return BenchOutcome.model_validate(document | other)


FAULT = outcome(False, status="fault", fault="no clone")


def test_gates_come_before_duration_and_cost() -> None:
    assert winner([(SERIAL, outcome(False, 10, 0.0)), (WIDE, outcome(True, 9000, 9.0))]) == WIDE


def test_the_faster_of_two_that_pass_wins_whatever_it_costs() -> None:
    assert winner([(SERIAL, outcome(duration_ms=2000, cost=0.1)), (WIDE, outcome(duration_ms=1000, cost=0.9))]) == WIDE


def test_noise_in_the_duration_does_not_beat_a_lower_cost() -> None:
    assert (
        winner([(WIDE, outcome(duration_ms=1000, cost=0.5)), (SERIAL, outcome(duration_ms=1010, cost=0.2))]) == SERIAL
    )


def test_an_unknown_cost_comes_last() -> None:
    assert winner([(SERIAL, outcome(cost=None)), (WIDE, outcome(cost=5.0))]) == WIDE


def test_of_equals_the_smaller_plan_wins_in_whatever_order_they_come() -> None:
    executions = [(WIDE, outcome()), (LONG, outcome()), (SERIAL, outcome())]
    assert winner(executions) == winner(executions[::-1]) == SERIAL


def test_faults_never_win_and_leave_no_winner_when_alone() -> None:
    assert winner([(SERIAL, FAULT), (WIDE, outcome(False))]) == WIDE
    assert winner([(SERIAL, FAULT), (WIDE, FAULT)]) is None
    assert winner([]) is None


def test_repeats_count_by_their_share_of_passes() -> None:
    lucky = [(SERIAL, outcome(True, 10)), (SERIAL, outcome(False, 10))]
    steady = [(WIDE, outcome(True, 9000)), (WIDE, outcome(True, 9000))]
    assert winner(lucky + steady) == WIDE


def test_plan_size_multiplies_the_budgets() -> None:
    assert plan_size(WIDE) == 45
    assert plan_size(Action("speculate_vote", "NA", "NA", 3)) == 3


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (outcome(True, 0), 1.0),
        (outcome(True, 500), 1 - 0.05 - 0.1 * 500 / 3000),
        (outcome(True, 10**9), 0.8),
        (outcome(False, 10**9), -0.2),
    ],
)
def test_utility_is_passing_minus_clipped_shares_of_the_limit(result: BenchOutcome, expected: float) -> None:
    assert utility(result, 1000) == pytest.approx(expected)
