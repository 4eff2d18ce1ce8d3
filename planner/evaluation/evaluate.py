"""`planner evaluate`: a trained policy beside the baselines, per split, job type, domain, and seen or unseen issues."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, Split, inputs_of_split, load_dataset
from planner.errors import DatasetError
from planner.evaluation.decisions import (
    Decisions,
    as_the_kernel_sees_them,
    decide_by_rule,
    decide_by_score,
    decide_jointly,
)
from planner.evaluation.metrics import Number, entropy, logged_of, metrics
from planner.models.load import ModelSource
from planner.places import Place
from planner.policies.policy import Policy
from planner.policies.registry import fit_baselines
from planner.runs.checkpoint import CalibrationDocument, read_run
from planner.runs.fitted import RunPolicy, load_run_policy

ABSTAIN_BELOW = 0.05
"""Joint confidence under which an uncalibrated policy's decision counts as abstained, unless the caller says."""


@dataclass(frozen=True)
class GroupEvaluation:
    """The policies on one group of a split's examples."""

    examples: int
    label_entropy_swarm: float | None
    label_entropy_candidates: float | None
    policies: Mapping[str, Mapping[str, Number]]
    """Policy -> its metrics by their keys."""


@dataclass(frozen=True)
class Evaluation:
    """What `planner evaluate` found, as one value: tables, JSON and pages read the same."""

    run: str
    checkpoint_epoch: int
    dataset: str
    dataset_hash: str
    trained_on_dataset_hash: str
    model_source: ModelSource | None
    source_change: str | None
    """What has changed in the model's source since it was trained."""
    abstain_below: float
    calibration: CalibrationDocument | None
    minute_seconds: float
    splits: Mapping[str, Mapping[str, GroupEvaluation]]
    """Split -> group ("all" is the first) -> its policies."""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        documents = {
            "model_source": self.model_source and self.model_source.model_dump(),
            "calibration": self.calibration and self.calibration.model_dump(),
        }
        return {**asdict(self), **documents}


def evaluate_run(run: Path, dataset_path: Place | None = None, *, abstain_below: float | None = None) -> Evaluation:
    """Metrics of the run's best checkpoint, of today's rule and of the baselines.

    ``dataset_path`` defaults to the dataset the run was trained on; ``abstain_below`` to the calibrated threshold.
    DatasetError when the dataset's action space is another one than the policy's.
    """
    policy = load_run_policy(run)
    calibration = policy.calibration
    if abstain_below is None:
        abstain_below = calibration.threshold if calibration else ABSTAIN_BELOW
    place = dataset_path or read_run(run).own_dataset
    dataset = load_dataset(place)
    check_same_space(policy.space, dataset)
    fitted = list(fit_baselines("evaluate", dataset).values())
    return Evaluation(
        run=str(run),
        checkpoint_epoch=policy.document.epoch,
        dataset=str(place),
        dataset_hash=dataset.info.dataset_hash,
        trained_on_dataset_hash=policy.document.dataset_hash,
        model_source=policy.document.source,
        source_change=policy.source_change,
        abstain_below=abstain_below,
        calibration=calibration,
        minute_seconds=dataset.info.minute_seconds,
        splits={
            name: _evaluate_split(policy, fitted, dataset, split, abstain_below)
            for name, split in dataset.splits.items()
            if len(split)
        },
    )


def _evaluate_split(
    policy: RunPolicy, fitted: Sequence[Policy], dataset: Dataset, split: Split, abstain_below: float
) -> dict[str, GroupEvaluation]:
    """Group -> its policies: "all", then job types, domains, seen and unseen issues where there are any."""
    logged = logged_of(split, dataset.info.minute_seconds)
    rule = decide_by_rule(dataset, split)
    heads = log_probs_on(policy, dataset, split)
    learned = decide_jointly(policy.name, heads, split, dataset.space)
    if policy.document.token_profile == "kernel":
        learned = as_the_kernel_sees_them(learned, heads, dataset.space)
    policies: list[Decisions] = [learned, rule, *(decide_by_score(one, split) for one in fitted)]
    report = {}
    for group, rows in _groups(split).items():
        labels = [logged.labels[i] for i in rows]
        report[group] = GroupEvaluation(
            examples=len(rows),
            label_entropy_swarm=entropy([action.swarm_id for action in labels]),
            label_entropy_candidates=entropy([action.max_candidates_bin for action in labels]),
            policies={
                decisions.policy: metrics(decisions, logged, rows, abstain_below=abstain_below, default=rule)
                for decisions in policies
            },
        )
    return report


def log_probs_on(policy: RunPolicy, dataset: Dataset, split: Split) -> list[NDArray[np.float64]]:
    """The policy's log-probabilities on a split, whose tokens are encoded anew when its vocabulary is another one."""
    if policy.document.vocabulary == dataset.info.vocabulary:
        return policy.head_log_probs(inputs_of_split(split))
    return policy.log_probs_of(split.contexts())


def _groups(split: Split) -> dict[str, NDArray[np.intp]]:
    groups = {"all": np.arange(len(split))}
    for column in ("job_type", "domain"):
        values = np.array(split.table[column])
        groups |= {f"{column}={value}": np.flatnonzero(values == value) for value in np.unique(values)}
    seen = np.asarray(split.seen)
    groups |= {"seen issues": np.flatnonzero(seen), "unseen issues": np.flatnonzero(~seen)}
    return {name: rows for name, rows in groups.items() if len(rows)}


def check_same_space(space: ActionSpace, dataset: Dataset) -> None:
    if space != dataset.space:
        raise DatasetError(
            f"{dataset.path}: its action space is not the policy's (swarms {list(dataset.space.swarm_ids)} against "
            f"{list(space.swarm_ids)}): evaluate on a dataset with the same catalogue and bins"
        )
