"""`planner dataset check`: is there enough in a dataset to learn from it, and how far could any imitation get?

Two examples whose contexts have (nearly) the same features but different labels set a ceiling to every policy that
reads these features; one that reads tokens may tell them apart. With p the label probabilities given the features, the
agreement of two such examples is the sum of p squared, and the best possible exact match, the largest p, lies between
that and its square root.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.dataset.storage import Dataset, Split, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.errors import DatasetError
from planner.policies.most_frequent import MostFrequent
from planner.policies.policy import Policy, admitted, normalise
from planner.policies.tabular import Standardiser

LEVEL_Z = 1.96
"""Half-width of a 95 % interval in standard errors."""
RESAMPLES = 2000
QUERIES = 2000
"""Examples whose nearest neighbour is sought, spread evenly over time; each is compared with all others."""
MIN_EXAMPLES = 30
"""An agreement over fewer examples is not reported: it would be an anecdote."""
JOINT = "joint"


@dataclass(frozen=True)
class Agreement:
    """How often near-duplicates have the same label. The interval is over issues (bootstrap)."""

    near_duplicates: str
    examples: int
    """Examples that have one."""
    agreement: float
    chance: float
    """The same for any two examples of one job type."""
    excess_low: float
    excess_high: float
    """95 % interval of agreement - chance."""

    @property
    def above_chance(self) -> bool:
        """Whether the interval lies above chance."""
        return self.excess_low > 0

    @property
    def ceiling(self) -> tuple[float, float]:
        """Between what and what the best exact match by these features lies."""
        return self.agreement, math.sqrt(self.agreement)


@dataclass(frozen=True)
class SplitSize:
    """One split: its examples, and the share of them whose issues train does not have."""

    examples: int
    unseen_issues: float | None


@dataclass(frozen=True)
class HeadValues:
    """The values of one head, or of all jointly, over train."""

    possible: int
    seen: int
    rarest: int
    """Examples of the value that is seen least."""
    examples_per_seen: float


@dataclass(frozen=True)
class DatasetCheck:
    """Everything that was found out about a dataset."""

    dataset: str
    dataset_hash: str
    context_builder: str | None
    """Who built the contexts; None where an earlier program mixed those of both."""
    contexts: dict[str, int]
    """How many were kept as recorded or rebuilt, and how many of those that were checked have the same tokens."""
    splits: dict[str, SplitSize]
    values: dict[str, HeadValues]
    """Head, or JOINT -> its values."""
    agreement: list[Agreement]
    validation: dict[str, dict[str, float]]
    """Policy -> its losses on validation, see :func:`judge`; empty where validation is."""
    validation_needed: int | None
    """Examples that would separate near-duplicates' exact match from the most frequent action's."""
    reasons: list[str]
    """Why training makes no sense; none when it does."""

    @property
    def enough(self) -> bool:
        """Whether training makes sense."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """As the command writes it."""
        agreement = [{**asdict(found), "ceiling": found.ceiling} for found in self.agreement]
        return {**asdict(self), "agreement": agreement, "enough": self.enough}


class UniformPolicy:
    """Every valid action with the same probability."""

    name = "random"

    def __init__(self, space: ActionSpace) -> None:
        self.space = space

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Uniform over the actions that each context admits."""
        allowed = admitted(inputs, self.space, job_type)
        return normalise(np.ones(allowed.shape), allowed)


def check_dataset(dataset: Dataset, trained: Mapping[str, Policy] | None = None) -> DatasetCheck:
    """All checks; ``trained`` policies (name -> policy) are judged beside the two baselines."""
    agreements = [found for found in (_same_issue_features(dataset), _nearest_neighbours(dataset)) if found is not None]
    frequencies = MostFrequent(dataset)
    policies: dict[str, Policy] = {
        "random": UniformPolicy(dataset.space),
        frequencies.name: frequencies,
        **(trained or {}),
    }
    validation = dataset.splits["val"]
    needed, reasons = _verdict(agreements, frequencies, validation)
    return DatasetCheck(
        dataset=str(dataset.path),
        dataset_hash=dataset.info.dataset_hash,
        context_builder=dataset.info.context_builder,
        contexts=dataset.info.contexts,
        splits={
            name: SplitSize(len(split), float(np.mean(~split.seen)) if len(split) else None)
            for name, split in dataset.splits.items()
        },
        values=_values(dataset),
        agreement=agreements,
        validation={name: judge(policy, validation) for name, policy in policies.items()} if len(validation) else {},
        validation_needed=needed,
        reasons=reasons,
    )


def policies_trained_on(dataset: Dataset, runs: Mapping[str, Path]) -> dict[str, Policy]:
    """The policies of ``runs`` (name -> run), all trained on ``dataset``; DatasetError for one that was not."""
    from planner.runs.learned import LearnedPolicy  # the other checks do without torch

    policies: dict[str, Policy] = {}
    for name, path in runs.items():
        policies[name] = policy = LearnedPolicy(path)
        if policy.document.dataset_hash != dataset.info.dataset_hash:
            raise DatasetError(f"{name}: not trained on {dataset.path}: name the dataset it was trained on")
    return policies


def judge(policy: Policy, split: Split) -> dict[str, float]:
    """Mean negative log-likelihood of the labels, jointly and of each head's marginal, and exact match; nats."""
    job_types = np.array(split.table["job_type"])
    inputs, labels = inputs_of_split(split), np.asarray(split.labels)
    losses: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*HEADS, JOINT)}
    matches: list[NDArray[np.bool_]] = []
    for job_type in np.unique(job_types):
        rows = np.flatnonzero(job_types == job_type)
        joint = policy.score(inputs.take(rows), job_type)
        same = policy.space.valid_indices(job_type)[None] == labels[rows][:, None]
        for head, name in enumerate(HEADS):
            losses[name].append(_loss(np.where(same[..., head], joint, -np.inf)))
        losses[JOINT].append(_loss(np.where(same.all(axis=2), joint, -np.inf)))
        matches.append(same.all(axis=2)[np.arange(len(rows)), joint.argmax(axis=1)])
    means = {name: float(np.mean(np.concatenate(parts))) for name, parts in losses.items()}
    return {**means, "exact_match": float(np.mean(np.concatenate(matches)))}


def _loss(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log of each row's summed probabilities, which rounding may put a hair above 1."""
    with np.errstate(divide="ignore"):
        return np.maximum(-np.log(np.exp(log_probs).sum(axis=1)), 0.0)


def _values(dataset: Dataset) -> dict[str, HeadValues]:
    """Per head and jointly: how many values there are, how many train shows, and how often the rarest of these."""
    labels = np.asarray(dataset.splits["train"].labels)
    job_types = sorted(set(dataset.splits["train"].table["job_type"]))
    valid = np.unique(np.concatenate([dataset.space.valid_indices(job_type) for job_type in job_types]), axis=0)
    columns = {name: (valid[:, head], labels[:, head]) for head, name in enumerate(HEADS)}
    counts = {name: (len(np.unique(possible)), Counter(seen.tolist())) for name, (possible, seen) in columns.items()}
    counts[JOINT] = (len(valid), Counter(map(tuple, labels.tolist())))
    return {
        name: HeadValues(possible, len(seen), min(seen.values()), len(labels) / len(seen))
        for name, (possible, seen) in counts.items()
    }


@dataclass(frozen=True)
class _Examples:
    """The examples of all splits, in order of time."""

    labels: NDArray[np.int64]
    """(n,), one number per distinct action and job type."""
    job_types: NDArray[np.int64]
    issues: NDArray[np.int64]
    issue_features: NDArray[np.float32]
    rows: NDArray[np.float64]
    """All features, standardised."""

    @classmethod
    def of(cls, dataset: Dataset) -> "_Examples":
        """All splits joined."""
        splits = [split for split in dataset.splits.values() if len(split)]
        standardiser = Standardiser(dataset.info)
        own = [i for i, feature in enumerate(dataset.info.context_features) if feature.name != "similar_runs"]
        job_types = _numbered(np.concatenate([np.array(split.table["job_type"]) for split in splits]))
        labels = np.concatenate([np.asarray(split.labels) for split in splits])
        return cls(
            labels=_numbered(np.column_stack([labels, job_types])),
            job_types=job_types,
            issues=_numbered(np.concatenate([np.array(split.table["issue_id"]) for split in splits])),
            issue_features=np.concatenate([np.asarray(split.context_features)[:, own] for split in splits]),
            rows=np.concatenate([standardiser.rows(inputs_of_split(split)) for split in splits]),
        )

    def chance(self) -> NDArray[np.float64]:
        """Of each example, the share of the others of its job type with its label."""
        same_label, same_type = np.bincount(self.labels)[self.labels], np.bincount(self.job_types)[self.job_types]
        return (same_label - 1) / np.maximum(same_type - 1, 1)


def _same_issue_features(dataset: Dataset) -> Agreement | None:
    """Examples that agree in every feature of the issue (attempts included); their histories may differ."""
    examples = _Examples.of(dataset)
    group = _numbered(np.column_stack([examples.issue_features, examples.job_types]))
    size = np.bincount(group)[group]
    pairs = _numbered(np.column_stack([group, examples.labels]))
    agree = (np.bincount(pairs)[pairs] - 1) / np.maximum(size - 1, 1)
    return _agreement("same issue features", examples, agree, np.flatnonzero(size > 1))


def _nearest_neighbours(dataset: Dataset) -> Agreement | None:
    """Each example with the nearest other one of its job type, in all features, the history's means included."""
    examples = _Examples.of(dataset)
    agree = np.zeros(len(examples.labels))
    queries = np.unique(np.linspace(0, len(agree) - 1, min(QUERIES, len(agree))).astype(np.intp))
    queries = queries[np.bincount(examples.job_types)[examples.job_types[queries]] > 1]
    lengths = (examples.rows**2).sum(axis=1)
    for part in np.array_split(queries, max(1, len(queries) // 256)):
        distance = lengths[None] - 2 * examples.rows[part] @ examples.rows.T
        distance[examples.job_types[part][:, None] != examples.job_types[None]] = np.inf
        distance[np.arange(len(part)), part] = np.inf
        agree[part] = examples.labels[distance.argmin(axis=1)] == examples.labels[part]
    return _agreement("nearest neighbours", examples, agree, queries)


def _agreement(name: str, examples: _Examples, agree: NDArray[np.float64], rows: NDArray[np.intp]) -> Agreement | None:
    """Means over the examples ``rows``; None for fewer than MIN_EXAMPLES. Examples of one issue are drawn together."""
    if len(rows) < MIN_EXAMPLES:
        return None
    chance = examples.chance()[rows]
    issues = _numbered(examples.issues[rows])
    sizes, sums = np.bincount(issues), np.bincount(issues, weights=agree[rows] - chance)
    draws = np.random.default_rng(0).integers(0, len(sizes), size=(RESAMPLES, len(sizes)))
    low, high = np.quantile(sums[draws].sum(axis=1) / sizes[draws].sum(axis=1), [0.025, 0.975])
    return Agreement(name, len(rows), float(agree[rows].mean()), float(chance.mean()), float(low), float(high))


def _verdict(agreements: list[Agreement], frequencies: MostFrequent, validation: Split) -> tuple[int | None, list[str]]:
    """The validation examples that are needed, and every reason why training makes no sense.

    Near-duplicates must agree more often than chance; and validation must be large enough for the 95 % interval of the
    difference to tell a policy that matches as often as near-duplicates do from one that always takes the most
    frequent action: n >= (1.96 / (a - f))^2 (a (1 - a) + f (1 - f)), with their exact matches a and f.
    """
    reasons = []
    needed = None
    if not agreements:
        reasons.append(f"fewer than {MIN_EXAMPLES} examples have another one of their job type to be compared with")
    elif not any(found.above_chance for found in agreements):
        reasons.append(
            "labels of near-duplicate contexts agree no more often than chance: contexts do not determine them"
        )
    if not len(validation):
        reasons.append("validation is empty: no loss can be compared with anything")
    elif agreements:
        most_frequent = judge(frequencies, validation)["exact_match"]
        best = max(found.agreement for found in agreements)
        gain = best - most_frequent
        if gain <= 0:
            reasons.append(
                f"near-duplicates agree in {best:.2f} of cases, and always taking the most frequent action matches "
                f"{most_frequent:.2f} of validation: contexts add nothing to the frequencies"
            )
        else:
            spread = best * (1 - best) + most_frequent * (1 - most_frequent)
            needed = math.ceil((LEVEL_Z / gain) ** 2 * spread)
            if len(validation) < needed:
                reasons.append(
                    f"validation has {len(validation)} examples, and to tell an exact match of {best:.2f} (what "
                    f"near-duplicates reach) from {most_frequent:.2f} (the most frequent action) takes {needed}"
                )
    return needed, reasons


def _numbered(values: NDArray[Any]) -> NDArray[np.int64]:
    """Each row's number among the distinct rows, (n,)."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def default_report_path(dataset: Path) -> Path:
    """Beside the dataset: inside, it would be taken for a foreign file."""
    return dataset.resolve().with_name(f"{dataset.resolve().name}-check.json")
