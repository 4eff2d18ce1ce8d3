"""Policies that learn from trials: the structural model, the forest of trials, and the mean of both.

Each values every plan, reads the values by utility, and follows them where its gate is open. Elsewhere it prefers the
plan that fared best on average, or, where logs alone say what plans come to, keeps today's rule. For jobs other than
code it prefers what train's labels chose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.outcomes import UNKNOWN_MS
from planner.dataset.storage import Dataset, Split
from planner.dataset.trials import read_trials
from planner.encoding.inputs import Inputs
from planner.policies.gains import log_probs_of
from planner.policies.questions import question_of
from planner.policies.readings import Reading, by_utility
from planner.policies.registry import baseline
from planner.policies.trial_plans import CODE, plans_of_rule, plans_of_space
from planner.policies.trial_values import Known, Member, TrialValues, fit_trial_values
from planner.scoring.plan_outcome import PlanOutcomes
from planner.scoring.utility import LIMIT_MINUTES, Metrics, recorded_metrics

Array: TypeAlias = NDArray[np.float64]
MAX_QUESTIONS = 1000
"""Of more examples, the latest are what gate and forest learn from."""
SMOOTHING = 0.1
"""Added to every action's count among the labels of other jobs."""
MEMBERS: dict[str, tuple[Member, ...]] = {
    "structural": ("structural",),
    "trial forest": ("trial_forest",),
    "structural and trial forest": ("structural", "trial_forest"),
}


@dataclass
class TrialPolicy:
    """A fitted policy (see planner.policies.policy)."""

    name: str
    space: ActionSpace
    values: TrialValues
    kernel_config: Mapping[str, Any]
    metrics: Metrics
    """Of the objective by which train's outcomes were judged."""
    label_shares: dict[str, Array]
    """Of job types other than code: how often train's labels chose each valid action."""

    @classmethod
    def fit(cls, name: str, dataset: Dataset, splits: Sequence[str] = ("train",), seed: int = 0) -> "TrialPolicy":
        """Learn from the trials of ``splits``, and from what came of their examples.

        Nothing is chosen on validation, for gate and calibration leave folds out, so val can be learned from too.
        DatasetError when there is too little.
        """
        info = dataset.info
        trials = read_trials(dataset.path)
        plans = plans_of_space(dataset.space, info.kernel_config)
        values = fit_trial_values(
            trials.take(np.isin(trials.split, splits)),
            known_outcomes(dataset, splits),
            plans,
            LIMIT_MINUTES,
            MEMBERS[name],
            minute_ms=1000 * info.minute_seconds,
            seed=seed,
        )
        metrics = recorded_metrics(info.objective)
        return cls(name, dataset.space, values, info.kernel_config, metrics, _label_shares(dataset, splits))

    @property
    def reading(self) -> Reading:
        """How values become scores."""
        return by_utility(LIMIT_MINUTES, self.metrics)

    def score(self, inputs: Inputs, job_type: str) -> Array:
        """Softmax of utilities over what each context admits."""
        n_valid = len(self.space.valid_actions(job_type))
        if job_type == CODE:
            scores = self.utilities(inputs.contexts()) if len(inputs) else np.zeros((0, n_valid))
        else:
            shares = self.label_shares.get(job_type, np.zeros(n_valid))
            scores = np.broadcast_to(shares, (len(inputs), n_valid))
        return log_probs_of(scores, inputs, self.space, job_type)

    def utilities(self, contexts: Sequence[Mapping[str, Any]]) -> Array:
        """The gated utilities of every valid plan of code contexts, (n, n_valid)."""
        questions = [question_of(context, self.kernel_config) for context in contexts]
        return self.values.scores(questions, self.reading, plans_of_rule(contexts, self.space, self.kernel_config))


def known_outcomes(dataset: Dataset, splits: Sequence[str]) -> Known:
    """What came of the code examples of these splits, the latest of many."""
    parts = [_known_of_split(dataset, dataset.splits[name]) for name in splits if len(dataset.splits[name])]
    tables = [np.concatenate(kind)[-MAX_QUESTIONS:] for kind in zip(*(part.outcomes for part in parts), strict=True)]
    questions = [question for part in parts for question in part.questions]
    rule = np.concatenate([part.rule for part in parts])
    return Known(questions[-MAX_QUESTIONS:], PlanOutcomes(*tables), rule[-MAX_QUESTIONS:])


def _known_of_split(dataset: Dataset, split: Split) -> Known:
    outcomes, space = split.outcomes, dataset.space
    code = np.flatnonzero(np.array(split.table["job_type"]) == CODE)[-MAX_QUESTIONS:]
    contexts = split.contexts()
    column = np.full(len(space.tuples), -1)
    column[space.tuple_rows(space.valid_indices(CODE))] = np.arange(len(space.valid_indices(CODE)))
    tables = PlanOutcomes(*(np.full((len(code), len(space.valid_indices(CODE))), np.nan) for _ in range(3)))
    minute_ms = 1000 * dataset.info.minute_seconds
    for at, row in enumerate(code.tolist()):
        rows = np.arange(*outcomes.bounds[row : row + 2])
        rows = rows[~outcomes.capped[rows]]
        columns = column[space.tuple_rows(np.asarray(outcomes.actions)[rows])]
        tables.passed[at, columns] = outcomes.passed[rows]
        tables.wall[at, columns] = outcomes.duration_ms[rows] / minute_ms
        agent_ms = outcomes.agent_ms[rows]
        tables.agent[at, columns] = np.where(agent_ms == UNKNOWN_MS, np.nan, agent_ms / minute_ms)
    kernel_config = dataset.info.kernel_config
    asked = [contexts[row] for row in code]
    questions = [question_of(context, kernel_config) for context in asked]
    return Known(questions, tables, plans_of_rule(asked, space, kernel_config))


def _label_shares(dataset: Dataset, splits: Sequence[str]) -> dict[str, Array]:
    parts = [dataset.splits[name] for name in splits]
    job_types = np.concatenate([np.array(part.table["job_type"], dtype=np.str_) for part in parts])
    every = np.concatenate([np.asarray(part.labels) for part in parts])
    shares = {}
    for job_type in np.unique(job_types[job_types != CODE]).tolist():
        labels = every[job_types == job_type]
        valid = dataset.space.valid_indices(job_type)
        counts = (labels[:, None] == valid[None]).all(axis=2).sum(axis=0) + SMOOTHING
        shares[job_type] = counts / counts.sum()
    return shares


def _register(name: str) -> None:
    def fit(dataset: Dataset) -> TrialPolicy:
        return TrialPolicy.fit(name, dataset)

    # The registry asks for it, and the type of a function declares no attributes.
    fit.name = name  # type: ignore[attr-defined]
    baseline(needs_trials=True)(fit)


for _name in MEMBERS:
    _register(_name)
