"""One row per policy, split and group of issues: what a comparison and an ablation say of each contender."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.dataset.storage import Dataset, Split
from planner.evaluation.calibrate import calibrate_run
from planner.evaluation.decisions import Decisions, decide_by_rule, decide_by_score, labels_of, losses
from planner.evaluation.metrics import Judged, Number, logged_of, measure
from planner.policies.policy import Policy
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import choose_threshold
from planner.training.many import training_seconds

Decide = Callable[[Split], Decisions]


@dataclass(frozen=True)
class RiskTarget:
    """What a policy must keep to decide at all: accepted decisions lose at most ``max_risk`` on average."""

    max_risk: float = 0.1
    confidence: float = 0.95


@dataclass(frozen=True)
class Contender:
    """One policy, with a way to decide per seed."""

    name: str
    decide: Sequence[Decide]
    parameters: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class Row:
    """One policy on one split and group of issues."""

    policy: str
    split: str
    issues: str
    """all, seen or unseen."""
    parameters: int | None
    train_seconds: float | None
    numbers: Mapping[str, Number]
    """Every metric by its key."""
    axis: str | None = None
    """In an ablation, the setting that is varied."""

    def to_json(self) -> dict[str, Any]:
        """The row as JSON, the metrics beside all else."""
        document = asdict(self)
        axis = {} if self.axis is None else {"axis": self.axis}
        del document["axis"]
        return {**axis, **document, **document.pop("numbers")}


def contender(name: str, policies: Sequence[Policy]) -> Contender:
    """Fitted policies that differ in their seed only."""
    return Contender(name, [partial(decide_by_score, policy) for policy in policies])


def trained_contender(name: str, runs: Sequence[Path], dataset: Dataset, promise: RiskTarget) -> Contender:
    """Trained runs that differ in their seed only, calibrated on the dataset's validation split if it has examples."""
    if len(dataset.splits["val"]):
        for run in runs:
            calibrate_run(run, dataset.path, max_risk=promise.max_risk, confidence=promise.confidence)
    policies = [LearnedPolicy(run) for run in runs]
    seconds = [value for run in runs if (value := training_seconds(run)) is not None]
    return Contender(
        name,
        contender(name, policies).decide,
        parameters=sum(p.numel() for p in policies[0].model.parameters()),
        train_seconds=float(np.mean(seconds)) if seconds else None,
    )


def judge(contender: Contender, dataset: Dataset, promise: RiskTarget) -> list[Row]:
    """Metrics on validation and test, all, seen and unseen issues; over several seeds, the mean of each metric.

    The threshold under which a policy abstains is chosen on validation, so only test shows what the promise is worth.
    """
    rows: list[Row] = []
    splits = {name: dataset.splits[name] for name in ("val", "test") if len(dataset.splits[name])}
    decided = {name: [decide(split) for decide in contender.decide] for name, split in splits.items()}
    thresholds = [0.0] * len(contender.decide)
    if "val" in splits:
        thresholds = [_threshold(decisions, splits["val"], promise) for decisions in decided["val"]]
    for name, split in splits.items():
        rule = decide_by_rule(dataset, split)
        logged = logged_of(split, dataset.info.minute_seconds)
        for issues, selected in _issue_groups(split).items():
            numbers = measure(
                [
                    Judged(decisions, logged, selected, threshold, rule)
                    for decisions, threshold in zip(decided[name], thresholds, strict=True)
                ]
            )
            rows.append(Row(contender.name, name, issues, contender.parameters, contender.train_seconds, numbers))
    return rows


def _threshold(decisions: Decisions, split: Split, promise: RiskTarget) -> float:
    """0 for a policy without probabilities: it never abstains."""
    if np.isnan(decisions.confidence).any():
        return 0.0
    lost = losses(decisions, labels_of(split))
    return choose_threshold(decisions.confidence, lost, max_risk=promise.max_risk, level=promise.confidence).value


def _issue_groups(split: Split) -> dict[str, NDArray[np.intp]]:
    seen = np.asarray(split.seen)
    groups = {"seen": np.flatnonzero(seen), "unseen": np.flatnonzero(~seen)}
    return {"all": np.arange(len(split))} | {name: rows for name, rows in groups.items() if 0 < len(rows) < len(split)}
