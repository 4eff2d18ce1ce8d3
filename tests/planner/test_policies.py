"""One suite over all policies that give probabilities: what every one of them must do, whatever it learned.

The baselines are those of the registry, so that a new one is held to the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.actions import Action
from planner.config import arch_names
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import Dataset, inputs_of_split, load_dataset
from planner.evaluation.decisions import decide_by_score
from planner.policies.policy import Policy
from planner.policies.registry import baselines
from planner.runs.learned import LearnedPolicy
from tests.planner.compared import write_compared
from tests.trained_runs import trained

JOINT = "-joint"
NEURAL = [*arch_names(), *(f"{arch}{JOINT}" for arch in arch_names())]
POLICIES = [*baselines(), *NEURAL]


@pytest.fixture(scope="module")
def fit(corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Policy]:
    kept: dict[str, Policy] = {}

    def make(name: str) -> Policy:
        if name not in kept:
            kept[name] = fitted(name, corpus_dataset, tmp_path_factory.mktemp(name.replace(" ", "-")) / "run")
        return kept[name]

    return make


def fitted(name: str, dataset: Path, run: Path) -> Policy:
    if name in baselines():
        one = baselines()[name]
        if one.needs_outcomes:
            dataset = write_compared(dataset, run.parent / "compared", two_outcomes)
        return one.fit(load_dataset(dataset))
    arch = name.removesuffix(JOINT)
    small = [] if arch == "mlp_planner" else ["model.d_model=32", "model.layers=1", "n_similar=2"]
    head = ["model.action_head=joint"] if name.endswith(JOINT) else []
    return LearnedPolicy(trained(dataset, run, *small, *head, arch=arch))


def two_outcomes(context: dict[str, Any]) -> list[ActionOutcome]:
    """What two actions are worth depends on the issue."""
    serial, vote = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
    worth = 0.9 if context["issue"]["dk_risk"] == "high" else 0.3
    return [ActionOutcome(serial, 1.0, 1000, 1000, False, 0.5), ActionOutcome(vote, 1.0, 1000, 2000, False, worth)]


@pytest.fixture(scope="module")
def dataset(corpus_dataset: Path) -> Dataset:
    return load_dataset(corpus_dataset)


@pytest.mark.parametrize("name", POLICIES)
def test_scores_are_a_distribution_over_the_valid_actions(
    name: str, fit: Callable[[str], Policy], dataset: Dataset
) -> None:
    policy = fit(name)
    for job_type in ("code", "fab-world"):
        rows = np.flatnonzero(np.array(dataset.splits["train"].table["job_type"]) == job_type)
        if not len(rows):
            continue
        scores = policy.score(inputs_of_split(dataset.splits["train"]).take(rows), job_type)
        assert scores.shape == (len(rows), len(dataset.space.valid_actions(job_type)))
        np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-9)


@pytest.mark.parametrize("name", POLICIES)
def test_an_action_that_the_context_does_not_admit_is_never_chosen(
    name: str, fit: Callable[[str], Policy], dataset: Dataset
) -> None:
    inputs = inputs_of_split(dataset.splits["train"])
    rows = np.flatnonzero(np.array(dataset.splits["train"].table["job_type"]) == "code")
    masks = np.array(inputs.masks[rows])
    masks[:, dataset.space.swarm_ids.index("serial_handoff")] = False
    narrowed = replace(inputs.take(rows), masks=masks)
    best = fit(name).score(narrowed, "code").argmax(axis=1)
    assert {dataset.space.valid_actions("code")[i].swarm_id for i in best} == {"speculate_vote"}


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_contexts_get_the_same_scores_alone_and_together(
    name: str, fit: Callable[[str], Policy], dataset: Dataset
) -> None:
    inputs = inputs_of_split(dataset.splits["train"])
    rows = np.flatnonzero(np.array(dataset.splits["train"].table["job_type"]) == "code")
    together = fit(name).score(inputs.take(rows), "code")
    alone = np.concatenate([fit(name).score(inputs.take(rows[i : i + 1]), "code") for i in range(3)])
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["most frequent in group", "most frequent nearby", "boosted trees"])
def test_a_policy_that_reads_the_context_fits_train_better_than_the_label_shares(
    name: str, fit: Callable[[str], Policy], dataset: Dataset
) -> None:
    split = dataset.splits["train"]
    baseline = decide_by_score(fit("most frequent"), split).label_log_prob.mean()
    assert decide_by_score(fit(name), split).label_log_prob.mean() > baseline + 0.05
