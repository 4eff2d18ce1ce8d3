"""What is preferred among executed actions: by a policy, by chance, in hindsight; and what each action gains.

How much a preference loses is in planner.scoring.regret.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import Outcomes

JointScores = Callable[[NDArray[np.intp], str], NDArray[np.float64]]
"""Log-probabilities (rows, n_valid) of the valid actions of a job type, for these examples."""
NEVER_TRIED = -1.0
"""Gain of an action that no example tried."""


@dataclass(frozen=True)
class Preference:
    """How much a policy prefers each executed action, (t,), and whether its favourite of all was executed, (n,).

    It takes the action that it prefers most; with ``shares`` (t,), each with this probability instead.
    """

    of_action: NDArray[np.float64]
    favourite_executed: NDArray[np.bool_] | None = None
    shares: NDArray[np.float64] | None = None


def best_per_case(outcomes: Outcomes) -> Preference:
    """What nobody can know beforehand: the action that came out best, of those that ran to their end."""
    return Preference(np.where(outcomes.is_exact, outcomes.utility.astype(np.float64), -np.inf))


def uniform(outcomes: Outcomes) -> Preference:
    """Any of the executed actions, all with the same probability."""
    known = np.isfinite(outcomes.utility)
    shares = known / np.maximum(np.bincount(outcomes.example, known, len(outcomes)), 1)[outcomes.example]
    return Preference(np.zeros(len(known)), shares=shares)


def mean_gains(outcomes: Outcomes) -> dict[tuple[int, ...], float]:
    """Each action's mean utility relative to its case's: one that was tried on easy cases gains nothing by that.

    A capped action counts with its bound: to leave it out would hide where the action was slow.
    """
    of_action: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    for action, gain in zip(outcomes.actions.tolist(), gains(outcomes).tolist(), strict=True):
        if np.isfinite(gain):
            of_action[tuple(action)].append(gain)
    return {action: float(np.mean(values)) for action, values in of_action.items()}


def gains(outcomes: Outcomes) -> NDArray[np.float64]:
    """The utility of each row relative to its example's mean, (t,); NaN where either is not known."""
    return outcomes.utility.astype(np.float64) - _case_means(outcomes)


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
