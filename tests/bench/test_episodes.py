"""Tests of policies per episode on recorded trials: asked again after a failure, judged over orders."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from bench.containment.limits import Deadline
from bench.executors.replay import ReplayExecutor
from bench.judging.episodes import FIXED_IN_HINDSIGHT, FIXED_LEARNED, episode_scores
from bench.judging.objective import Objective
from bench.judging.results import CaseResults
from bench.planning.cases import add_cases
from bench.planning.selections import AllActions
from planner.actions import Action, action_from_document
from planner.contracts.document import validate
from planner.contracts.kernel import PlannerInput
from planner.scoring.utility import DEFAULT_METRICS
from tests.bench.test_replay import write_tables

TRIALS: dict[tuple[str, str], list[tuple[bool, float]]] = {
    ("p", "x"): [(True, 10), (False, 20), (False, 20), (True, 50)],
    ("q", "x"): [(False, 5), (False, 25), (False, 20), (True, 40)],
    ("r", "x"): [(True, 3), (True, 9), (False, 20), (True, 40)],
}
QUICK, LONG = Action("serial_handoff", 1, 15, 1), Action("speculate_vote", 2, 60, 1)


@pytest.fixture
def results(tmp_path: Path) -> list[CaseResults]:
    executor = ReplayExecutor.prepare(write_tables(tmp_path / "tables", TRIALS), n_trials=4)
    found = []
    for case in add_cases([], [], executor.drafts(None, "recorded"), AllActions(), 4, None):
        actions = [action_from_document(action.model_dump()) for action in case.actions]
        outcomes = {a: [executor.execute(case, a, Path("unused"), 0, Deadline(None))] for a in actions}
        found.append(CaseResults(case, outcomes, Objective(), minute_seconds=60.0))
    return found


def scores(results: list[CaseResults], **policies: Any) -> dict[str, dict[str, Any]]:
    rows = episode_scores(results, results, policies, 60.0, DEFAULT_METRICS, np.arange(len(results)))
    return {row.policy: asdict(row) for row in rows}


def test_a_policy_is_asked_again_with_one_attempt_more_and_judged_by_both_its_answers(
    results: list[CaseResults],
) -> None:
    seen: list[list[dict[str, Any]]] = []

    def quick_then_long(contexts: Sequence[dict[str, Any]]) -> list[dict[Action, float]]:
        seen.append(list(contexts))
        return [{(LONG if context["issue"]["dk_attempts"] else QUICK): 0.0} for context in contexts]

    row = scores(results, quick_then_long=quick_then_long)["quick_then_long"]
    played = []
    for trials in TRIALS.values():
        for first, *others in itertools.permutations(trials):
            if first[0] and first[1] <= 15:
                played.append((1.0, first[1], first[1]))
                continue
            lanes = others[:2]
            passed = any(p for p, _ in lanes)
            quick = min(first[1], 15)
            played.append((float(passed), quick + max(t for _, t in lanes), quick + sum(t for _, t in lanes)))
    means = [fmean(column) for column in zip(*played, strict=True)]
    assert [row[key] for key in ("passed", "wall_minutes", "agent_minutes")] == pytest.approx(means)
    for context in seen[1]:
        validate(PlannerInput, context, "the context after a failure")
        (run,) = context["history"]["last_n_similar_runs"]
        assert (run["outcome"]["status"], run["issue_id"]) == ("failed", context["issue"]["issue_id"])
        assert run["action_executed"]["max_minutes"] == 15


def test_no_fixed_pair_beats_the_best_one_in_hindsight_and_a_policy_that_takes_it_wins_nothing(
    results: list[CaseResults],
) -> None:
    rows = scores(results, any_action=lambda contexts: [{} for _ in contexts])
    best = rows[FIXED_IN_HINDSIGHT]
    assert best["utility_won"] == 0 and best["utility"] >= max(rows[n]["utility"] for n in ("heuristic", "any_action"))
    assert rows[FIXED_LEARNED]["utility"] == best["utility"]


def test_cases_without_trials_have_no_episodes(results: list[CaseResults]) -> None:
    bare = [
        CaseResults(r.case.model_copy(update={"trials": None}), r.outcomes, r.objective, minute_seconds=60.0)
        for r in results
    ]
    assert scores(bare) == {}
