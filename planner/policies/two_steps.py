"""The structural model looking two runs ahead: what a plan is worth with the best plan after it, should it fail.

Choose it where failed issues come back. Runs of the issue that failed after the model was fitted move what it believes
(Bayes on its draws): in draws of a hopeless case they were likely to fail, so these count more for what follows.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action
from planner.artifacts.lenient import section
from planner.dataset.storage import Dataset
from planner.dataset.trials import read_trials
from planner.encoding.inputs import Inputs
from planner.encoding.subject import subject_of
from planner.policies.gains import log_probs_of
from planner.policies.questions import question_of
from planner.policies.readings import per_episode
from planner.policies.registry import baseline
from planner.policies.trial_plans import CODE, DEFAULT_MINUTES
from planner.policies.trial_policy import TrialPolicy
from planner.policies.trial_values import one_blas_thread
from planner.scoring.episodes import PlanSequence
from planner.scoring.plan_outcome import Plan, PlanOutcomes, plan_of

Array: TypeAlias = NDArray[np.float64]
MAX_ATTEMPTS = 3
"""Runs of an issue in all: Cyntra's default."""
MAX_FAILED = 2
"""Failed runs that are taken into account, the latest."""


@baseline(needs_trials=True)
class TwoSteps:
    """A fitted policy (see planner.policies.policy)."""

    name = "structural two steps"

    def __init__(self, dataset: Dataset) -> None:
        """DatasetError when train holds too few trials."""
        self._one_step = TrialPolicy.fit("structural", dataset)
        self.space = dataset.space
        trials = read_trials(dataset.path)
        trials = trials.take(trials.split == "train")
        self._learned = {(s.issue_id, at) for s, at in zip(trials.subjects, trials.ended_ms.tolist(), strict=True)}
        """Issue and end of the trials that the model has seen."""
        self._plans = [_whole(plan) for plan in self._one_step.values.plans]

    def score(self, inputs: Inputs, job_type: str) -> Array:
        """Softmax of what plans are worth with the best that may follow them; jobs other than code as in one step."""
        if job_type != CODE or not len(inputs):
            return self._one_step.score(inputs, job_type)
        return log_probs_of(self.utilities(inputs.contexts()), inputs, self.space, job_type)

    def utilities(self, contexts: Sequence[Mapping[str, Any]]) -> Array:
        """The gated worth of every valid plan of code contexts, (n, n_valid)."""
        one_step = self._one_step
        gates = one_step.values.judged.gates(one_step.reading)
        found = one_step.utilities(contexts)
        is_open = [gates[one_step.values.structural.mode_of(subject_of(context))].open for context in contexts]
        found[is_open] = self.planned([context for context, is_so in zip(contexts, is_open, strict=True) if is_so])
        return found

    @one_blas_thread
    def planned(self, contexts: Sequence[Mapping[str, Any]]) -> Array:
        """What every valid plan is worth with the best that may follow it, whatever the gate says, (n, n_valid)."""
        distinct = list(dict.fromkeys(self._plans))
        places = [distinct.index(plan) for plan in self._plans]
        found = np.empty((len(contexts), len(self._plans)))
        # Those with the same past are asked together: laying out thousands of sequences takes longer than valuing them.
        alike: dict[tuple[PlanSequence, bool], list[int]] = {}
        for row, context in enumerate(contexts):
            last = context["issue"].get("dk_attempts", 0) + 1 >= MAX_ATTEMPTS
            alike.setdefault((failed_plans(context, self._learned), last), []).append(row)
        for (failed, last), rows in alike.items():
            questions = [question_of(contexts[row], self._one_step.kernel_config) for row in rows]
            sequences = _with_what_follows(distinct, failed, 1 if last else 2)
            asked = [*sequences, failed] if failed else sequences
            came = self._one_step.values.structural.values(questions, asked)
            worth = per_episode(self._one_step.reading, len(sequences[-1]))(_after(came, bool(failed)))
            found[rows] = worth.reshape(len(rows), len(distinct), -1).max(axis=2)[:, places]
        return found


def failed_plans(context: Mapping[str, Any], learned: Collection[tuple[str, int]]) -> PlanSequence:
    """The plans of the issue's own runs that failed, as far as its history has them, without those that are
    ``learned`` from already: issue and end in ms."""
    issue_id, learned_as = context["issue"]["issue_id"], subject_of(context).issue_id
    plans = []
    for run in section(dict(context), "history").get("last_n_similar_runs") or ():
        ended_ms = run["started_ms"] + run["runtime"]["duration_ms"]
        failed = run["outcome"]["status"] != "success"
        if run.get("issue_id") == issue_id and failed and (learned_as, ended_ms) not in learned:
            action = run.get("action_executed") or {}
            if action.get("swarm_id"):
                numbers = (_bin(action.get(f"max_{name}")) for name in ("candidates", "minutes", "iterations"))
                plan = plan_of(Action(action["swarm_id"], *numbers), 1.0, minutes=DEFAULT_MINUTES)
                plans.append((run["started_ms"], plan))
    return tuple(plan for _, plan in sorted(plans, key=lambda pair: pair[0])[-MAX_FAILED:])


def _with_what_follows(plans: Sequence[Plan], failed: PlanSequence, steps: int) -> list[PlanSequence]:
    """Each plan after those that failed, and each with each if two steps are left; those of one first plan together."""
    if steps == 1:
        return [(*failed, plan) for plan in plans]
    return [(*failed, first, second) for first in plans for second in plans]


def _after(came: PlanOutcomes, failed: bool) -> PlanOutcomes:
    """What follows runs that failed: the last column is of these alone."""
    if not failed:
        return came
    still = np.maximum(1.0 - came.passed[:, -1:], 1e-9)
    return PlanOutcomes(*((kind[:, :-1] - kind[:, -1:]) / still for kind in came))


def _bin(value: int | None) -> int | Literal["NA"]:
    return value or "NA"


def _whole(plan: Plan | PlanSequence) -> Plan:
    assert isinstance(plan, Plan)
    return plan
