"""The plans of an action space's code actions, in the order of its valid actions; minutes are those of the budget."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.artifacts.lenient import number, section
from planner.policies.heuristic import HeuristicPolicy, nearest_valid
from planner.scoring.plan_outcome import SPECULATE, Plan, plan_of

CODE = "code"
"""The job type whose agents are launched as trials."""
DEFAULT_MINUTES = 60.0
DEFAULT_PARALLELISM = 2
"""What Cyntra takes for "NA" where its config does not say."""


def plans_of_space(space: ActionSpace, kernel_config: Mapping[str, Any]) -> list[Plan]:
    """A plan for each valid action of a code job."""
    return plans_of_actions(space.valid_actions(CODE), kernel_config)


def plans_of_actions(actions: Iterable[Action], kernel_config: Mapping[str, Any]) -> list[Plan]:
    """A plan for each action of code jobs."""
    parallel = number(section(dict(kernel_config), "speculation"), "default_parallelism") or DEFAULT_PARALLELISM
    return [
        plan_of(
            action,
            1.0,
            candidates=int(parallel) if action.swarm_id == SPECULATE else 1,
            minutes=DEFAULT_MINUTES,
        )
        for action in actions
    ]


def plans_of_rule(
    contexts: Sequence[Mapping[str, Any]], space: ActionSpace, kernel_config: Mapping[str, Any]
) -> NDArray[np.intp]:
    """Which valid code action of ``space`` today's rule takes in each of these contexts, (n,)."""
    rule, valid = HeuristicPolicy(kernel_config), space.valid_actions(CODE)
    return np.array([valid.index(nearest_valid(rule.decide(one), space, CODE)) for one in contexts], dtype=np.intp)


def scores_of_rule(rule: NDArray[np.intp], n_plans: int) -> NDArray[np.float64]:
    """Scores (n, n_plans) by which what today's rule takes, (n,), is taken."""
    scores = np.full((len(rule), n_plans), -1.0)
    scores[np.arange(len(rule)), rule] = 0.0
    return scores
