"""The trial head: its likelihood and its arithmetic against plain computations, and what it learns trials from."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planner.actions import ActionSpace
from planner.config import load_config
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.dataset.trials import read_trials
from planner.encoding.subject import Subject
from planner.errors import ConfigError, DatasetError, ExportError
from planner.evaluation.evaluate import evaluate_run
from planner.export.bundle import export_bundle
from planner.models.base import ModelSpec, NeuralPolicy, Prediction
from planner.models.load import build_model
from planner.models.trial_head import TrialBeliefs
from planner.policies.questions import Question
from planner.policies.trial_plans import plans_of_rule
from planner.runs.learned import LearnedPolicy, predict
from planner.runs.trial_reading import foreseen_plans
from planner.scoring.plan_outcome import Plan
from planner.training.loop import start_run, train
from planner.training.trial_examples import ExampleTrials, trials_of_examples
from planner.training.trial_loss import TrialLoss, logits_of_issues, trial_log_likelihood
from tests.planner.test_frozen_formats import DATASET

CPU = torch.device("cpu")
TOOLS = ("x", "y")
SPACE = ActionSpace.default(("serial_handoff", "speculate_vote"))
SETTING = "model.action_head=trials"


def beliefs(
    logits: list[float], means: list[tuple[float, float]], deviation: float = 0.5, issues: float = 0.0
) -> TrialBeliefs:
    """Of one issue."""
    found = torch.tensor([means], dtype=torch.float64)
    return TrialBeliefs(
        torch.tensor([logits], dtype=torch.float64),
        found,
        torch.full_like(found, math.log(deviation)),
        torch.tensor(issues, dtype=torch.float64),
    )


def of_one_example(*rows: tuple[str, float, float, bool]) -> ExampleTrials:
    """Trials (tool, passed, minutes, cut) of one example."""
    tools, passed, minutes, cut = zip(*rows, strict=True)
    bounds = np.array([0, len(rows)], dtype=np.int64)
    return ExampleTrials(
        bounds, np.array(tools), np.array(passed), np.log(np.array(minutes)), np.array(cut), np.ones(len(rows))
    )


def normal(x: float, mean: float, deviation: float) -> float:
    """Density without the constant."""
    return math.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation


def above(x: float, mean: float, deviation: float) -> float:
    return math.erfc((x - mean) / deviation / math.sqrt(2)) / 2


def plain_likelihood(found: TrialBeliefs, trials: ExampleTrials) -> float:
    """Trial by trial, over a fine grid of how hard the issue is."""
    sigma = float(found.issue_deviation)
    total, weight = 0.0, 0.0
    for z in np.linspace(-6, 6, 1201):
        product = math.exp(-(z**2) / 2)
        weight += product
        for at, tool in enumerate(trials.tools.tolist()):
            own = TOOLS.index(tool) if tool in TOOLS else len(TOOLS)
            p = 1 / (1 + math.exp(-(float(found.pass_logits[0, own]) + sigma * z)))
            (a, b), time = found.log_minutes[0, own].tolist(), float(trials.log_minutes[at])
            s, t = found.log_deviations[0, own].exp().tolist()
            if trials.cut[at]:
                product *= p * above(time, a, s) + (1 - p) * above(time, b, t)
            else:
                of_time = 1.0 if math.isnan(time) else normal(time, a, s) if trials.passed[at] else normal(time, b, t)
                product *= (p if trials.passed[at] else 1 - p) * of_time
        total += product
    return math.log(total / weight)


@pytest.mark.parametrize("issues", [0.0, 1.5])
def test_the_likelihood_is_that_of_a_plain_computation(issues: float) -> None:
    found = beliefs([0.4, -0.7, 0.1], [(2.0, 3.0), (1.5, 2.5), (2.2, 2.4)], issues=issues)
    trials = of_one_example(
        ("x", 1.0, 8.0, False),
        ("y", 0.0, 20.0, False),
        ("x", math.nan, 15.0, True),
        ("new", 0.0, math.nan, False),
    )
    loss = TrialLoss(trials, TOOLS, CPU)
    likelihood = loss.log_likelihood(found, np.array([0])).item()
    assert likelihood == pytest.approx(plain_likelihood(found, trials), abs=1e-3)


def gradients(minutes: float, *, passed: bool = False, cut: bool = False) -> tuple[float, float, float]:
    """By how much the likelihood of one trial grows with the pass logit, and with both mean log times: 10 and 40
    minutes."""
    logits = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    means = torch.tensor([[math.log(10), math.log(40)]], dtype=torch.float64, requires_grad=True)
    found = trial_log_likelihood(
        logits,
        means,
        torch.full((1, 2), math.log(0.5), dtype=torch.float64),
        passed=torch.tensor([float(passed)]),
        cut=torch.tensor([cut]),
        log_odds=torch.tensor([math.nan]),
        log_minutes=torch.tensor([math.log(minutes)], dtype=torch.float64),
    )
    found.sum().backward()
    assert logits.grad is not None and means.grad is not None
    return logits.grad.item(), means.grad[0, 0].item(), means.grad[0, 1].item()


def test_a_trial_that_was_cut_teaches_that_it_would_have_taken_longer_and_no_more() -> None:
    # Cut where nearly no passing trial is left, it has probably failed; cut at once, it tells nothing.
    logit, passing, failing = gradients(30.0, cut=True)
    assert logit < -0.3
    assert passing > 0 and failing > 0
    logit, passing, failing = gradients(0.5, cut=True)
    assert logit == pytest.approx(0, abs=1e-3) and passing == pytest.approx(0, abs=1e-3)
    # A trial that failed by itself says so for certain, and that failing ones are as quick as it was.
    logit, passing, failing = gradients(30.0)
    assert logit == pytest.approx(-0.5) and passing == 0 and failing < 0
    logit, passing, failing = gradients(30.0, passed=True)
    assert logit == pytest.approx(0.5) and passing > 0 and failing == 0


def test_a_candidate_of_which_nobody_knows_whether_it_passed_teaches_what_its_run_says_and_no_time() -> None:
    logits = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    found = trial_log_likelihood(
        logits,
        torch.zeros(1, 2, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        passed=torch.tensor([0.0]),
        cut=torch.tensor([False]),
        log_odds=torch.tensor([math.log(0.2)], dtype=torch.float64),
        log_minutes=torch.tensor([math.nan], dtype=torch.float64),
    )
    found.sum().backward()
    assert found.item() == pytest.approx(math.log(0.5 * 0.2 + 0.5))
    # Its chance to have passed is now one in six.
    assert logits.grad is not None and logits.grad.item() == pytest.approx(1 / 6 - 0.5)


def question(*tools: str, repeats: bool = True) -> Question:
    return Question(Subject("issue", "", 60.0, ""), tools, repeats)


def test_one_attempt_passes_if_it_would_in_time_and_takes_no_longer_than_its_limit() -> None:
    found = beliefs([0.4, -0.7, 0.0], [(2.0, 3.0), (1.5, 2.5), (2.0, 2.0)])
    outcomes = foreseen_plans(found, [question("y")], TOOLS, [Plan(False, 1, 1, 12.0)])
    p, limit = 1 / (1 + math.exp(0.7)), math.log(12.0)
    assert outcomes.passed[0, 0] == pytest.approx(p * (1 - above(limit, 1.5, 0.5)), abs=0.01)
    draw = np.random.default_rng(0).normal(size=200_000)
    cut = [np.minimum(np.exp(mean + 0.5 * draw), 12.0).mean() for mean in (1.5, 2.5)]
    assert outcomes.wall[0, 0] == pytest.approx(p * cut[0] + (1 - p) * cut[1], rel=0.02)


def test_every_lane_has_its_own_tool_and_a_tool_that_nobody_knows_the_last_beliefs() -> None:
    found = beliefs([9.0, -9.0, 0.0], [(1.0, 1.0)] * 3)
    plans = [Plan(True, lanes, 1, 60.0) for lanes in (1, 2)]
    passed = [
        foreseen_plans(found, [question(*tools, repeats=False)], TOOLS, plans).passed[0].tolist()
        for tools in (("y", "x"), ("y", "z"), ("y",))
    ]
    assert passed[0] == pytest.approx([0, 1], abs=0.01)
    assert passed[1] == pytest.approx([0, 0.5], abs=0.01)
    # Without a second tool there is no second candidate.
    assert passed[2] == pytest.approx([0, 0], abs=0.01)


def test_several_attempts_at_an_issue_that_may_be_hopeless_help_less() -> None:
    plans = [Plan(True, lanes, 1, 600.0) for lanes in (1, 3)]
    alike = foreseen_plans(beliefs([0.0] * 3, [(1.0, 1.0)] * 3), [question("x")], TOOLS, plans).passed[0]
    apart = foreseen_plans(beliefs([0.0] * 3, [(1.0, 1.0)] * 3, issues=4.0), [question("x")], TOOLS, plans).passed[0]
    assert alike[1] == pytest.approx(1 - 0.5**3, abs=0.01)
    assert apart[0] == pytest.approx(0.5, abs=0.02) and apart[1] < 0.72


def test_how_much_issues_differ_is_read_from_repeats_and_without_any_stays_near_one() -> None:
    draw = np.random.default_rng(0)
    for truth in (0.3, 3.0):
        logits = -0.5 + truth * draw.normal(size=400)
        passed = (draw.random((400, 6)) < 1 / (1 + np.exp(-logits))[:, None]).astype(float)
        size = passed.size
        trials = ExampleTrials(
            np.arange(0, size + 1, 6),
            np.full(size, "x"),
            passed.ravel(),
            np.zeros(size),
            np.zeros(size, dtype=bool),
            np.ones(size),
        )
        mean, deviation = logits_of_issues(trials)
        assert mean == pytest.approx(-0.5, abs=0.5)
        assert deviation == pytest.approx(truth, rel=0.4)
        single = ExampleTrials(
            np.arange(401), trials.tools[:400], passed[:, 0], np.zeros(400), trials.cut[:400], np.ones(400)
        )
        assert 0.4 < logits_of_issues(single)[1] < 2.5


@pytest.mark.parametrize("arch", ["mlp_planner", "transformer_planner", "urm_planner"])
def test_every_architecture_gives_beliefs_about_the_known_tools_and_an_unknown_one(
    arch: str, corpus_dataset: Path
) -> None:
    dataset = load_dataset(corpus_dataset)
    small = [] if arch == "mlp_planner" else ["model.d_model=32", "model.layers=1"]
    config = load_config(arch, None, [SETTING, *small])
    model: NeuralPolicy = build_model(config.class_path, config.model, ModelSpec.of(dataset.info, TOOLS))
    prediction: Prediction = predict(model, inputs_of_split(dataset.splits["train"]), 2, CPU)
    assert prediction.trials is not None
    assert prediction.trials.log_minutes.shape == (len(dataset.splits["train"]), 3, 2)
    assert model.outputs == ("joint",)


def test_a_trial_is_learned_with_the_context_in_which_it_was_launched(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    trials, part = read_trials(corpus_dataset), dataset.splits["train"]
    found = trials_of_examples(dataset, "train")
    assert len(found) == len(part)
    usable = trials.usable & (trials.job_type == "code") & (trials.split == "train")
    assert 0 < len(found.tools) <= usable.sum()
    ends = {(s.issue_id, at) for s, at in zip(trials.subjects, trials.ended_ms.tolist(), strict=True)}
    for example in found.example.tolist():
        later = [at for issue, at in ends if issue == part.table["issue_id"][example]]
        assert max(later) >= part.table["decided_ms"][example]


def start(dataset: Path, run: Path, *settings: str) -> Any:
    config = load_config("mlp_planner", None, [SETTING, "epochs=1", *settings])
    return start_run(run, config, dataset, init_from=None, workers=1, resume=False)


def test_what_a_trial_head_cannot_use_is_refused_before_anything_is_written(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    for settings, message in (
        (["labels=soft"], "labels: a trial head"),
        (["head_weights=[2,1,1,1]"], "head_weights: a trial head"),
        (["select_by=regret"], "select_by regret"),
        (["model.value_head=true"], "leave value_head out"),
    ):
        with pytest.raises(ConfigError, match=message):
            start(corpus_dataset, tmp_path / "run", *settings)
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_an_earlier_program_has_no_trials_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no table of trials"):
        start(DATASET, tmp_path / "run")


def test_a_run_decides_once_its_training_has_ended_and_is_no_bundle(corpus_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    start(corpus_dataset, run)
    state = train(run)
    assert state.selected_by == "trial_log_likelihood" and state.best_metric is not None
    assert state.note is not None and "gate" in state.note
    policy = LearnedPolicy(run)
    assert policy.document.tools == list(trials_of_examples(load_dataset(corpus_dataset), "train").known_tools)
    # Taught by logs alone and shown nothing on validation, it keeps today's rule.
    dataset = load_dataset(corpus_dataset)
    contexts = [c for c in dataset.splits["train"].contexts() if c["job_type"] == "code"]
    assert policy.reading is not None and policy.reading.document.keeps_rule
    assert not any(gate.open for gate in policy.reading.document.gates.values())
    (found,) = policy.log_probs_of(contexts)
    rule = [
        dataset.space.valid_actions("code")[at]
        for at in plans_of_rule(contexts, dataset.space, dataset.info.kernel_config)
    ]
    assert [policy.space.decode([row], "code") for row in found] == rule
    evaluation = evaluate_run(run, corpus_dataset)
    assert policy.name in evaluation.splits["train"]["all"].policies
    with pytest.raises(ExportError, match="--teacher"):
        export_bundle(run, tmp_path / "bundle")
    (policy.checkpoint / "trial_reading.json").unlink()
    with pytest.raises(Exception, match="the command that began it goes on"):
        LearnedPolicy(run)
    train(run)
    LearnedPolicy(run)
