"""The model by effects, for very many cases, beside the exact one where both can be fitted."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.encoding.subject import Subject
from planner.policies import case_effects, case_vocabulary, expectation_propagation, fit_effects, structural
from planner.policies.case_kernel import Cases
from planner.policies.case_posterior import ByCases, ByEffects
from planner.policies.case_trials import sum_trials
from planner.policies.case_vocabulary import CaseVocabulary
from planner.policies.questions import Question
from planner.policies.readings import by_utility, settled
from planner.policies.structural import Mode, StructuralModel, fit_structural
from planner.policies.structural_file import NUMBERS, StructuralDecider, read_decider, write_decider
from planner.scoring.plan_outcome import Plan
from planner.scoring.utility import DEFAULT_METRICS

TOOLS, GROUPS, TRIALS = 4, 12, 4
PLANS = [
    Plan(s, c, i, m)
    for s, c, i, m in ((False, 1, 1, 15.0), (False, 1, 2, 60.0), (True, 2, 1, 60.0), (True, 3, 1, 120.0))
]


class World:
    """Issues of groups, with sizes and words, each tried by some of the tools; logits and times add up from all."""

    def __init__(self, n_issues: int, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        group, size = draw.integers(0, GROUPS, n_issues), draw.normal(size=n_issues)
        of_issue, of_pair = draw.normal(size=n_issues), draw.normal(size=(GROUPS, TOOLS))
        words = draw.integers(0, 80, (n_issues, 6))
        self.subjects = [
            Subject(
                f"issue-{at}",
                f"group-{group[at]}",
                float(np.exp(4 + size[at])),
                " ".join(f"word{w:02d}x" for w in words[at]),
            )
            for at in range(n_issues)
        ]
        pairs = [(i, t) for i in range(n_issues) for t in range(TOOLS) if draw.random() < 0.8]
        issue, tool = np.array(pairs).T
        logit = 1.2 * of_issue[issue] + of_pair[group[issue], tool] - 0.6 * size[issue] + 0.4 * tool - 0.6
        log_time = 3.0 + 0.5 * size[issue] + 0.3 * of_issue[issue]
        case: NDArray[np.int64] = np.repeat(np.arange(len(pairs)), TRIALS)
        passed = draw.random(len(case)) < 1 / (1 + np.exp(-logit[case]))
        times = log_time[case] + 0.4 * draw.normal(size=len(case)) + 0.5 * ~passed
        self.seen, self.residuals = sum_trials(
            case, len(pairs), passed.astype(np.float64), times, np.zeros(len(case), dtype=bool)
        )
        asked = [self.subjects[i] for i in issue]
        tools = [f"tool-{t}" for t in tool]
        self.vocabulary = CaseVocabulary.fit(asked, tools)
        self.cases = self.vocabulary.cases(asked, tools)
        self.questions = [Question(s, (t,), repeats=True) for s, t in zip(asked, tools, strict=True)]


def fitted(world: World, most: int, monkeypatch: pytest.MonkeyPatch) -> StructuralModel:
    monkeypatch.setattr(structural, "MANY_CASES", most)
    return fit_structural(world.vocabulary, world.cases, world.seen, world.residuals).model


def questions_about(world: World) -> list[Question]:
    """Of known cases, known issues with several tools in order, new issues of known groups, and what nobody knows."""
    several = [Question(s, ("tool-2", "tool-0", "tool-3"), repeats=False) for s in world.subjects[:40]]
    new = [
        Question(Subject(f"new {s.issue_id}", s.group, 90.0, s.text), ("tool-1",), True) for s in world.subjects[:40]
    ]
    unknown = [Question(Subject("new", "new", 30.0, ""), (tool,), True) for tool in ("tool-0", "nobody's")]
    return [*world.questions, *several, *new, *unknown]


def test_with_all_effects_and_the_same_variances_it_is_the_exact_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectation_propagation, "TOLERANCE", 1e-8)
    world = World(60)
    exact, by_effects = (fitted(world, most, monkeypatch) for most in (10_000, 0))
    asked = questions_about(world)
    for found, wanted in zip(by_effects.values(asked, PLANS), exact.values(asked, PLANS), strict=True):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_as_many_cases_are_fitted_it_gives_nearly_the_same_values_and_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = fitted(World(160), 10_000, monkeypatch)
    monkeypatch.setattr(case_vocabulary, "MANY_CASES", 0)  # words are summed up
    monkeypatch.setattr(fit_effects, "VARIANCE_CASES", 300)
    monkeypatch.setattr(case_effects, "MAX_COLUMNS", 130)
    world = World(160)
    by_effects = fitted(world, 0, monkeypatch)
    assert isinstance(by_effects.posterior, case_effects.EffectPosterior)
    assert (by_effects.posterior.columns.of_pair == case_effects.NO_COLUMN).any()
    wanted, found = (model.values(world.questions, PLANS) for model in (exact, by_effects))
    assert np.abs(found.passed - wanted.passed).mean() < 0.02
    reading = by_utility(120.0)
    best = (settled(reading(values)).argmax(axis=1) for values in (wanted, found))
    assert np.mean(np.equal(*best)) > 0.9


def test_what_is_left_out_is_foreseen_as_by_the_exact_model() -> None:
    world = World(60)
    out = np.random.default_rng(1).random(len(world.cases)) < 0.3
    (_, wanted), (_, found) = (
        learn(world.cases, world.seen, world.residuals).left_out(out) for learn in (ByCases, ByEffects)
    )
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_twenty_thousand_cases_are_fitted_in_far_less_memory_than_one_matrix_of_them_takes() -> None:
    n = 20_000
    draw = np.random.default_rng(0)
    issue: NDArray[np.int64] = np.arange(n) // 4
    group = draw.integers(0, 30, n // 4)
    cases = Cases(np.arange(n) % 4, issue, group[issue], np.zeros(n), np.zeros((n, 0)))
    passes: NDArray[np.int64] = draw.binomial(3, 0.2 + 0.6 * (group[issue] % 2), size=n)
    case: NDArray[np.int64] = np.repeat(np.arange(n), 3)
    passed = np.tile(np.arange(3), n) < np.repeat(passes, 3)
    seen, residuals = sum_trials(
        case, n, passed.astype(np.float64), draw.normal(size=3 * n), np.zeros(3 * n, dtype=bool)
    )
    tracemalloc.start()
    learner = ByEffects(cases, seen, residuals)
    learner.left_out(issue % 20 == 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * n * 8 / 10
    (mean, _), *_ = learner.posterior.foresee(cases, cases.take(np.arange(2000)), 1)
    odd = group[issue[:2000]] % 2 == 1
    assert mean[odd].mean() > 1 > -1 > mean[~odd].mean()


def test_a_bundle_by_effects_is_the_model_and_its_size_grows_with_cases_and_columns_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_vocabulary, "MANY_CASES", 0)
    world = World(150)
    model = fitted(world, 0, monkeypatch)
    space = ActionSpace.default(["serial_handoff"])
    is_open: dict[Mode, bool] = {"known": True, "new": True}
    write_decider(tmp_path, StructuralDecider(model, (), {}, DEFAULT_METRICS, is_open, False, np.zeros(0), {}))
    read = read_decider(tmp_path, space, {}).model
    asked = questions_about(world)
    for found, wanted in zip(read.values(asked, PLANS), model.values(asked, PLANS), strict=True):
        assert found.tolist() == wanted.tolist()
    assert isinstance(model.posterior, case_effects.EffectPosterior)
    n_columns = len(model.posterior.processes[0].spread)
    per_case = 5 + case_vocabulary.WORD_DIRECTIONS + 2 * 3
    with np.load(tmp_path / NUMBERS) as numbers:
        held = sum(array.size for array in numbers.values())
    assert held < per_case * len(world.cases) + 3 * n_columns * (n_columns + 1) + 5000


def test_words_of_many_cases_are_summed_up_and_their_likeness_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(120)
    subjects = [question.subject for question in world.questions]
    tools = [question.tools[0] for question in world.questions]
    monkeypatch.setattr(case_vocabulary, "MANY_CASES", 100)
    summed = CaseVocabulary.fit(subjects, tools)
    text = summed.cases(subjects, tools).text
    assert text.shape == (len(subjects), case_vocabulary.WORD_DIRECTIONS)
    assert summed == CaseVocabulary.from_document(summed.to_document())
    likeness = [(rows @ rows.T).ravel() for rows in (text, world.cases.text)]
    assert np.corrcoef(*likeness)[0, 1] > 0.95
