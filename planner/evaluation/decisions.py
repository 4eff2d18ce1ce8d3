"""What each policy decides on every example of a split, in one form that the metrics read."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace
from planner.dataset.storage import Dataset, Split, label_of
from planner.models.heuristic import HeuristicPolicy, nearest_valid
from planner.models.inputs import inputs_of_split
from planner.models.policy import Policy


@dataclass(frozen=True)
class Decisions:
    """One policy's decisions on n examples.

    ``confidence`` (n,) is the joint probability of the decided tuple among the valid ones, ``label_log_prob`` (n,) that
    of the executed one as a logarithm; both are NaN for policies without probabilities, which never abstain.
    """

    policy: str
    actions: list[Action]
    confidence: NDArray[np.float64]
    label_log_prob: NDArray[np.float64]


def labels_of(split: Split) -> list[Action]:
    """The executed action of every example."""
    columns = [split.table[head] for head in HEADS]
    return [label_of(dict(zip(HEADS, row, strict=True))) for row in zip(*columns, strict=True)]


def decide_jointly(
    policy: str, head_log_probs: Sequence[NDArray[np.float64]], split: Split, space: ActionSpace
) -> Decisions:
    """Joint decoding of four heads (n, width) over the valid tuples of each example's job type."""
    return _decide(
        policy,
        lambda rows, job_type: space.joint_log_probs([head[rows] for head in head_log_probs], job_type),
        split,
        space,
    )


def as_the_kernel_sees_them(
    decisions: Decisions, head_log_probs: Sequence[NDArray[np.float64]], space: ActionSpace
) -> Decisions:
    """The same decisions with the kernel's confidence: the smallest of an action's four probabilities."""
    positions = np.array([space.index(action) for action in decisions.actions]).reshape(-1, len(HEADS))
    rows = np.arange(len(positions))
    chosen = np.array([head[rows, positions[:, i]] for i, head in enumerate(head_log_probs)])
    return replace(decisions, confidence=np.exp(chosen.min(axis=0)))


def decide_by_score(policy: Policy, split: Split) -> Decisions:
    """A fitted policy's favourite for each example."""
    inputs = inputs_of_split(split)
    return _decide(policy.name, lambda rows, job_type: policy.score(inputs.take(rows), job_type), split, policy.space)


def _decide(
    policy: str, joint_of: Callable[[NDArray[np.intp], str], NDArray[np.float64]], split: Split, space: ActionSpace
) -> Decisions:
    """The best of ``joint_of(rows, job_type)``, log-probabilities (rows, n_valid), job type by job type."""
    job_types = np.array(split.table["job_type"])
    actions: list[Action] = [Action("", 1, 1, 1)] * len(split)
    confidence, label_log_prob = np.zeros(len(split)), np.full(len(split), -np.inf)
    for job_type in np.unique(job_types):
        rows = np.flatnonzero(job_types == job_type)
        valid, indices = space.valid_actions(job_type), space.valid_indices(job_type)
        joint = joint_of(rows, job_type)
        best = joint.argmax(axis=1)
        confidence[rows] = np.exp(joint[np.arange(len(rows)), best])
        is_label = (indices[None] == split.labels[rows][:, None]).all(axis=2)
        label_log_prob[rows] = np.where(is_label, joint, -np.inf).max(axis=1)
        for row, choice in zip(rows, best, strict=True):
            actions[row] = valid[choice]
    return Decisions(policy, actions, confidence, label_log_prob)


def decide_by_rule(dataset: Dataset, split: Split) -> Decisions:
    """Today's rule, with the kernel config that the dataset's repo had."""
    rule = HeuristicPolicy(dataset.info.kernel_config)
    return _certain("heuristic", [rule.decide(context) for context in split.contexts()])


def decide_most_frequent(dataset: Dataset, split: Split) -> Decisions:
    """Always the action that train executed most often, moved to the nearest valid one for other job types."""
    counts = Counter(labels_of(dataset.splits["train"]))
    favourite = min(counts, key=lambda action: (-counts[action], dataset.space.index(action)))
    decided = [nearest_valid(favourite, dataset.space, job_type) for job_type in split.table["job_type"]]
    return _certain("most frequent", decided)


def _certain(policy: str, actions: list[Action]) -> Decisions:
    unknown = np.full(len(actions), np.nan)
    return Decisions(policy, actions, unknown, unknown)
