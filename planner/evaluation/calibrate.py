"""`planner calibrate`: fit temperatures on validation and choose the abstain threshold for a promised risk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Split, inputs_of_split, load_dataset
from planner.errors import NothingToJudgeError
from planner.evaluation.decisions import Decisions, as_the_kernel_sees_them, decide_jointly, labels_of, losses
from planner.evaluation.evaluate import check_same_space
from planner.places import Place
from planner.runs.checkpoint import CalibrationDocument, read_run, write_calibration
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import choose_threshold, out_of_fold, scale, temperatures_of
from planner.scoring.reliability import expected_calibration_error, reliability


def calibrate_run(
    run: Path, dataset_path: Place | None = None, *, max_risk: float = 0.1, confidence: float = 0.95
) -> CalibrationDocument:
    """Calibrate the run's best checkpoint on the dataset's validation split and write calibration.json beside it.

    The loss of a decision is its regret where the bench executed several actions, else disagreement with the label. A
    policy on the kernel's token profile is given a threshold on the kernel's own confidence. Temperatures that on
    cross-validation over issues make the calibration error larger are not kept: all stay 1. DatasetError when
    validation is empty.
    """
    policy = LearnedPolicy(run, calibrated=False)
    dataset = load_dataset(dataset_path or read_run(run).own_dataset)
    check_same_space(policy.space, dataset)
    split = dataset.splits["val"]
    if not len(split):
        raise NothingToJudgeError(f"{dataset.path}: validation is empty, there is nothing to calibrate on")
    raw, targets = policy.head_log_probs(inputs_of_split(split)), policy.model.targets(split.labels)
    temperatures = temperatures_of(raw, targets)
    issues = np.unique(split.table["issue_id"], return_inverse=True)[1]
    before, unseen = (
        _decided(policy, heads, split, dataset.space) for heads in (raw, out_of_fold(raw, targets, issues))
    )
    ece_before, ece_unseen = _calibration_error(before, split), _calibration_error(unseen, split)
    kept = ece_before is None or ece_unseen is None or ece_unseen <= ece_before
    if not kept:
        temperatures = [1.0] * len(temperatures)
    scaled = [scale(head, temperature) for head, temperature in zip(raw, temperatures, strict=True)]
    decisions = _decided(policy, scaled, split, dataset.space)
    lost = losses(decisions, labels_of(split))
    threshold = choose_threshold(decisions.confidence, lost, max_risk=max_risk, level=confidence)
    calibration = CalibrationDocument(
        temperatures=dict(zip(policy.outputs, temperatures, strict=True)),
        temperatures_kept=kept,
        threshold=threshold.value,
        guaranteed=threshold.guaranteed,
        max_risk=max_risk,
        confidence=confidence,
        accepted=threshold.accepted,
        examples=threshold.examples,
        risk=threshold.risk,
        ece_before=ece_before,
        ece_cross_validated=ece_unseen,
        ece_after=_calibration_error(decisions, split),
        reliability_before=reliability(before.confidence, _agreeing(before, split)),
        reliability_after=reliability(decisions.confidence, _agreeing(decisions, split)),
        dataset_hash=dataset.info.dataset_hash,
    )
    write_calibration(policy.checkpoint, calibration)
    return calibration


def _decided(
    policy: LearnedPolicy, heads: Sequence[NDArray[np.float64]], split: Split, space: ActionSpace
) -> Decisions:
    """What the policy's ``heads`` decide, with the confidence that its user will see."""
    decisions = decide_jointly(policy.name, heads, split, space)
    if policy.document.token_profile == "kernel":
        return as_the_kernel_sees_them(decisions, heads, space)
    return decisions


def _calibration_error(decisions: Decisions, split: Split) -> float | None:
    return expected_calibration_error(decisions.confidence, _agreeing(decisions, split))


def _agreeing(decisions: Decisions, split: Split) -> NDArray[np.float64]:
    """1 where a decision agrees with the label, else 0, (n,)."""
    return np.array([a == b for a, b in zip(decisions.actions, labels_of(split), strict=True)], dtype=np.float64)
