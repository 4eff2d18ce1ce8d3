"""Regret on contexts of which several actions were executed: what a policy chooses among them, and what that loses."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import Outcomes
from planner.evaluation.bootstrap import mean_interval

JointScores = Callable[[NDArray[np.intp], str], NDArray[np.float64]]
"""Log-probabilities (rows, n_valid) of the valid actions of a job type, for these examples."""


@dataclass(frozen=True)
class PolicyScore:
    """One policy on comparable contexts. Times in seconds; regret in utility (bench.objective), lower is better."""

    policy: str
    cases: int
    pass_rate: float
    mean_time_s: float
    mean_agent_time_s: float
    regret: float
    regret_low: float
    regret_high: float
    pass_regret: float
    """Mean of the best executed action's share of passes minus the chosen one's."""
    free_choice: float | None
    """Share of contexts in which the policy's own favourite was among the executed actions; None where that is so by
    construction."""


@dataclass(frozen=True)
class Preference:
    """How much a policy prefers each executed action, (t,), and whether its favourite of all was executed, (n,)."""

    of_action: NDArray[np.float64]
    favourite_executed: NDArray[np.bool_] | None = None


def chosen_rows(preference: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.int64]:
    """The row of the preferred action of every comparable example, (comparable,); of equals, the first."""
    known = np.where(np.isfinite(outcomes.utility), preference, -np.inf)
    spans = zip(outcomes.bounds[:-1].tolist(), outcomes.bounds[1:].tolist(), strict=True)
    kept = [span for span, comparable in zip(spans, outcomes.comparable, strict=True) if comparable]
    return np.array([_first_best(known, outcomes.utility, *span) for span in kept], dtype=np.int64)


def _first_best(preference: NDArray[np.float64], utility: NDArray[np.float32], start: int, end: int) -> int:
    if np.isneginf(preference[start:end]).all():
        # The policy knows none of the executed actions: the first that counts.
        return start + int(np.isfinite(utility[start:end]).argmax())
    return start + int(preference[start:end].argmax())


def regrets(preference: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.float64]:
    """Utility lost against the best executed action, of every comparable example."""
    best = chosen_rows(outcomes.utility.astype(np.float64), outcomes)
    return outcomes.utility[best].astype(np.float64) - outcomes.utility[chosen_rows(preference, outcomes)]


def score(policy: str, preference: Preference, outcomes: Outcomes) -> PolicyScore:
    """A policy's score on the comparable examples, of which there must be one at least."""
    chosen = chosen_rows(preference.of_action, outcomes)
    shares = outcomes.passed.astype(np.float64)
    best_share = shares[chosen_rows(shares, outcomes)]
    mean, low, high = mean_interval(regrets(preference.of_action, outcomes))
    free = preference.favourite_executed
    return PolicyScore(
        policy=policy,
        cases=len(chosen),
        pass_rate=float(shares[chosen].mean()),
        mean_time_s=float(outcomes.duration_ms[chosen].mean() / 1000),
        mean_agent_time_s=float(outcomes.agent_ms[chosen].mean() / 1000),
        regret=mean,
        regret_low=low,
        regret_high=high,
        pass_regret=float((best_share - shares[chosen]).mean()),
        free_choice=None if free is None else float(free[outcomes.comparable].mean()),
    )


def best_per_case(outcomes: Outcomes) -> Preference:
    """What nobody can know beforehand: the action that came out best."""
    return Preference(outcomes.utility.astype(np.float64))


def single_best(learning: Outcomes, outcomes: Outcomes) -> Preference:
    """The action with the largest mean gain in ``learning``. Both must list actions of one space."""
    gains = mean_gains(learning)
    return Preference(np.array([gains.get(tuple(action), -1.0) for action in outcomes.actions.tolist()]))


def mean_gains(outcomes: Outcomes) -> dict[tuple[int, ...], float]:
    """Each action's mean utility relative to its case's: one that was tried on easy cases gains nothing by that."""
    gains: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    for action, utility, mean in zip(outcomes.actions.tolist(), outcomes.utility, _case_means(outcomes), strict=True):
        if np.isfinite(utility) and np.isfinite(mean):
            gains[tuple(action)].append(float(utility - mean))
    return {action: float(np.mean(values)) for action, values in gains.items()}


def _case_means(outcomes: Outcomes) -> NDArray[np.float64]:
    """The mean utility of each row's example, (t,); NaN where the example is not comparable."""
    known = np.isfinite(outcomes.utility)
    total = np.bincount(outcomes.example, np.where(known, outcomes.utility, 0.0), len(outcomes))
    mean = total / np.maximum(np.bincount(outcomes.example, known, len(outcomes)), 1)
    return np.where(outcomes.comparable, mean, np.nan)[outcomes.example]


def fixed_choices(actions: Sequence[Action], outcomes: Outcomes, space: ActionSpace) -> Preference:
    """A policy that gives one action per example, (n,), and no probabilities."""
    executed = [space.action(index) for index in outcomes.actions.tolist()]
    chosen = np.array([a == actions[i] for a, i in zip(executed, outcomes.example, strict=True)], dtype=bool)
    return Preference(chosen.astype(np.float64), np.bincount(outcomes.example, chosen, len(outcomes)) > 0)


def policy_preference(
    joint_of: JointScores,
    policy_space: ActionSpace,
    job_types: Sequence[str],
    outcomes: Outcomes,
    space: ActionSpace,
) -> Preference:
    """A policy's log-probabilities of the executed actions, which are positions in ``space``; its favourite is the most
    probable of all actions valid in ``policy_space``. ``job_types`` (n,)."""
    preference = np.full(len(outcomes.actions), -np.inf)
    favourite: NDArray[np.bool_] = np.zeros(len(outcomes), dtype=bool)
    names, example = np.array(job_types), outcomes.example
    for job_type in np.unique(names).tolist():
        examples = np.flatnonzero(names == job_type)
        place = {int(i): at for at, i in enumerate(examples)}
        joint = joint_of(examples, job_type)
        column = {action: at for at, action in enumerate(policy_space.valid_actions(job_type))}
        best = joint.argmax(axis=1)
        for row in np.flatnonzero(np.isin(example, examples)).tolist():
            at, i = column.get(space.action(outcomes.actions[row])), place[int(example[row])]
            if at is not None:
                preference[row] = joint[i, at]
                favourite[example[row]] |= bool(at == best[i])
    return Preference(preference, favourite)
