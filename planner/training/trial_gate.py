"""How far a trained network with a trial head may be followed: judged on validation when its training has ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from planner.config import TrainConfig
from planner.dataset.storage import Dataset, inputs_of_split
from planner.models.base import NeuralPolicy
from planner.policies.questions import question_of
from planner.policies.structural import MODES, Mode
from planner.policies.trial_plans import CODE
from planner.policies.trial_policy import MAX_QUESTIONS, TrialPolicy
from planner.policies.trial_values import MIN_JUDGED
from planner.runs.learned import predict
from planner.runs.trial_reading import GateDocument, ReadingDocument, foreseen_plans, write_reading
from planner.scoring.plan_outcome import PlanOutcomes
from planner.training.trial_examples import trials_of_examples

JUDGE = "structural"
"""The model that, knowing train's and validation's trials, says what plans come to that nobody tried."""


def judge_reading(
    checkpoint: Path, model: NeuralPolicy, dataset: Dataset, config: TrainConfig
) -> dict[Mode, GateDocument]:
    """Write trial_reading.json beside the checkpoint whose weights ``model`` has; returns its gates."""
    judge = TrialPolicy.fit(JUDGE, dataset, ("train", "val"))
    judged, reading = judge.values.judged, judge.reading
    foreseen, is_known = _foreseen(model, dataset, config, judge)
    # The judge's questions are those of train and, last, those of validation.
    n, n_judged = len(judged.groups), len(is_known)
    padded = PlanOutcomes(*(np.concatenate([np.zeros((n - n_judged, kind.shape[1])), kind]) for kind in foreseen))
    rows: dict[Mode, NDArray[np.intp]] = {
        # Of a few known issues alone nothing could be said; new ones are no easier to foresee.
        "known": n - n_judged + (np.flatnonzero(is_known) if is_known.sum() >= MIN_JUDGED else np.arange(n_judged)),
        "new": n - n_judged + np.flatnonzero(~is_known),
    }
    found = replace(judged, of_members=dict.fromkeys(MODES, (padded,)), rows=rows).gates(reading)
    gates = {mode: GateDocument.of(gate) for mode, gate in found.items()}
    write_reading(
        checkpoint,
        ReadingDocument(
            metrics=list(judge.metrics),
            gates=gates,
            keeps_rule=judged.keeps_rule,
            fixed=judged.fixed_scores(reading).tolist(),
            known_issues=sorted(_learned_issues(dataset)),
            label_shares={job_type: shares.tolist() for job_type, shares in judge.label_shares.items()},
        ),
    )
    return gates


def _foreseen(
    model: NeuralPolicy, dataset: Dataset, config: TrainConfig, judge: TrialPolicy
) -> tuple[PlanOutcomes, NDArray[np.bool_]]:
    """What the network foresees of validation's latest code examples, and whether train has trials of their issues."""
    split = dataset.splits["val"]
    rows = np.flatnonzero(np.array(split.table["job_type"]) == CODE)[-MAX_QUESTIONS:]
    contexts = split.contexts()
    questions = [question_of(contexts[row], dataset.info.kernel_config) for row in rows.tolist()]
    model.eval()
    beliefs = predict(model, inputs_of_split(split).take(rows), config.n_similar, torch.device("cpu")).trials
    assert beliefs is not None
    learned = _learned_issues(dataset)
    is_known = np.array([question.subject.issue_id in learned for question in questions], dtype=bool)
    return foreseen_plans(beliefs, questions, model.tools, judge.values.plans), is_known


def _learned_issues(dataset: Dataset) -> set[str]:
    """The issues whose trials train teaches."""
    contexts = dataset.splits["train"].contexts()
    counts = np.diff(trials_of_examples(dataset, "train").bounds)
    config = dataset.info.kernel_config
    return {question_of(contexts[row], config).subject.issue_id for row in np.flatnonzero(counts).tolist()}
