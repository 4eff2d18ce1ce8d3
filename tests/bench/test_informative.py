"""Tests of what logs alone teach a bench: which actions to try, and what to take after a failure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.judging.episodes import after_failure
from bench.planning.informative_selection import InformativeSelection
from bench.planning.selections import Choice, runnable_actions
from bench.testbeds.simulation.repo import simulate_repo
from planner.actions import Action, ActionSpace
from planner.dataset.build import build_dataset
from planner.dataset.storage import load_dataset
from planner.dataset.trials import read_trials
from planner.encoding.subject import subject_of
from planner.errors import BenchError
from planner.policies.informative import informative_plans
from planner.policies.questions import question_of
from planner.policies.readings import by_utility
from planner.policies.trial_plans import plans_of_actions
from planner.policies.two_steps import TwoSteps, failed_plans
from planner.runs.fitted import FittedPolicy, fit_run
from planner.scoring.plan_outcome import Plan

RULE = Action("serial_handoff", 1, 60, "NA")


@pytest.fixture(scope="module")
def dataset(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logs")
    simulate_repo(directory / "repo", runs=150, issues=40, open_issues=2, seed=3)
    build_dataset(directory / "repo", directory / "dataset")
    return directory / "dataset"


@pytest.fixture(scope="module")
def run(dataset: Path) -> Path:
    path = dataset.with_name("run")
    fit_run(path, "structural", dataset)
    return path


def choice_of(context: dict[str, Any]) -> Choice:
    space = ActionSpace.from_document(context["action_space"])
    return Choice("case", context, RULE, pool=runnable_actions(space, "code", Choice.limits))


def test_the_informative_selection_tries_the_rule_and_then_what_may_turn_out_best(dataset: Path, run: Path) -> None:
    context = load_dataset(dataset).splits["test"].contexts()[0]
    choice = choice_of(context)
    chosen = InformativeSelection([run]).choose(choice, 4)
    assert chosen[0] == RULE and len(set(chosen)) == 4 and set(chosen[1:]) <= set(choice.pool)
    policy = FittedPolicy.load(run).policy
    tried, plans = (plans_of_actions(part, policy.kernel_config) for part in ([RULE], choice.rest))
    draws = policy.values.structural.draws_of(question_of(context, policy.kernel_config), [*tried, *plans])
    worth = by_utility()(draws)
    gains = np.maximum(worth[:, 1:] - worth[:, :1], 0).mean(axis=0)
    assert chosen[1] == choice.rest[int(gains.argmax())]
    everything = InformativeSelection([run]).choose(choice, 1000)
    assert everything[:4] == chosen and set(everything) == {RULE, *choice.rest}


def test_what_two_plans_tell_alike_is_counted_once(dataset: Path, run: Path) -> None:
    policy = FittedPolicy.load(run).policy
    question = question_of(load_dataset(dataset).splits["test"].contexts()[0], policy.kernel_config)
    wide = Plan(True, 3, 1, 60.0)
    found = informative_plans(
        policy.values.structural, question, [wide, wide], [Plan(False, 1, 1, 15.0)], policy.reading, 2
    )
    assert [at for at, _ in found] == [0]


def test_a_selection_without_a_structural_run_is_refused(tmp_path: Path) -> None:
    for runs in ([], [tmp_path]):
        with pytest.raises(BenchError, match="planner train --arch structural"):
            InformativeSelection(runs)


def test_a_failure_that_the_model_has_not_learned_from_lowers_what_it_expects(dataset: Path) -> None:
    opened = load_dataset(dataset)
    policy = TwoSteps(opened)
    contexts = opened.splits["test"].contexts()
    before = contexts[0]
    after = after_failure(before, RULE, 60_000.0)
    assert failed_plans(after, ())[-1] == Plan(False, 1, 1, 60.0)
    ended_ms = {(s.issue_id, at) for s, at in zip(*_ends(dataset), strict=True)}
    learned = {*ended_ms, (subject_of(after).issue_id, _end(after))}
    assert failed_plans(after, learned) == failed_plans(before, ended_ms)
    first, second = policy.planned([before, after])
    assert second.max() < first.max()


def _ends(dataset: Path) -> tuple[list[Any], list[int]]:
    trials = read_trials(dataset)
    return trials.subjects, trials.ended_ms.tolist()


def _end(context: dict[str, Any]) -> int:
    run = context["history"]["last_n_similar_runs"][0]
    return int(run["started_ms"] + run["runtime"]["duration_ms"])
