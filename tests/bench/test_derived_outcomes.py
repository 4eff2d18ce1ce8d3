"""Tests of what a run tells about the same plan with fewer minutes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.containment.limits import Deadline
from bench.engine.derived_outcomes import derive
from bench.executors.replay import SPACE, ReplayCase, ReplayExecutor, Trial, is_observed
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import outcome

HOUR, HALF = Action("speculate_vote", 2, 60, "NA"), Action("speculate_vote", 2, 30, "NA")
MINUTE = 60_000


class Minutes:
    """The part of an executor that counts here: real runs of real minutes."""

    instant = False

    def lane_limit_ms(self, action: Action) -> int | None:
        return None if action.max_minutes_bin == "NA" else MINUTE * int(action.max_minutes_bin)


def run(*lanes: float, **fields: Any) -> BenchOutcome:
    """A run whose agents start together and work for so many minutes; it takes one minute more than they do."""
    launches = [
        {"tool": "t", "started_ms": 1000, "duration_ms": round(MINUTE * m), "exit_code": 0, "cost_usd": m}
        for m in lanes
    ]
    duration = round(MINUTE * (max(lanes) + 1))
    return outcome(duration_ms=duration, **{"launches": launches, "cost": sum(lanes), **fields})


def derived(of: BenchOutcome, action: Action = HALF, source: Action = HOUR) -> BenchOutcome | None:
    return derive(action, [(source, "run-1", of)], Minutes())


def test_a_run_whose_agents_all_ended_in_time_is_the_same_run_with_fewer_minutes() -> None:
    whole = run(10, 20)
    short = derived(whole)
    assert short is not None and short.derived_from == "run-1"
    assert short.model_copy(update={"derived_from": None}) == whole


def test_a_run_whose_agents_all_went_on_is_a_timeout_with_what_they_had_used() -> None:
    short = derived(run(40, 50))
    assert short is not None and (short.passed, short.status) == (False, "timeout")
    assert (short.duration_ms, short.agent_ms, short.cost_usd) == (31 * MINUTE, 60 * MINUTE, 60.0)


def test_where_one_agent_of_a_passing_run_ended_in_time_it_is_not_known_which_one_passed() -> None:
    assert derived(run(10, 50)) is None
    short = derived(run(10, 50, passed=False))
    assert short is not None and (short.passed, short.status, short.agent_ms) == (False, "failed", 40 * MINUTE)


def test_an_end_too_close_to_the_limit_tells_nothing_and_more_minutes_are_never_told() -> None:
    assert derived(run(29, 10)) is None and derived(run(31, 50)) is None
    assert derived(run(10, 10), action=HOUR, source=HALF) is None
    assert derived(run(10, 10), source=HOUR._replace(max_candidates_bin=3)) is None
    assert derived(run(10, 10), action=HALF._replace(max_minutes_bin="NA")) is None
    assert derived(run(10, 10, derived_from="another")) is None


def test_a_capped_run_tells_that_it_was_not_done_before() -> None:
    capped = {"passed": False, "status": "stopped_early", "stopped_by": "capped"}
    short = derived(run(40, 40, **capped))
    assert short is not None and (short.status, short.stopped_by, short.duration_ms) == ("timeout", None, 31 * MINUTE)
    same = derived(run(20, 20, **capped))
    assert same is not None and same.status == "stopped_early"
    assert derived(run(10, 40, **capped)) is None


def test_nothing_is_derived_from_a_run_in_which_an_agent_was_shown_its_limit() -> None:
    known = [(HOUR, "run-1", run(10, 20))]
    assert derive(HALF, known, Minutes(), {"another"}) is not None
    assert derive(HALF, known, Minutes(), {"t"}) is None


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 130)), min_size=6, max_size=6),
    st.sampled_from([action for action in SPACE.valid_actions("code") if is_observed(action, 6)]),
    st.sampled_from([30, 45, 60, 120]),
)
def test_what_is_derived_is_what_a_run_would_have_given(
    trials: list[tuple[bool, int]], action: Action, minutes: int
) -> None:
    case: BenchCase = bench_case("1")
    recorded = tuple(Trial(passed, MINUTE * length, None, 0) for passed, length in trials)
    executor = ReplayExecutor({case.case_id: ReplayCase(case.case_id, {"issue_id": "1"}, "x", recorded)}, 60.0, {})
    longer = action._replace(max_minutes_bin=minutes)
    source, real = (executor.execute(case, a, Path("unused"), 0, Deadline()) for a in (longer, action))
    told = derive(action, [(longer, "run-1", source)], executor)
    if told is not None:
        for field in ("passed", "duration_ms", "agent_ms", "executed_plan"):
            assert getattr(told, field) == getattr(real, field)


@pytest.mark.parametrize("status", ["success", "failed"])
def test_a_run_without_launches_tells_nothing(status: str) -> None:
    assert derived(outcome(status == "success", status=status)) is None
