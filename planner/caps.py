"""Hard limits on a plan's budgets: what a decision is refused for, and what is left of a plan within them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.actions import Action, ActionSpace
from planner.dimensions import DIMENSIONS, Dimension
from planner.errors import ConfigError


@dataclass(frozen=True)
class Caps:
    """Hard limits that no decision may exceed; None is no limit. ConfigError for one below 1."""

    max_candidates: int | None = None
    max_minutes: int | None = None
    max_iterations: int | None = None

    def __post_init__(self) -> None:
        for name, cap in vars(self).items():
            if cap is not None and cap < 1:
                raise ConfigError(f"{name} {cap}: a cap is 1 or more; leave it out for no cap")


def objection(action: Action, confidence: float, threshold: float, caps: Caps) -> str | None:
    """Why a decision is not to be followed, as a fallback_reason; None when nothing speaks against it."""
    if confidence < threshold:
        return "low_confidence"
    for dimension, value, cap in _capped(caps, action):
        if cap is not None and value != "NA" and value > cap:
            return dimension.objection
    return None


def within(
    caps: Caps, action: Action, context: Mapping[str, Any] | None = None, default: Action | None = None
) -> Action:
    """The action with each budget cut at its cap.

    "NA" leaves a budget to Cyntra's default, which the cap binds as well: it becomes the cap, unless today's rule's
    plan, ``default``, keeps to the cap by itself, or the context's rules admit nothing else for such a job.
    """
    values = []
    for dimension, value, cap in _capped(caps, action):
        usual = None if default is None else getattr(default, dimension.name)
        kept = cap is None or (isinstance(usual, int) and usual <= cap)
        if value != "NA":
            values.append(value if cap is None else min(value, cap))
        elif kept or not _takes_numbers(context, action.swarm_id, dimension):
            values.append(value)
        else:
            values.append(cap)
    return Action(*values)


def _takes_numbers(context: Mapping[str, Any] | None, swarm_id: str, dimension: Dimension) -> bool:
    """Whether a budget of this swarm can be a number at all; without a context, whether it is one by default."""
    if context is None:
        return dimension.fallback != "NA"
    valid = ActionSpace.from_document(context["action_space"]).valid_actions(context["job_type"])
    return any(getattr(action, dimension.name) != "NA" for action in valid if action.swarm_id == swarm_id)


def _capped(caps: Caps, action: Action) -> list[tuple[Dimension, Any, int | None]]:
    """Each dimension with the action's value and the cap on it."""
    return [
        (dimension, value, getattr(caps, dimension.cap) if dimension.cap else None)
        for dimension, value in zip(DIMENSIONS, action, strict=True)
    ]
