"""Tests of recorded trials as outcomes of actions, on small tables whose outcomes can be worked out by hand."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.containment.limits import Deadline
from bench.engine.run import run_bench
from bench.executors.replay import ReplayExecutor
from bench.executors.replay_kind import ReplayOptions
from bench.judging.results import read_results
from bench.ledger import Ledger
from bench.options import BenchOptions
from bench.planning.cases import add_cases
from bench.planning.selections import AllActions
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.contracts.document import timestamp_to_ms
from planner.errors import BenchError

MINUTE = 60_000
Trials = dict[tuple[str, str], list[tuple[bool, float]]]
"""(problem, agent) -> (passed, minutes) of its trials."""
TRIALS: list[tuple[bool, float]] = [(False, 20), (True, 25), (False, 50), (True, 5)]
"""(passed, minutes) of the trials of problem "p" with agent "x", in order of their starts."""


def write_tables(directory: Path, trials: Trials) -> Path:
    """Tables of recorded trials, in an order that is not that of their starts."""
    directory.mkdir(exist_ok=True)
    rows = [
        {
            "issue_id": problem,
            "action_id": agent,
            "trial": number,
            "passed": passed,
            "duration_s": 60.0 * minutes,
            "cost_usd": None,
            "run_started_at": pd.Timestamp("2025-01-01", tz="UTC") + pd.Timedelta(hours=number),
        }
        for (problem, agent), group in trials.items()
        for number, (passed, minutes) in enumerate(group)
    ]
    pd.DataFrame(rows[::-1]).to_parquet(directory / "outcomes.parquet")
    problems = sorted({problem for problem, _ in trials})
    table = {"issue_id": problems, "issue_group": ["family"] * len(problems), "human_minutes": [30.0] * len(problems)}
    pd.DataFrame(table).to_parquet(directory / "issues.parquet")
    return directory


@pytest.fixture
def executor(tmp_path: Path) -> ReplayExecutor:
    return ReplayExecutor.prepare(write_tables(tmp_path / "tables", {("p", "x"): TRIALS}), n_trials=4)


def replayed_cases(executor: ReplayExecutor) -> list[BenchCase]:
    return add_cases([], [], executor.drafts(None, "recorded"), AllActions(), 4, None)


def execute(executor: ReplayExecutor, *action: Any, cap_s: float | None = None) -> BenchOutcome:
    return executor.execute(replayed_cases(executor)[0], Action(*action), Path("unused"), 0, Deadline(cap_s))


@pytest.mark.parametrize(
    ("action", "passed", "wall", "agent"),
    [
        (("serial_handoff", 1, 60, 1), False, 20, 20),
        (("serial_handoff", 1, 60, 2), True, 45, 45),
        (("serial_handoff", 2, 45, 2), True, 45, 45),  # 20 + 25 is not more than 45
        (("serial_handoff", 2, 30, 2), False, 30, 30),  # the second attempt is cut after 10 minutes
        (("speculate_vote", 2, 60, 1), True, 25, 45),
        (("speculate_vote", 2, 60, 2), True, 55, 100),  # lanes (20, 25 passes) and (50, 5 passes)
        (("speculate_vote", 2, 45, 2), True, 45, 90),  # the second lane's first attempt is cut
        (("speculate_vote", 3, 15, 1), False, 15, 45),
    ],
)
def test_lanes_consume_trials_from_left_to_right_and_share_or_have_their_minutes(
    executor: ReplayExecutor, action: tuple[Any, ...], passed: bool, wall: float, agent: float
) -> None:
    outcome = execute(executor, *action)
    assert (outcome.passed, outcome.duration_ms, outcome.agent_ms) == (passed, wall * MINUTE, agent * MINUTE)


def test_an_action_that_needs_more_trials_than_were_recorded_is_not_observed(executor: ReplayExecutor) -> None:
    (case,) = replayed_cases(executor)
    needed = {int(action.max_candidates_bin) * int(action.max_iterations_bin) for action in case.actions}
    assert max(needed) == 4 and len(case.actions) == 2 * 5 * 6
    outcome = execute(executor, "serial_handoff", 3, 15, 2)
    assert outcome.status == "fault" and "needs more trials than the 4 recorded" in str(outcome.fault)
    again = executor.execute(case, Action("serial_handoff", 1, 60, 1), Path("unused"), 1, Deadline())
    assert again.status == "fault"


def test_a_cap_cuts_what_is_recorded(executor: ReplayExecutor) -> None:
    outcome = execute(executor, "speculate_vote", 2, 60, 1, cap_s=22 * 60)
    assert (outcome.status, outcome.stopped_by, outcome.passed) == ("stopped_early", "capped", False)
    assert (outcome.duration_ms, outcome.agent_ms) == (22 * MINUTE, 42 * MINUTE)
    assert execute(executor, "speculate_vote", 2, 60, 1, cap_s=25 * 60).passed


def test_a_scaled_minute_shortens_every_limit(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", {("p", "x"): [(True, 10.0)]})
    fast, slow = (ReplayExecutor.prepare(tables, n_trials=1, minute_seconds=seconds) for seconds in (60.0, 10.0))
    action = ("serial_handoff", 1, 30, 1)
    assert execute(fast, *action).passed and not execute(slow, *action).passed
    assert execute(slow, *action).duration_ms == 5 * MINUTE


def test_a_context_tells_what_was_known_and_nothing_of_the_trials(executor: ReplayExecutor) -> None:
    (case,) = replayed_cases(executor)
    assert timestamp_to_ms(case.context.created_at) == pd.Timestamp("2025-01-01", tz="UTC").value // 10**6
    issue = case.context.issue
    assert (issue.tags, issue.dk_tool_hint, issue.dk_size) == (["family"], "x", "S")
    assert case.context.history.last_n_similar_runs == []


def test_a_bench_of_recorded_trials_has_the_same_winners_capped_or_not_and_runs_less(
    tmp_path: Path, ray_cluster: Any
) -> None:
    more: Trials = {("q", "x"): [(False, 9), (False, 70), (True, 3), (True, 40)], ("p", "y"): [(False, 40)] * 4}
    tables = write_tables(tmp_path / "tables", {("p", "x"): TRIALS, **more, ("short", "x"): [(True, 1)]})
    reports, winners = [], []
    for full in (True, False):
        ledger = tmp_path / f"{full}.sqlite"
        options = BenchOptions(executor="replay", select="all", full=full, ledger=ledger)
        reports.append(run_bench(tables, options, ReplayOptions(trials=4)))
        winners.append({result.case.issue_id: result.verdict.action for result in read_results(ledger)})
    full_report, capped_report = reports
    assert winners[0] == winners[1] and set(winners[0]) == {"p@x", "q@x", "p@y"}
    assert full_report.set_aside == {"short@x": "fewer than 4 timed trials"}
    assert full_report.run == capped_report.run == 180 and full_report.derived == 0
    assert capped_report.derived > 90 and sum(case.capped for case in capped_report.cases) > 0
    # With --full the same ledger is brought to the end: only what was capped or derived is run again.
    with Ledger.read(ledger) as before:
        outcomes = [execution.outcome for execution in before.executions()]
    again = run_bench(tables, options.model_copy(update={"full": True}), ReplayOptions(trials=4))
    assert again.run == sum(o.status == "stopped_early" or o.derived_from is not None for o in outcomes) < 180
    assert (again.derived, sum(case.capped for case in again.cases)) == (0, 0)


def test_a_ledger_of_other_trials_and_a_folder_without_tables_are_refused(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", {("p", "x"): TRIALS})
    with pytest.raises(BenchError, match="name its file with --ledger"):
        run_bench(tables, BenchOptions(executor="replay"), ReplayOptions(trials=4))
    with pytest.raises(BenchError, match=r"issues\.parquet: no table of recorded trials"):
        run_bench(tmp_path, BenchOptions(executor="replay", ledger=tmp_path / "ledger.sqlite"))
    with pytest.raises(BenchError, match="no problem and agent have 6 timed trials: choose a smaller --trials"):
        run_bench(tables, BenchOptions(executor="replay", ledger=tmp_path / "ledger.sqlite"))
    (tables / "outcomes.parquet").write_bytes((tables / "issues.parquet").read_bytes())
    with pytest.raises(BenchError, match=r"outcomes\.parquet: lacks the columns action_id"):
        run_bench(tables, BenchOptions(executor="replay", ledger=tmp_path / "ledger.sqlite"))
