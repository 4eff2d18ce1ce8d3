"""Tests of the models of trials on planted worlds, whose truth is known."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.dataset.trials import Trial, trials_of
from planner.display.training import describe_gate
from planner.encoding.subject import Subject
from planner.policies.case_trials import sum_trials
from planner.policies.latent_calibration import calibrate_passes
from planner.policies.pass_counts import PassCounts
from planner.policies.questions import Question
from planner.policies.readings import TODAYS_RULE, Gate, Logged, by_utility, judge_from_logs, judge_gate
from planner.policies.trial_values import Judged, Known, Member, TrialValues, fit_trial_values
from planner.policies.unseen_candidates import pass_shares
from planner.scoring.orders import expected_outcomes
from planner.scoring.plan_outcome import Plan, PlanOutcomes

PLANS = [Plan(s, c, 1, m) for s, c, m in ((False, 1, 15.0), (False, 1, 60.0), (True, 2, 60.0), (True, 3, 60.0))]
LIMIT = 120.0
N_TRIALS = 4


def subject(issue: int) -> Subject:
    return Subject(f"issue-{issue}", f"group-{issue % 4}", 60.0, "")


def world(
    *, tools: float = 1.0, issues: float = 1.5, n_issues: int = 40, seed: int = 0, minutes: float = 20.0
) -> tuple[list[Trial], NDArray[np.float64]]:
    """N_TRIALS trials of each of three tools on each issue, and their true logits (issues, tools)."""
    draw = np.random.default_rng(seed)
    logits = issues * draw.normal(size=(n_issues, 1)) + tools * np.array([[-1.0, 0.0, 1.0]])
    rows = []
    for issue, tool, at in product(range(n_issues), range(3), range(N_TRIALS)):
        passed = bool(draw.random() < 1 / (1 + math.exp(-logits[issue, tool])))
        duration = round(60_000 * minutes * math.exp(0.3 * draw.normal()) * (1 if passed else 2))
        rows.append(
            Trial(
                f"{issue}-{tool}-{at}",
                "bench",
                "code",
                f"tool-{tool}",
                subject(issue),
                at,
                passed,
                duration,
                False,
                1,
                "train",
            )
        )
    return rows, logits


def rule_of(questions: list[Question]) -> NDArray[np.intp]:
    """Today's rule: one candidate with 60 minutes."""
    return np.ones(len(questions), dtype=np.intp)


def questions_of(rows: list[Trial]) -> list[Question]:
    keys = dict.fromkeys((row.subject, row.tool) for row in rows)
    return [Question(one, (tool,), repeats=True) for one, tool in keys]


def known_of(rows: list[Trial]) -> Known:
    questions = questions_of(rows)
    found = []
    for question in questions:
        own = [row for row in rows if (row.subject, row.tool) == (question.subject, question.tools[0])]
        came = expected_outcomes(PLANS, [bool(r.passed) for r in own], [(r.duration_ms or 0) / 60_000 for r in own])
        found.append(came.mean)
    return Known(questions, PlanOutcomes(*(np.array(kind) for kind in zip(*found, strict=True))), rule_of(questions))


def unknown_of(rows: list[Trial]) -> Known:
    questions = questions_of(rows)
    nothing = PlanOutcomes(*(np.full((len(questions), len(PLANS)), np.nan) for _ in range(3)))
    return Known(questions, nothing, rule_of(questions))


def fit(rows: list[Trial], known: Known, *, forest: bool = False) -> TrialValues:
    members: list[Member] = ["structural", "trial_forest"] if forest else ["structural"]
    return fit_trial_values(trials_of(rows), known, PLANS, LIMIT, members)


def foreseen_passes(values: TrialValues, asked: list[Question]) -> NDArray[np.float64]:
    """Of one attempt that is not cut short, (n,)."""
    return values.values(asked).passed[:, 1]


def test_a_planted_hierarchy_is_found_again_on_cases_that_nobody_tried() -> None:
    rows, logits = world()
    draw = np.random.default_rng(1)
    left_out = {(issue, int(draw.integers(3))) for issue in range(40)}
    kept = [r for r in rows if (int(r.subject.issue_id[6:]), int(r.tool[5:])) not in left_out]
    asked = [Question(subject(issue), (f"tool-{tool}",), repeats=True) for issue, tool in sorted(left_out)]
    truth = 1 / (1 + np.exp(-np.array([logits[pair] for pair in sorted(left_out)])))
    for forest in (False, True):
        foreseen = foreseen_passes(fit(kept, known_of(kept), forest=forest), asked)
        assert np.corrcoef(foreseen, truth)[0, 1] > 0.75
        assert np.abs(foreseen - truth).mean() < 0.17
        assert abs(foreseen.mean() - truth.mean()) < 0.1


def test_more_candidates_pass_more_often_and_take_more_agent_time() -> None:
    rows, _ = world()
    found = fit(rows, unknown_of(rows)).values(questions_of(rows))
    assert (np.diff(found.passed[:, 1:], axis=1) > 0).all()
    assert (np.diff(found.agent[:, 1:], axis=1) > 0).all()
    assert (found.wall <= [plan.limit for plan in PLANS]).all()


def test_where_nothing_has_passed_yet_little_is_expected_of_any_plan() -> None:
    rows = [row._replace(passed=False) for row in world(n_issues=12)[0]]
    assert (foreseen_passes(fit(rows, unknown_of(rows)), questions_of(rows)) < 0.3).all()


def test_a_new_issue_gets_what_is_known_of_the_tool_alone() -> None:
    rows, _ = world(issues=0.5)
    asked = [Question(Subject("never seen", "nor its group", 60.0, ""), (f"tool-{t}",), True) for t in range(3)]
    asked.append(Question(Subject("never seen", "", 60.0, ""), ("a tool nobody knows",), True))
    values = fit(rows, known_of(rows))
    low, middle, high, unknown = foreseen_passes(values, asked).tolist()
    assert low < middle < high
    assert low < unknown < high
    assert {values.structural.mode_of(question.subject) for question in asked} == {"new"}


def test_the_gate_stays_shut_where_all_cases_are_alike_and_opens_where_they_are_not() -> None:
    alike, _ = world(tools=0.0, issues=0.0, seed=3)
    shut = fit(alike, known_of(alike))
    reading = by_utility(LIMIT)
    assert not any(gate.open for gate in shut.judged.gates(reading).values())
    # Every question gets the plan that is best on average.
    asked = questions_of(alike)
    chosen = shut.scores(asked, reading, rule_of(asked)).argmax(axis=1)
    assert set(chosen.tolist()) == {int(shut.judged.fixed_scores(reading).argmax())}

    different, _ = world(tools=3.0, issues=3.0, minutes=40.0)
    opened = fit(different, known_of(different))
    gates = opened.judged.gates(reading)
    assert gates["known"].open
    assert gates["known"].gain > gates["known"].error > 0
    asked = questions_of(different)
    assert len(set(opened.scores(asked, reading, rule_of(asked)).argmax(axis=1).tolist())) > 1


def logs_of(rows: list[Trial]) -> tuple[list[Trial], Known]:
    """The first trial of each case as a run of today's rule leaves it, and what came of that run."""
    limit_ms = round(60_000 * PLANS[1].limit)
    logged = [row for row in rows if row.attempt == 0]
    known = unknown_of(logged)
    for at, row in enumerate(logged):
        duration_ms = min(row.duration_ms or 0, limit_ms)
        passed = bool(row.passed) and duration_ms < limit_ms
        for kind, value in zip(known.outcomes, (passed, duration_ms / 60_000, duration_ms / 60_000), strict=True):
            kind[at, 1] = value
        if duration_ms == limit_ms:
            logged[at] = row._replace(passed=None, duration_ms=limit_ms, cut=True)
    return logged, known


def test_from_logs_alone_the_rule_is_left_only_for_a_gain_beyond_what_the_model_may_be_wrong_by() -> None:
    reading = by_utility(LIMIT)
    # A second candidate is worth its time; how much, many issues say better than a few.
    rows, logged_of = world(tools=0.3, issues=0.5, minutes=30.0, n_issues=100)[0], []
    for n_issues in (5, 100):
        logged, known = logs_of([row for row in rows if int(row.subject.issue_id[6:]) < n_issues])
        logged_of.append((fit(logged, known), known))
    (few, known_few), (many, known_many) = logged_of
    assert few.judged.keeps_rule and many.judged.keeps_rule
    assert not any(gate.open for gate in few.judged.gates(reading).values())
    other_rule = np.full(len(known_few.questions), 2)
    assert (few.scores(known_few.questions, reading, other_rule).argmax(axis=1) == other_rule).all()
    gate = many.judged.gates(reading)["new"]
    assert gate.open and gate.over == TODAYS_RULE
    assert (many.scores(known_many.questions, reading, known_many.rule).argmax(axis=1) != known_many.rule).any()


def gate_of_logs(other: float, foreseen: float, n: int = 16, n_groups: int | None = None) -> Gate:
    """The gate over n runs of the rule, of which every other one passed and a model foresaw so many passes; the plan
    that it would choose is believed to pass with the chance ``other``."""
    came = np.stack([np.arange(n) % 2.0, np.full(n, other)], axis=1)
    expected = np.stack([np.full(n, foreseen), np.full(n, 1.0)], axis=1)
    rule: NDArray[np.intp] = np.full(n, 0, dtype=np.intp)
    believed_of, foreseen_of = (
        PlanOutcomes(kind, np.zeros_like(kind), np.zeros_like(kind)) for kind in (came, expected)
    )
    groups: NDArray[np.int64] = np.arange(n) % (n_groups or n)
    return judge_from_logs(by_utility(LIMIT), foreseen_of, believed_of, Logged(rule, rule, groups))


def test_from_logs_a_gain_counts_beyond_one_standard_error_and_the_error_about_what_was_run() -> None:
    # The gain and the passes that came each have a standard error of .5 / 4, together .18.
    assert gate_of_logs(0.7, 0.5).open
    assert not gate_of_logs(0.65, 0.5).open
    assert gate_of_logs(0.65, 0.5, n=64).open
    # Who is wrong about the plans that were run, one way or the other, may be wrong about the others.
    assert not gate_of_logs(0.7, 0.7, n=64).open
    assert not gate_of_logs(0.7, 0.3, n=64).open
    # But being wrong and chance do not add up.
    assert gate_of_logs(0.75, 0.6).open


def test_a_few_groups_never_open_a_gate() -> None:
    came = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]] * 10)
    assert judge_gate(came, came, np.arange(30)).open
    few = judge_gate(came, came, np.arange(30) % 7)
    assert not few.open and "30 cases say too little: 7 issues, 8 are needed" in describe_gate(few)
    assert gate_of_logs(1.0, 0.5, n_groups=8).open
    assert not gate_of_logs(1.0, 0.5, n_groups=7).open


def judged_of(*members: NDArray[np.float64], came: NDArray[np.float64], tried: bool) -> Judged:
    """Members that foresaw passes (n, plans), and the passes that came; every plan takes no time."""
    foreseen, outcomes = (
        tuple(PlanOutcomes(kind, np.zeros_like(kind), np.zeros_like(kind)) for kind in kinds)
        for kinds in (members, (came,))
    )
    every = np.arange(len(came))
    return Judged(
        of_members={"known": foreseen},
        came=outcomes[0],
        tried=np.full(came.shape, tried),
        rule=np.zeros(len(came), dtype=np.intp),
        rows={"known": every},
        groups=every,
    )


def test_of_two_models_the_one_that_chooses_better_counts_more_and_the_gate_follows_both_as_they_count() -> None:
    came = np.random.default_rng(0).random((40, 4))
    misled = 1.4 * (1.0 - came)
    reading = by_utility(LIMIT)
    for members, place in (((came, misled), 0), ((misled, came), 1)):
        judged = judged_of(*members, came=came, tried=True)
        assert judged.shares(reading)["known"][place] > 0.5
        best_fixed = came[:, came.mean(axis=0).argmax()]
        assert judged.gates(reading)["known"].gain == pytest.approx((came.max(axis=1) - best_fixed).mean())
    # From logs nobody knows what the plans that were not run would have come to.
    assert judged_of(came, misled, came=came, tried=False).shares(reading)["known"].tolist() == [0.5, 0.5]


def test_logs_without_any_bench_value_every_plan() -> None:
    rows, logits = world()
    logged = [row for row in rows if row.attempt == 0]
    values = fit(logged, unknown_of(logged), forest=True)
    foreseen = foreseen_passes(values, questions_of(logged))
    truth = (1 / (1 + np.exp(-logits))).ravel()
    assert np.corrcoef(foreseen, truth)[0, 1] > 0.6


def test_a_cut_trial_counts_as_a_share_of_a_pass_and_longer_than_it_was_seen_to_take() -> None:
    draw = np.random.default_rng(0)
    log_time = np.concatenate([math.log(20) + 0.3 * draw.normal(size=50), math.log(60) + 0.3 * draw.normal(size=50)])
    passed = np.arange(100) < 50
    cut: NDArray[np.bool_] = np.zeros(102, dtype=bool)
    cut[100:] = True
    # One cut when most that pass have passed, one cut early.
    times = np.concatenate([log_time, np.log([50.0, 10.0])])
    case = np.concatenate([np.zeros(100, dtype=np.int64), [1, 2]])
    seen, _ = sum_trials(case, 3, np.concatenate([passed, [np.nan, np.nan]]), times, cut)
    late, early = seen.passes[1], seen.passes[2]
    assert late < 0.1
    assert 0.35 < early < 0.65
    assert seen.trials.tolist() == [100, 1, 1]
    for at, limit in ((1, 50), (2, 10)):
        assert seen.passing.counts[at] + seen.failing.counts[at] == pytest.approx(1)
        assert seen.passing.counts[at] == seen.passes[at]
        assert min(seen.passing.means[at], seen.failing.means[at]) > math.log(limit)


def test_a_late_cut_speaks_against_a_pass_and_an_early_one_says_nothing_whatever_the_others_did() -> None:
    draw = np.random.default_rng(0)
    log_time = np.concatenate([math.log(20) + 0.3 * draw.normal(size=80), math.log(60) + 0.3 * draw.normal(size=20)])
    cut = np.arange(102) >= 100
    passed = np.concatenate([np.arange(100) < 80, [np.nan, np.nan]])
    case: NDArray[np.int64] = np.maximum(np.arange(102) - 99, 0)
    seen, _ = sum_trials(case, 3, passed, np.concatenate([log_time, np.log([50.0, 5.0])]), cut)
    late, early = seen.counts.odds[1:]
    assert late < 0.05
    assert early == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("share", "minutes_passed"), [(0.3, 20.0), (0.7, 50.0)])
def test_trials_that_were_cut_are_no_better_than_those_that_ended(share: float, minutes_passed: float) -> None:
    """All that were not cut passed, or nearly; still the share of passes is found, be they early or often cut too."""
    draw = np.random.default_rng(1)
    passed = draw.random(400) < share
    log_time = np.where(passed, math.log(minutes_passed), math.log(150)) + 0.4 * draw.normal(size=400)
    limit = math.log(60)
    cut = log_time > limit
    seen, _ = sum_trials(
        np.zeros(400, dtype=np.int64), 1, np.where(cut, np.nan, passed), np.minimum(log_time, limit), cut
    )
    assert (passed[~cut]).mean() > 0.9
    assert seen.passes[0] / 400 == pytest.approx(share, abs=0.1)
    assert seen.passing.means[0] == pytest.approx(math.log(minutes_passed), abs=0.15)


def test_a_trial_whose_time_nobody_knows_tells_that_it_failed_and_no_time() -> None:
    case = np.array([0, 0, 1])
    seen, _ = sum_trials(case, 2, np.array([1.0, 1.0, 0.0]), np.array([1.0, 2.0, np.nan]), np.zeros(3, dtype=bool))
    assert seen.trials.tolist() == [2, 1]
    assert seen.passes.tolist() == [2, 0]
    assert seen.failing.counts.tolist() == [0, 0]


def test_calibration_stretches_logits_that_were_too_timid_and_leaves_good_ones() -> None:
    draw = np.random.default_rng(0)
    logits = 2.0 * draw.normal(size=600)
    trials = np.full(600, 4.0)
    passes = np.array(draw.binomial(4, 1 / (1 + np.exp(-logits))), dtype=np.float64)
    counts, little = PassCounts.known(passes, trials), np.full(600, 0.01)
    assert calibrate_passes(logits, little, counts).slope == pytest.approx(1.0, abs=0.1)
    timid = calibrate_passes(logits / 2, little, counts)
    assert timid.slope == pytest.approx(2.0, abs=0.2)
    shifted = calibrate_passes(logits - 0.7, little, counts)
    assert shifted.offset == pytest.approx(0.7, abs=0.15)


def test_the_tools_of_a_speculation_are_those_of_its_lanes_in_order() -> None:
    rows, _ = world(tools=3.0, issues=0.2)
    values = fit(rows, unknown_of(rows))
    weak_first = Question(subject(0), ("tool-0", "tool-2"), repeats=False)
    strong_first = Question(subject(0), ("tool-2", "tool-0"), repeats=False)
    weak, strong = values.values([weak_first, strong_first]).passed
    assert strong[1] > weak[1] + 0.3  # one candidate: the first tool
    assert strong[2] == pytest.approx(weak[2], abs=0.05)  # both launch both
    assert weak[3] == weak[2]  # there is no third tool to launch


def test_fitting_twice_gives_the_same_values() -> None:
    rows, _ = world(n_issues=12)
    first, second = (fit(rows, known_of(rows), forest=True).values(questions_of(rows)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_too_few_trials_are_said_to_be_too_few() -> None:
    from planner.errors import DatasetError

    rows, _ = world(n_issues=1)
    with pytest.raises(DatasetError, match="too few to learn from"):
        fit(rows[:2], unknown_of(rows[:2]))


def test_trials_that_all_took_the_same_time_are_learned_from_like_others() -> None:
    rows, _ = world(n_issues=12)
    same = [row._replace(duration_ms=60_000) for row in rows]
    with np.errstate(all="raise", under="ignore"):
        values = fit(same, known_of(same), forest=True).values(questions_of(same))
    assert all(np.isfinite(kind).all() for kind in values)
    assert values.wall[:, 0] == pytest.approx(1.0, abs=0.1)


def test_logs_of_runs_that_were_nearly_all_cut_open_no_gate() -> None:
    rows, _ = world()
    logged = [row for row in rows if row.attempt == 0]
    cut = [
        row._replace(passed=None, duration_ms=600_000, cut=True) if at % 10 else row for at, row in enumerate(logged)
    ]
    known = unknown_of(cut)
    ran = PlanOutcomes(*(kind.copy() for kind in known.outcomes))
    ran.passed[:, 0] = 0.0
    for mode, gate in fit(cut, replace(known, outcomes=ran)).judged.gates(by_utility(LIMIT)).items():
        assert not gate.open, mode
        assert "12 of 120 trials ended by themselves; gate shut" in describe_gate(gate)


def test_valuing_plans_takes_numpy_alone() -> None:
    code = (
        "import planner.policies.structural_file, sys; "
        "print([n for n in ('scipy', 'sklearn', 'torch', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_losers_that_nobody_watched_do_not_make_a_tool_look_better_than_it_is() -> None:
    """Two tools, each of which passes in half of its trials, race 400 times; only the chosen candidate is recorded."""
    draw = np.random.default_rng(0)
    rows = []
    for issue in range(400):
        passed = draw.random(2) < 0.5
        chosen = int(draw.permutation(2)[0]) if passed.all() or not passed.any() else int(passed.argmax())
        run_passed = bool(passed.any())
        for lane in range(2):
            own = Trial("", "archive", "code", f"tool-{lane}", subject(issue), 0, run_passed, 60_000, False, 1, "train")
            if lane != chosen:
                own = own._replace(passed=None if run_passed else False, duration_ms=None)
                own = own._replace(candidates=2 * run_passed, known_passers=int(run_passed))
            rows.append(own)
    shares, odds = pass_shares(trials_of(rows))
    assert np.isfinite(shares).all()
    # Where both passed the chosen one is drawn: one that passed loses half of the time, one that failed always.
    unwatched = np.array([row.passed is None for row in rows])
    assert odds[unwatched] == pytest.approx(0.5, abs=0.02)
    assert (odds[~unwatched] == 1).all()
    seen, _ = sum_trials(np.arange(800), 800, shares, np.full(800, 1.0), np.zeros(800, dtype=np.bool_), odds)
    assert seen.counts.unsure.tolist() == unwatched.tolist()
    assert seen.counts.trials.tolist() == (~unwatched).tolist()
    assert seen.counts.odds[unwatched] == pytest.approx(0.5, abs=0.02)
    assert seen.passes.sum() == pytest.approx(shares.sum())
    for lane in range(2):
        assert shares[lane::2].mean() == pytest.approx(0.5, abs=0.04)


def test_of_two_that_ended_well_in_a_run_that_passed_at_least_one_passed() -> None:
    row = Trial("", "bench", "code", "tool", subject(0), 0, None, 60_000, False, 1, "train", 2, 0)
    others = [row._replace(passed=at < 5, candidates=0) for at in range(10)]
    shares = pass_shares(trials_of([row, row, *others])).share
    assert 1.2 < shares[:2].sum() < 1.5  # two coins, of which one at least shows heads: 4/3
