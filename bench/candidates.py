"""K distinct valid actions for a case: the default plan, then a seeded spread over swarms and budgets."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from planner.actions import HEADS, Action, ActionSpace


@dataclass(frozen=True)
class PlanLimits:
    """What the machine and the universe allow: a larger plan would run as a smaller one."""

    max_candidates: int | None = None
    """Agents that can run side by side (as many as there are toolchains); None = no limit."""
    max_minutes: int | None = None
    """The universe's cap on a run; None = no limit."""

    def allow(self, action: Action) -> bool:
        """Whether the action would run as it stands."""
        return _within(action.max_candidates_bin, self.max_candidates) and _within(
            action.max_minutes_bin, self.max_minutes
        )


@dataclass
class CandidateSampler:
    """Chooses actions case by case and remembers what it chose, so that all strata are met about equally often.

    A stratum is a swarm with a number of candidates; inside a stratum the minutes are varied.
    """

    seed: int
    chosen: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def count(self, actions: Iterable[Action]) -> None:
        """Take note of actions that were chosen elsewhere, for instance before a resume."""
        for action in actions:
            self.chosen[_stratum(action)] += 1
            self.chosen[action] += 1

    def choose(self, pool: Iterable[Action], default: Action, case_id: str, n_actions: int) -> list[Action]:
        """``n_actions`` distinct actions: the default, then some of ``pool``; fewer when it has no more.

        The choice depends on the seed, the case and the choices so far alone.
        """
        draw = random.Random(f"{self.seed}/{case_id}")
        remaining = sorted(set(pool) - {default}, key=str)
        draw.shuffle(remaining)
        actions = [default]
        self.count(actions)
        while remaining and len(actions) < n_actions:
            action = min(remaining, key=lambda candidate: self._weight(candidate, actions))
            remaining.remove(action)
            actions.append(action)
            self.count([action])
        return actions

    def _weight(self, action: Action, taken: list[Action]) -> tuple[int, ...]:
        """How often the action's stratum was met in this case and in all, then its minutes; the smallest is next."""
        return (
            sum(_stratum(other) == _stratum(action) for other in taken),
            self.chosen[_stratum(action)],
            self.chosen[action],
            sum(other.max_minutes_bin == action.max_minutes_bin for other in taken),
        )


def concrete_actions(space: ActionSpace, job_type: str) -> list[Action]:
    """The valid actions that leave nothing to Cyntra's default where they could say it.

    "NA" means "left to the default", which is one of the concrete plans under another name: with two names for one
    plan, noise would pick the winner between them.
    """
    valid = space.valid_actions(job_type)
    return [
        action for action in valid if not any(_could_be_concrete(action, head, space, job_type) for head in HEADS[1:])
    ]


def _could_be_concrete(action: Action, head: str, space: ActionSpace, job_type: str) -> bool:
    return getattr(action, head) == "NA" and any(
        value != "NA" and space.is_valid(action._replace(**{head: value}), job_type) for value in space.bins(head)
    )


def _stratum(action: Action) -> tuple[object, ...]:
    return (action.swarm_id, action.max_candidates_bin)


def _within(value: object, limit: int | None) -> bool:
    return limit is None or not isinstance(value, int) or value <= limit
