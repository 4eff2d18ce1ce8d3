"""Tests of the order on outcomes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from bench.judging.cap_margin import DEFAULT_SPREAD, CapMargin, ToolSpread
from bench.judging.objective import Objective, cap_ms, chance_to_pass_more, judge, plan_size
from planner.actions import Action
from planner.artifacts.universe import Universe
from planner.contracts.bench import BenchOutcome

SERIAL = Action("serial_handoff", 1, 15, "NA")
LONG = Action("serial_handoff", 1, 60, "NA")
WIDE = Action("speculate_vote", 3, 15, "NA")


def outcome(passed: bool = True, duration_ms: int = 1000, cost: float | None = 1.0, **other: Any) -> BenchOutcome:
    document: dict[str, Any] = {
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


DEFAULT = Objective()


def winner(executions: Sequence[tuple[Action, BenchOutcome]], objective: Objective = DEFAULT) -> Action | None:
    verdict = judge(executions, objective)
    return None if verdict is None else verdict.action


def times(action: Action, *durations: int, **fields: Any) -> list[tuple[Action, BenchOutcome]]:
    return [(action, outcome(duration_ms=duration, **fields)) for duration in durations]


def passes(action: Action, n_passes: int, n: int, **fields: Any) -> list[tuple[Action, BenchOutcome]]:
    return [(action, outcome(index < n_passes, **fields)) for index in range(n)]


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
    verdict = judge(executions, DEFAULT)
    assert verdict is not None and set(verdict.equals) == {WIDE, LONG, SERIAL} and verdict.confidence == 0.5


def test_faults_never_win_and_leave_no_winner_when_alone() -> None:
    assert winner([(SERIAL, FAULT), (WIDE, outcome(False))]) == WIDE
    assert winner([(SERIAL, FAULT), (WIDE, FAULT)]) is None
    assert winner([]) is None


def test_a_capped_action_never_wins() -> None:
    capped = outcome(False, 10, 0.0, status="stopped_early", stopped_by="capped")
    assert winner([(SERIAL, capped), (WIDE, outcome(duration_ms=9))]) == WIDE
    assert winner([*times(SERIAL, 1, 1), (SERIAL, capped), *times(WIDE, 9, 9, 9)]) == WIDE


CAPPED = outcome(False, 1100, None, status="stopped_early", stopped_by="capped")


def decided(executions: Sequence[tuple[Action, BenchOutcome]]) -> tuple[str, float]:
    verdict = judge(executions, DEFAULT)
    assert verdict is not None and verdict.to_json()["decided_by"] == verdict.decided_by
    return verdict.decided_by, round(verdict.confidence, 3)


def test_whether_a_capped_rival_would_have_passed_is_open_so_its_winner_is_not_sure() -> None:
    # One pass against a rate of which nothing is known: the mean of 1/2, had the rival passed, and 5/6, had it failed.
    assert decided([(SERIAL, outcome()), (WIDE, CAPPED), (LONG, CAPPED)]) == ("time_bound", 0.667)
    # Of a rival that passed twice before it was capped, two passes are known.
    known = [*times(WIDE, 900, 900), (WIDE, CAPPED)]
    assert decided(times(SERIAL, 100, 100, 100) + known) == ("time_bound", 0.571)
    assert decided(times(SERIAL, 100, 100, 100) + times(WIDE, 900, 900, 900)) == ("time_bound", 0.5)


def test_a_verdict_says_whether_passes_time_or_nothing_set_its_winner_apart() -> None:
    failed, slow = outcome(False), outcome(duration_ms=9000)
    assert decided([(SERIAL, outcome()), (WIDE, failed)]) == ("passes", 0.833)
    # An equal of the winner changes nothing: of the others each failed, or one may have passed as well.
    assert decided([(SERIAL, outcome()), (LONG, outcome()), (WIDE, failed)]) == ("passes", 0.5)
    assert decided([(SERIAL, outcome()), (LONG, failed), (WIDE, slow)]) == ("time_bound", 0.5)
    assert decided([(SERIAL, outcome()), (LONG, failed), (WIDE, CAPPED)]) == ("time_bound", 0.667)
    assert decided([(SERIAL, outcome()), (LONG, outcome())])[0] == "unknown"
    assert decided([(SERIAL, failed), (LONG, outcome(False, 9000))])[0] == "unknown"
    assert decided([(SERIAL, outcome()), (LONG, FAULT)])[0] == "unknown"


@pytest.mark.parametrize(
    ("wide", "serial", "better"),
    [
        ((1, 1), (0, 1), WIDE),
        ((2, 2), (1, 2), SERIAL),
        ((2, 2), (0, 2), WIDE),
        ((5, 5), (4, 5), SERIAL),
        ((5, 5), (3, 5), WIDE),
    ],
)
def test_one_pass_more_decides_only_where_it_tells_the_actions_apart(
    wide: tuple[int, int], serial: tuple[int, int], better: Action
) -> None:
    assert winner(passes(WIDE, *wide) + passes(SERIAL, *serial)) == better


def test_the_confidence_is_the_chance_to_pass_more_often_than_the_strongest_rival() -> None:
    verdict = judge(passes(WIDE, 2, 2) + passes(SERIAL, 0, 2) + passes(LONG, 1, 2, duration_ms=9000), DEFAULT)
    assert verdict is not None and verdict.action == WIDE and verdict.confidence == pytest.approx(0.8)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6))
def test_the_chance_to_pass_more_is_that_of_the_beta_distributions(a: int, b: int, c: int, d: int) -> None:
    ours = chance_to_pass_more((a, a + b), (c, c + d))
    assert ours + chance_to_pass_more((c, c + d), (a, a + b)) == 1
    grid = (np.arange(20000) + 0.5) / 20000
    density = beta.pdf(grid, a + 1, b + 1) * beta.cdf(grid, c + 1, d + 1)
    assert float(ours) == pytest.approx(density.mean(), abs=2e-3)


def test_a_mean_within_the_others_error_is_its_equal() -> None:
    noisy = times(WIDE, 500, 1000, 1500)
    assert winner(noisy + times(SERIAL, 1200, 1200, 1200)) == SERIAL
    assert winner(noisy + times(SERIAL, 1300, 1300, 1300)) == WIDE
    assert winner(times(WIDE, 1000, 1000, 1000) + times(SERIAL, 1200, 1200, 1200)) == WIDE


def test_the_universes_objective_decides_what_comes_after_passing() -> None:
    cheap, quick = times(LONG, 9000, cost=0.1), times(WIDE, 1000, cost=9.0)
    universe = Universe("u", None, "thrift", {}, {"thrift": {"metrics": {"cost_usd": "min", "novelty": "max"}}})
    thrift = Objective.of_universe(universe)
    assert thrift.metrics == (("cost_usd", "min"),)
    assert (winner(cheap + quick), winner(cheap + quick, thrift)) == (WIDE, LONG)
    assert Objective.from_document(thrift.to_document()) == thrift
    assert Objective.of_universe(universe, "unknown") == DEFAULT


def test_a_worlds_score_counts_as_large_as_the_objective_wants_it_and_code_runs_have_none() -> None:
    objective = Objective((("overall", "max"), ("duration_ms", "min")))
    low, high = times(SERIAL, 1000, score=0.4), times(WIDE, 5000, score=0.8)
    assert winner(low + high, objective) == WIDE
    assert winner(low + high, objective.for_job("code")) == SERIAL
    assert objective.for_job("code").time_decides_first and not objective.time_decides_first


PLANS = [SERIAL, LONG, WIDE, Action("speculate_vote", 2, 30, "NA")]


@given(
    st.integers(1, 3).flatmap(
        lambda repeats: st.lists(
            st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=repeats, max_size=repeats),
            min_size=4,
            max_size=4,
        )
    )
)
@settings(max_examples=500)
def test_capping_changes_no_winner(runs: list[list[tuple[bool, int]]]) -> None:
    repeats = len(runs[0])
    whole = {plan: [outcome(p, d) for p, d in group] for plan, group in zip(PLANS, runs, strict=True)}
    capped: dict[Action, list[BenchOutcome]] = {}
    for plan, group in whole.items():
        for full in group:
            cap = cap_ms(capped, plan, repeats, DEFAULT)
            cut_off = cap is not None and full.duration_ms > cap
            short = outcome(False, cap or 0, None, status="stopped_early", stopped_by="capped")
            capped.setdefault(plan, []).append(short if cut_off else full)
    assert winner([(a, o) for a, group in capped.items() for o in group]) == winner(
        [(a, o) for a, group in whole.items() for o in group]
    )


def test_there_is_no_cap_where_something_else_than_time_decides_or_nothing_has_passed() -> None:
    failed, passed = {SERIAL: [outcome(False)]}, {SERIAL: [outcome(duration_ms=1000)]}
    assert cap_ms(failed, WIDE, 1, DEFAULT) is None
    assert cap_ms(passed, SERIAL, 1, DEFAULT) is None
    assert cap_ms(passed, WIDE, 2, DEFAULT) is None
    assert cap_ms(passed, WIDE, 1, Objective((("cost_usd", "min"), ("duration_ms", "min")))) is None
    assert cap_ms(passed, WIDE, 1, DEFAULT) == 1101
    assert cap_ms({SERIAL: [outcome(duration_ms=1000)] * 2, WIDE: [outcome(False, 900)]}, WIDE, 2, DEFAULT) == 1301


def launched(duration_ms: int, tool: str = "t", exit_code: int | None = 0, **fields: Any) -> BenchOutcome:
    launch = {"tool": tool, "started_ms": 0, "duration_ms": duration_ms, "exit_code": exit_code, "cost_usd": None}
    return outcome(duration_ms=duration_ms, launches=[launch], **fields)


def test_a_cap_leaves_the_kernels_start_up_and_the_tools_spread_to_noise() -> None:
    passed = {SERIAL: [launched(1000)]}
    assert cap_ms(passed, WIDE, 1, DEFAULT) == 1101
    assert cap_ms(passed, WIDE, 1, DEFAULT, CapMargin(start_ms=650)) == 1751
    # A spread of .4 in both runs: 0.842 (80 % certainty) * 0.4 * sqrt(2) of the mean, instead of the tolerance's tenth.
    assert cap_ms(passed, WIDE, 1, DEFAULT, CapMargin(650, {"t": 0.4})) == 1000 + 476 + 650 + 1
    assert cap_ms(passed, WIDE, 1, DEFAULT, CapMargin(0, {"t": 0.01})) == 1101
    # With repeats the mean is surer, and both count once for each of them.
    twice = {SERIAL: [launched(1000)] * 2, WIDE: [launched(900, passed=False)]}
    assert cap_ms(twice, WIDE, 2, DEFAULT, CapMargin(100, {"t": 0.4})) == 2 * (1000 + 100) + 673 - 900 + 1
    # The spread of whatever tool the case has met: the rival may be of that one.
    other = {**passed, LONG: [launched(3000, "wild", passed=False)]}
    assert cap_ms(other, WIDE, 1, DEFAULT, CapMargin(0, {"t": 0.1, "wild": 1.0})) == 1000 + 1190 + 1


def test_a_tools_spread_is_that_of_its_launches_on_one_case_drawn_to_the_default_while_few_are_known() -> None:
    spread = ToolSpread()
    assert spread.of_tools() == {}
    for case, times_ms in (("easy", (1000, 1000, 1000)), ("hard", (60_000, 60_000))):
        for time_ms in times_ms:
            spread.add(case, launched(time_ms))
    # Cases differ sixtyfold, launches on one of them do not: 3 of 13 degrees of freedom say that nothing varies.
    assert spread.of_tools() == {"t": pytest.approx(DEFAULT_SPREAD * (10 / 13) ** 0.5)}
    for _ in range(200):
        spread.add("easy", launched(900))
        spread.add("easy", launched(1100))
    assert 0.1 < spread.of_tools()["t"] < 0.15
    before = spread.of_tools()
    spread.add("easy", launched(50_000, exit_code=None))
    spread.add("easy", launched(50_000, derived_from="another"))
    assert spread.of_tools() == before


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
    assert DEFAULT.utility(result, 1000) == pytest.approx(expected)
