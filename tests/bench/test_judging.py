"""From a ledger and policies to regret, its price and what online safety does, with numbers worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.judging.judge_runs import _decide, score_runs
from bench.judging.objective import Objective, action_outcome
from bench.judging.online import Decided, act, caps_of, exceeds, online_report
from bench.judging.relabel import action_space, relabel
from bench.judging.results import hold_out, read_results, spending
from planner.actions import ActionSpace
from planner.dataset.outcomes import make_outcomes
from planner.dataset.storage import load_dataset
from planner.display.regret import print_regret
from planner.errors import BenchError
from planner.evaluation.regret_report import Gain
from planner.runs.learned import LearnedPolicy
from planner.scoring.preferences import fixed_choices
from tests.bench.ledgers import (
    LIMIT_MS,
    REPLAY,
    SERIAL,
    VOTE,
    bound,
    judged,
    rows_of,
    ten_cases,
    told,
    write_ledger,
)
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import FAULT, outcome
from tests.trained_runs import trained


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write_ledger(tmp_path / "ledger.sqlite", ten_cases())


@pytest.fixture(scope="module")
def base(corpus_dataset: Path) -> Path:
    return corpus_dataset


def test_regret_is_the_utility_lost_against_the_best_of_the_executed(ledger: Path, base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "run")
    report = judged(ledger, {"mlp": tmp_path / "run"}, holdout=0.4)
    rows: dict[str, dict[str, Any]] = {row["policy"]: row for row in report["policies"]}
    minute = load_dataset(base).info.minute_seconds * 1000
    limit = 120 * minute

    def utility(passed: bool, ms: int) -> float:
        return passed - 0.1 * min(ms, limit) / limit - 0.1 * min(ms, 3 * limit) / (3 * limit)

    lost = utility(True, 600_000) - utility(False, 60_000)
    # The default plan is the serial one, the first action of every case; it fails in all four held-out cases.
    assert rows["heuristic"]["regret"] == pytest.approx(lost)
    assert rows["heuristic"]["pass_rate"] == 0
    assert rows["heuristic"]["pass_regret"] == 1
    # The serial plan was a little better in five of the six learning cases, but one pass outweighs that.
    assert rows["single best"]["regret"] == 0
    assert (rows["best per case"]["regret"], rows["best per case"]["pass_rate"]) == (0, 1)
    assert rows["best per case"]["mean_time_s"] == 600
    assert 0 <= rows["mlp"]["regret"] <= lost


def test_cases_that_tell_nothing_are_left_out_and_too_few_are_refused(tmp_path: Path) -> None:
    faulty = [
        (bench_case("1"), {SERIAL: FAULT, VOTE: outcome()}),
        (bench_case("2"), {SERIAL: outcome(), VOTE: outcome()}),
    ]
    results = read_results(write_ledger(tmp_path / "two.sqlite", faulty))
    assert [result.case.issue_id for result in results] == ["2"]
    with pytest.raises(BenchError, match="bench more issues"):
        hold_out(results, 0.4)
    with pytest.raises(BenchError, match="run `planner bench` first"):
        read_results(write_ledger(tmp_path / "one.sqlite", faulty[:1]))


def test_problems_are_held_out_whole_whichever_agent_worked_on_them(tmp_path: Path) -> None:
    fast, slow = outcome(True, 60_000), outcome(True, 600_000)
    cases = [
        told(f"{problem}@{agent}", {SERIAL: fast, VOTE: slow}, day=day, hint=agent, commit="recorded")
        for day, (problem, agent) in enumerate(
            [("a", "x"), ("b", "x"), ("c", "x"), ("d", "x"), ("a", "y"), ("b", "y"), ("c", "y"), ("d", "y")]
        )
    ]
    ledger = bound(write_ledger(tmp_path / "replay.sqlite", cases), **REPLAY)
    learning, held_out = hold_out(read_results(ledger), 0.5, "problem")
    assert {result.problem for result in learning} == {"a", "b"}
    assert {result.problem for result in held_out} == {"c", "d"}
    learning, held_out = hold_out(read_results(ledger), 0.5, "time")
    assert {result.problem for result in learning} == {result.problem for result in held_out} == set("abcd")

    relabel(ledger, None, tmp_path / "by-time", holdout=0.5)
    assert load_dataset(tmp_path / "by-time").splits["test"].seen.tolist() == [True, True, True, False]
    relabel(ledger, None, tmp_path / "by-problem", holdout=0.5, by="problem")
    assert not load_dataset(tmp_path / "by-problem").splits["test"].seen.any()

    run = trained(tmp_path / "by-time", tmp_path / "run")
    report = judged(ledger, {"mlp": run}, holdout=0.5)
    assert (report["held_out_seen"], report["unseen"], report["held_out_before_learning_ended"]) == (4, [], 0)
    with pytest.raises(BenchError, match="learned from 2 of the 4 held-out cases"):
        judged(ledger, {"mlp": run}, holdout=0.5, by="problem")
    after = trained(tmp_path / "by-problem", tmp_path / "after")
    report = judged(ledger, {"mlp": after}, holdout=0.5, by="problem")
    assert (report["held_out_seen"], report["seen"], report["held_out_before_learning_ended"]) == (0, [], 2)
    # A run that goes on from one that saw held-out cases has seen them too.
    tainted = trained(tmp_path / "by-problem", tmp_path / "tainted", init_from=run)
    with pytest.raises(BenchError, match="learned from 2 of the 4 held-out cases"):
        judged(ledger, {"mlp": tainted}, holdout=0.5, by="problem")


def test_what_a_run_was_trained_on_is_seen_and_what_cannot_be_told_is_said(
    ledger: Path, base: Path, tmp_path: Path
) -> None:
    known = load_dataset(base).splits["train"].table["issue_id"][0]
    fast, slow = outcome(True, 60_000), outcome(True, 600_000)
    names = ["u", "v", "w", known, "x"]
    cases = [told(name, {SERIAL: fast, VOTE: slow}, day=day) for day, name in enumerate(names)]
    path = write_ledger(tmp_path / "seen.sqlite", cases)
    run = trained(base, tmp_path / "run")
    report = judged(path, {"mlp": run}, holdout=0.4)
    assert (report["held_out_seen"], rows_of(report, "seen")["mlp"]["cases"]) == (1, 1)
    assert rows_of(report, "unseen")["mlp"]["cases"] == 1
    assert report["unknown_provenance"] == []
    checkpoint = next((run / "checkpoints").iterdir()).rename(tmp_path / "alone")
    assert "without its run" in judged(path, {"mlp": checkpoint}, holdout=0.4)["unknown_provenance"][0]


def test_fitted_rules_look_at_learning_cases_only(base: Path, tmp_path: Path) -> None:
    """In learning the vote wins for one hint and the serial plan for all else; the held-out cases say the opposite."""
    good, bad = outcome(True, 60_000), outcome(False, 60_000)
    learning = [
        told(
            str(i), {SERIAL: bad, VOTE: good} if i < 6 else {SERIAL: good, VOTE: bad}, day=i, hint="v" if i < 6 else "s"
        )
        for i in range(14)
    ]
    held_out = [
        told("20", {SERIAL: good, VOTE: bad}, day=20, hint="v"),
        told("21", {SERIAL: bad, VOTE: good}, day=21, hint="s"),
        told("22", {SERIAL: bad, VOTE: good}, day=22, hint="new"),
    ]
    path = write_ledger(tmp_path / "ledger.sqlite", [*learning, *held_out])
    rows = rows_of(judged(path, {"mlp": trained(base, tmp_path / "run")}, holdout=3 / 17))
    # Whoever had looked at the held-out cases would pass somewhere.
    assert rows["per group"]["pass_rate"] == 0
    # The single best action is the serial one: right for "v" by chance.
    assert rows["single best"]["pass_rate"] == pytest.approx(1 / 3)
    assert rows["random"]["pass_rate"] == pytest.approx(1 / 2)
    assert rows["random"]["passing_cases"] == pytest.approx(1.5)
    assert rows["best per case"]["pass_rate"] == 1
    order = [
        "random",
        "heuristic",
        "most frequent",
        "single best",
        "per group",
        "nearest neighbours",
        "utility forest",
        "mlp",
        "best per case",
    ]
    assert list(rows) == order


def test_labels_have_a_price_a_point_of_regret_or_won_nothing(ledger: Path, base: Path, tmp_path: Path) -> None:
    before = trained(base, tmp_path / "before")
    relabel(ledger, base, tmp_path / "winners", holdout=0.4)
    after = trained(tmp_path / "winners", tmp_path / "after", init_from=before)
    report = judged(ledger, {"before": before, "after": after}, holdout=0.4)
    rows = rows_of(report)
    (price,) = report["price"]
    assert (price["policy"], price["before"]) == ("after", "before")
    assert price["regret_won"] == pytest.approx(rows["before"]["regret"] - rows["after"]["regret"])
    assert price["regret_won_by_single_best"] == pytest.approx(rows["before"]["regret"])
    # Six learning cases: five take 1 and 10 minutes, one does too; a dollar an execution.
    minutes = 6 * 11 * 60 / load_dataset(base).info.minute_seconds
    assert price["agent_minutes"] == pytest.approx(minutes)
    assert (price["dollars"], price["executions"], price["minutes_without_outcome"]) == (12, 12, 0)
    alone = judged(ledger, {"after": after}, holdout=0.4)
    assert alone["price"][0]["before"] == "heuristic"
    assert alone["price"][0]["regret_won"] == pytest.approx(rows["heuristic"]["regret"] - rows["after"]["regret"])
    for one in (price, alone["price"][0]):
        if one["regret_won"] > 0:
            assert one["agent_minutes_per_point"] == pytest.approx(minutes * 0.01 / one["regret_won"])
            assert one["dollars_per_point"] == pytest.approx(12 * 0.01 / one["regret_won"])
        else:
            assert (one["agent_minutes_per_point"], one["dollars_per_point"]) == (None, None)
    assert judged(ledger, {"before": before}, holdout=0.4)["price"] == []


def test_faults_are_counted_with_their_cases_and_their_cost(base: Path, tmp_path: Path) -> None:
    costly_fault = outcome(False, 30_000, status="fault", fault="no clone", cost=3.0)
    cases = ten_cases()
    cases[0][1][VOTE] = costly_fault
    cases[9][1][SERIAL] = FAULT
    path = write_ledger(tmp_path / "ledger.sqlite", cases)
    info = relabel(path, base, tmp_path / "winners")
    assert (info.counts["faults_left_out"], info.counts["cases_with_faults"]) == (2, 2)
    assert (info.counts["cases_left_out"], info.counts["cases"]) == (2, 8)
    report = judged(path, {"mlp": trained(base, tmp_path / "run")})
    assert (report["faults_left_out"], report["cases_with_faults"], report["cases_left_out"]) == (2, 2, 2)
    assert report["executions"] == 20


def test_a_policy_that_wants_more_than_the_caps_is_cut_and_one_in_doubt_is_left_to_todays_rule() -> None:
    slow, quick = outcome(True, 600_000), outcome(True, 60_000)
    wide = VOTE._replace(max_candidates_bin=3)
    cases = [
        told(str(i), {SERIAL: slow, wide: quick}, toolchains=("one", "two") if i < 2 else ("one", "two", "three"))[0]
        for i in range(4)
    ]
    space = ActionSpace.from_document(cases[0].context.action_space.model_dump())
    outcomes = make_outcomes(
        [[action_outcome(a, [o], Objective(), LIMIT_MS) for a, o in ((SERIAL, slow), (wide, quick))]] * 4, space
    )
    default, wants = (fixed_choices([action] * 4, outcomes, space) for action in (SERIAL, wide))
    decided = Decided([wide] * 4, np.array([0.9, 0.9, 0.9, 0.2]), threshold=0.5)
    caps = [caps_of(case, 60) for case in cases]
    executed, reasons = act(decided, cases, caps)
    assert reasons == ["max_candidates_exceeds_cap"] * 2 + [None, "low_confidence"]
    assert executed == [SERIAL, SERIAL, wide, SERIAL]
    report = online_report("mlp", decided, wants, default, cases, caps, outcomes)
    assert (report.wanted_more_than_caps, report.executed_more_than_caps) == (2, 0)
    assert (report.abstained, report.decisions) == (1, 4)
    lost = 0.1 * 9 / 120 + 0.1 * 9 / 360
    assert report.abstained_regret_of_todays_rule == pytest.approx(lost, rel=1e-4)
    assert report.abstained_regret_of_policy == 0
    assert report.regret == pytest.approx(lost * 3 / 4, rel=1e-4)
    # The default is cut too, and minutes as well as candidates.
    tight = [caps_of(case, 10) for case in cases]
    executed, _ = act(decided, cases, tight)
    assert not any(exceeds(action, cap) for action, cap in zip(executed, tight, strict=True))
    assert {action.max_minutes_bin for action in executed} == {10}


def test_an_action_that_the_case_does_not_offer_is_left_to_todays_rule() -> None:
    case, _ = told("1", {SERIAL: outcome(), VOTE: outcome()})
    strange = SERIAL._replace(max_candidates_bin=2)
    executed, reasons = act(Decided([strange], np.array([1.0]), None), [case], [caps_of(case, None)])
    assert (executed, reasons) == ([SERIAL], ["action_space_mismatch"])


def test_a_policy_on_the_kernels_tokens_is_judged_on_the_kernels_tokens(
    ledger: Path, kernel_dataset: Path, tmp_path: Path
) -> None:
    run = trained(kernel_dataset, tmp_path / "run", "model.d_model=16", "model.layers=1", arch="transformer_planner")
    policy, results = LearnedPolicy(run), read_results(ledger)[6:]
    space = action_space(results)
    outcomes = make_outcomes([result.action_outcomes(LIMIT_MS) for result in results], space)
    _, preference = _decide(policy, results, outcomes, space)
    heads = policy.log_probs_of([result.case.context.model_dump(exclude_unset=True) for result in results])
    wanted = policy.space.joint_log_probs(heads, "code")
    column = policy.space.valid_actions("code").index(SERIAL)
    assert preference.of_action[::2] == pytest.approx(wanted[:, column], abs=1e-6)


def test_a_universes_cap_on_minutes_is_found_where_the_ledger_lies_in_its_repo(base: Path, tmp_path: Path) -> None:
    universe = tmp_path / "repo" / "universes" / "small"
    universe.mkdir(parents=True)
    (universe / "universe.yaml").write_text("universe_id: small\npolicies: {budgets: {max_run_minutes: 5}}\n")
    ledger = write_ledger(tmp_path / "repo" / ".cyntra" / "planner" / "bench" / "ledger.sqlite", ten_cases())
    run = trained(base, tmp_path / "run")
    report = judged(ledger, {"mlp": run})
    (online,) = report["online"]
    # No plan has as few minutes as five, unless they are left to Cyntra.
    assert report["max_run_minutes"] == 5
    assert online["left_to_todays_rule"] in ({}, {"timeout_exceeds_cap": 4})
    assert online["executed_more_than_caps"] == 0
    assert judged(ledger, {"mlp": run}, max_run_minutes=500)["online"][0]["wanted_more_than_caps"] == 0


def test_an_outcome_that_another_execution_told_has_no_price(tmp_path: Path) -> None:
    cases = [
        (
            case,
            {a: o.model_copy(update={"derived_from": "another"} if i else {}) for i, (a, o) in enumerate(of.items())},
        )
        for case, of in ten_cases()
    ]
    results = read_results(write_ledger(tmp_path / "ledger.sqlite", cases))
    run = [o for result in results for group in result.outcomes.values() for o in group if not o.derived_from]
    spent = spending(results, 60.0)
    assert len(run) == len(cases) == spent.executions
    assert spent.agent_minutes == pytest.approx(sum(o.agent_ms for o in run) / 60_000)


def test_what_was_capped_on_the_judged_cases_has_bounds_in_every_line_that_compares_with_it(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In learning the vote is best; on the judged cases it was capped, at 2 of 60 s."""
    quick, slow = outcome(True, 60_000), outcome(True, 600_000)
    stopped = outcome(False, 120_000, status="stopped_early", stopped_by="capped")
    learning = [told(str(i), {SERIAL: slow, VOTE: quick}, day=i) for i in range(6)]
    judged_cases = [told(str(i), {SERIAL: quick, VOTE: stopped}, day=i) for i in range(6, 10)]
    path = write_ledger(tmp_path / "bench" / "ledger.sqlite", [*learning, *judged_cases])
    run = trained(base, tmp_path / "run")
    report = score_runs(path, {"mlp": run})
    row = rows_of(report.to_json())["single best"]
    bounds = 0.1 * 1 / 120 * (1 + 1 / 3), 1 + 0.2 - 0.1 * 1 / 120 * (1 + 1 / 3)
    assert (row["regret"], row["regret_at_most"]) == (pytest.approx(bounds[0], rel=1e-4), pytest.approx(bounds[1]))
    assert row["regret_low"] == row["regret"] and row["regret_high"] == row["regret_at_most"]
    assert (row["pass_regret"], row["pass_regret_at_most"], row["capped_choices"]) == (0, 1, 4)
    (_, over_single_best) = report.gains
    mlp = rows_of(report.to_json())["mlp"]
    if mlp["capped_choices"] == 0:
        assert over_single_best.won == pytest.approx(bounds[0] - mlp["regret"], abs=1e-6)
        assert over_single_best.won_at_most == pytest.approx(bounds[1] - mlp["regret"], abs=1e-6)
    else:
        assert (over_single_best.won, over_single_best.won_at_most) == (0, 0)
    print_regret(report)
    shown = capsys.readouterr().out
    assert "0.0011 to 1.2 [0.0011, 1.2]" in shown
    assert "single best: 4 choices were capped" in shown
    assert "4 of 4 held-out cases have capped executions, and no ledger" in shown and "bench again with --full" in shown

    # A ledger beside it that ran them to their end is preferred, of whatever was capped: there the vote passes first.
    full = [told(str(i), {SERIAL: slow, VOTE: quick}, day=i) for i in range(6, 9)]
    beside = write_ledger(path.with_name("full.sqlite"), full)
    other = bound(write_ledger(path.with_name("other.sqlite"), judged_cases), universe_id="another")
    report = score_runs(path, {"mlp": run})
    assert (report.full_cases, report.from_full_ledgers) == (3, {str(beside): 3})
    assert rows_of(report.to_json())["single best"]["capped_choices"] == 1
    print_regret(report)
    shown = capsys.readouterr().out
    assert f"3 held-out cases were judged by {beside}" in shown and str(other) not in shown
    assert "1 of 4 held-out cases have capped executions" in shown


def test_a_gain_over_a_capped_choice_is_said_within_its_bounds() -> None:
    known = Gain("mlp", "single best", 0.2, 0.2, 0.1, 0.3)
    assert known.sentence == "mlp wins 0.200 of utility [+0.100, +0.300] over single best: more than chance explains"
    sure, open_, lost = (
        Gain("mlp", "single best", *numbers)
        for numbers in ((0.1, 0.9, 0.05, 1.0), (0.0, 0.9, -0.1, 1.0), (-0.9, -0.1, -1.0, -0.05))
    )
    assert "wins +0.100 to +0.900 of utility" in sure.sentence and "whatever came of capped choices" in sure.sentence
    assert "decides (bench with --full)" in open_.sentence and "wins" not in open_.sentence
    assert "loses against single best" in lost.sentence
    same = Gain("mlp", "heuristic", 0.0, 0.0, 0.0, 0.0)
    assert same.sentence == "mlp comes to the same as heuristic on every case"
