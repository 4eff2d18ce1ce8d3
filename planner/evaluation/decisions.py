"""What each policy decides on every example of a split, in one form that the metrics read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace
from planner.dataset.storage import Dataset, Split, inputs_of_split, label_of
from planner.policies.heuristic import HeuristicPolicy, nearest_valid
from planner.policies.policy import Policy
from planner.runs.learned import LearnedPolicy
from planner.runs.value import ValueEnsemble
from planner.scoring.preferences import JointScores, Preference, fixed_choices, policy_preference
from planner.scoring.regret import chosen_rows, lost_within
from planner.scoring.utility import DEFAULT_METRICS, check_metrics, recorded_metrics


@dataclass(frozen=True)
class Decisions:
    """One policy's decisions on n examples.

    ``confidence`` (n,) is the joint probability of the decided tuple among the valid ones, ``label_log_prob`` (n,) that
    of the executed one as a logarithm; both are NaN for policies without probabilities, which never abstain.
    ``regret`` (n,) is the utility lost against the best executed action, NaN where a single one was executed; where a
    ``capped`` action (n,) was decided it is a lower bound.
    """

    policy: str
    actions: list[Action]
    confidence: NDArray[np.float64]
    label_log_prob: NDArray[np.float64]
    regret: NDArray[np.float64]
    capped: NDArray[np.bool_] | None = None
    """None: no action was."""
    regret_at_most: NDArray[np.float64] | None = None
    """(n,), more than ``regret`` where a capped action was decided; None: the same."""

    @property
    def at_most(self) -> NDArray[np.float64]:
        """What each decision loses at most, (n,)."""
        return self.regret if self.regret_at_most is None else self.regret_at_most


def labels_of(split: Split) -> list[Action]:
    """The executed action of every example."""
    columns = [split.table[head] for head in HEADS]
    return [label_of(dict(zip(HEADS, row, strict=True))) for row in zip(*columns, strict=True)]


def losses(decisions: Decisions, labels: Sequence[Action]) -> NDArray[np.float64]:
    """What each decision loses, (n,) in [0, 1]: its regret where several actions were executed (clipped at 1), else 1
    where it disagrees with the executed action. A capped action may lose everything, and a promise about risk must hold
    for what nobody knows: it loses 1."""
    differs = np.array([a != b for a, b in zip(decisions.actions, labels, strict=True)], dtype=np.float64)
    lost = np.where(np.isfinite(decisions.regret), np.minimum(decisions.regret, 1.0), differs)
    return lost if decisions.capped is None else np.where(decisions.capped, 1.0, lost)


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
    """The same decisions with the kernel's confidence: the smallest of an action's four probabilities.

    One head over whole actions keeps its own: the kernel runs none.
    """
    if len(head_log_probs) != len(HEADS):
        return decisions
    positions = np.array([space.index(action) for action in decisions.actions]).reshape(-1, len(HEADS))
    rows = np.arange(len(positions))
    chosen = np.array([head[rows, positions[:, i]] for i, head in enumerate(head_log_probs)])
    return replace(decisions, confidence=np.exp(chosen.min(axis=0)))


def decide_by_score(policy: Policy, split: Split) -> Decisions:
    """A fitted policy's favourite for each example."""
    inputs = inputs_of_split(split)
    return _decide(policy.name, lambda rows, job_type: policy.score(inputs.take(rows), job_type), split, policy.space)


def decide_head_by_head(policy: LearnedPolicy, split: Split) -> Decisions:
    """Each head's favourite by itself, moved to the nearest valid action where they do not fit together.

    What joint decoding is measured against; the confidence is the product of the heads'.
    """
    outputs = policy.head_log_probs(inputs_of_split(split))
    heads = outputs if len(outputs) > 1 else policy.space.marginals(outputs[0])
    favourites = np.stack([head.argmax(axis=1) for head in heads], axis=1)
    actions = [
        nearest_valid(policy.space.action(row), policy.space, job_type)
        for row, job_type in zip(favourites.tolist(), split.table["job_type"], strict=True)
    ]
    confidence = np.exp(sum(head.max(axis=1) for head in heads))
    label = sum(head[np.arange(len(split)), split.labels[:, i]] for i, head in enumerate(heads))
    preference = fixed_choices(actions, split.outcomes, policy.space)
    return Decisions(policy.name, actions, confidence, np.asarray(label), *_regret(preference, split))


def _decide(policy: str, joint_of: JointScores, split: Split, space: ActionSpace) -> Decisions:
    """The best of ``joint_of(rows, job_type)``, log-probabilities (rows, n_valid), job type by job type."""
    job_types = np.array(split.table["job_type"])
    actions: list[Action] = [Action("", 1, 1, 1)] * len(split)
    confidence, label_log_prob = np.zeros(len(split)), np.full(len(split), -np.inf)
    joints = {}
    for job_type in np.unique(job_types).tolist():
        rows = np.flatnonzero(job_types == job_type)
        valid, indices = space.valid_actions(job_type), space.valid_indices(job_type)
        joint = joints[job_type] = joint_of(rows, job_type)
        best = joint.argmax(axis=1)
        confidence[rows] = np.exp(joint[np.arange(len(rows)), best])
        is_label = (indices[None] == split.labels[rows][:, None]).all(axis=2)
        label_log_prob[rows] = np.where(is_label, joint, -np.inf).max(axis=1)
        for row, choice in zip(rows, best, strict=True):
            actions[row] = valid[choice]
    preference = policy_preference(
        lambda rows, job_type: joints[job_type], space, job_types.tolist(), split.outcomes, space
    )
    return Decisions(policy, actions, confidence, label_log_prob, *_regret(preference, split))


def decide_by_rule(dataset: Dataset, split: Split) -> Decisions:
    """Today's rule, with the kernel config that the dataset's repo had."""
    rule = HeuristicPolicy(dataset.info.kernel_config)
    return _certain("heuristic", [rule.decide(context) for context in split.contexts()], dataset, split)


def decide_by_values(ensemble: ValueEnsemble, dataset: Dataset, split: Split, *, safe: bool) -> Decisions:
    """What is read from predicted outcomes: the cheapest action that passes as often as today's rule's.

    With ``safe`` false, the action of largest expected utility; DatasetError where utilities are of another objective
    than the one that the ensemble's predictions give.
    """
    if not safe:
        recorded = recorded_metrics(dataset.info.objective)
        check_metrics(recorded, DEFAULT_METRICS, str(dataset.path), "expected utility")
    inputs, rule = inputs_of_split(split), decide_by_rule(dataset, split).actions
    decided, scores = list(rule), {}
    for job_type in np.unique(inputs.job_types).tolist():
        rows = np.flatnonzero(inputs.job_types == job_type)
        part = inputs.take(rows)
        if safe:
            scores[job_type] = ensemble.safe_savings(part, job_type, [rule[i] for i in rows])
        else:
            scores[job_type] = ensemble.utilities(part, job_type)
        for row, at in zip(rows.tolist(), scores[job_type].argmax(axis=1), strict=True):
            decided[row] = ensemble.space.valid_actions(job_type)[at]
    preference = policy_preference(
        lambda rows, job_type: scores[job_type],
        ensemble.space,
        inputs.job_types.tolist(),
        split.outcomes,
        dataset.space,
    )
    unknown = np.full(len(split), np.nan)
    name = "safe values" if safe else "expected utility"
    return Decisions(name, decided, unknown, unknown, *_regret(preference, split))


def _certain(policy: str, actions: list[Action], dataset: Dataset, split: Split) -> Decisions:
    unknown = np.full(len(actions), np.nan)
    preference = fixed_choices(actions, split.outcomes, dataset.space)
    return Decisions(policy, actions, unknown, unknown, *_regret(preference, split))


def _regret(preference: Preference, split: Split) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """The regret of each example, NaN where it is not known; whether a capped action was chosen; and what the regret is
    at most, (n,) each."""
    regret, at_most = np.full((2, len(split)), np.nan)
    capped: NDArray[np.bool_] = np.zeros(len(split), dtype=bool)
    rows = chosen_rows(preference.of_action, split.outcomes)
    bounds = lost_within(split.outcomes)
    comparable = split.outcomes.comparable
    regret[comparable], at_most[comparable] = bounds.least[rows], bounds.most[rows]
    capped[comparable] = split.outcomes.capped[rows]
    return regret, capped, at_most
