"""`planner calibrate`: fit temperatures on validation and choose the abstain threshold for a promised risk."""

from pathlib import Path

import numpy as np

from planner.dataset.storage import inputs_of_split, load_dataset
from planner.errors import DatasetError
from planner.evaluation.decisions import as_the_kernel_sees_them, decide_jointly, labels_of, losses
from planner.evaluation.evaluate import check_same_space
from planner.evaluation.metrics import expected_calibration_error
from planner.runs.checkpoint import CalibrationDocument, read_run, write_calibration
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import choose_threshold, scale, temperatures_of


def calibrate_run(
    run: Path, dataset_path: Path | None = None, *, max_risk: float = 0.1, confidence: float = 0.95
) -> CalibrationDocument:
    """Calibrate the run's best checkpoint on the dataset's validation split and write calibration.json beside it.

    The loss of a decision is its regret where the bench executed several actions, else disagreement with the label. A
    policy on the kernel's token profile is given a threshold on the kernel's own confidence. DatasetError when
    validation is empty.
    """
    policy = LearnedPolicy(run, calibrated=False)
    dataset = load_dataset(dataset_path or Path(read_run(run).dataset))
    check_same_space(policy.space, dataset)
    split = dataset.splits["val"]
    if not len(split):
        raise DatasetError(f"{dataset.path}: validation is empty, there is nothing to calibrate on")
    raw = policy.head_log_probs(inputs_of_split(split))
    temperatures = temperatures_of(raw, policy.model.targets(split.labels))
    scaled = [scale(head, temperature) for head, temperature in zip(raw, temperatures, strict=True)]
    labels = labels_of(split)
    errors = {}
    for name, heads in (("before", raw), ("after", scaled)):
        decisions = decide_jointly(policy.name, heads, split, dataset.space)
        if policy.document.token_profile == "kernel":
            decisions = as_the_kernel_sees_them(decisions, heads, dataset.space)
        match = np.array([a == b for a, b in zip(decisions.actions, labels, strict=True)], dtype=float)
        errors[name] = expected_calibration_error(decisions.confidence, match)
    threshold = choose_threshold(decisions.confidence, losses(decisions, labels), max_risk=max_risk, level=confidence)
    calibration = CalibrationDocument(
        temperatures=dict(zip(policy.outputs, temperatures, strict=True)),
        threshold=threshold.value,
        guaranteed=threshold.guaranteed,
        max_risk=max_risk,
        confidence=confidence,
        accepted=threshold.accepted,
        examples=threshold.examples,
        risk=threshold.risk,
        ece_before=errors["before"],
        ece_after=errors["after"],
        dataset_hash=dataset.info.dataset_hash,
    )
    write_calibration(policy.checkpoint, calibration)
    return calibration
