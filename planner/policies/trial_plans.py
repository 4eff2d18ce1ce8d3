"""The plans of an action space's code actions, in the order of its valid actions; minutes are those of the budget."""

from collections.abc import Iterable, Mapping
from typing import Any

from planner.actions import Action, ActionSpace
from planner.artifacts.lenient import number, section
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
