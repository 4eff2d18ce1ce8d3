"""Which K actions of a case are tried: always the default plan and the plan that was executed, then a seeded choice."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from planner.actions import HEADS, Action, ActionSpace


@dataclass(frozen=True)
class PlanLimits:
    """What the machine and the universe allow: a larger plan would run as a smaller one."""

    max_candidates: int | None = None
    """Agents that can run side by side (as many as there are toolchains); None = no limit."""
    max_minutes: int | None = None
    """The universe's cap on a run; None = no limit."""

    def effective(self, action: Action) -> Action:
        """The plan as it would run."""
        candidates = _capped(action.max_candidates_bin, self.max_candidates)
        minutes = _capped(action.max_minutes_bin, self.max_minutes)
        if (candidates, minutes) == (action.max_candidates_bin, action.max_minutes_bin):
            return action
        return action._replace(max_candidates_bin=candidates, max_minutes_bin=minutes)


@dataclass(frozen=True)
class Choice:
    """What there is to choose from for one case."""

    case_id: str
    context: Mapping[str, Any]
    """planner_input.v1"""
    default: Action
    """What today's rule would run."""
    pool: Sequence[Action]
    """The actions that would run as they stand, no two alike."""
    executed: Action | None = None
    """What Cyntra last ran on the issue, if it ever did."""
    limits: PlanLimits = PlanLimits()

    @property
    def fixed(self) -> list[Action]:
        """The actions that are always tried: the default, and the executed one."""
        return self._distinct([self.default, *([] if self.executed is None else [self.executed])])

    @property
    def rest(self) -> list[Action]:
        """The pool without what would run like one of the fixed actions, in an order that is always the same."""
        fixed = set(map(self.limits.effective, self.fixed))
        return [action for action in _in_order(tuple(self.pool)) if action not in fixed]

    def _distinct(self, actions: Iterable[Action]) -> list[Action]:
        """The first of each group of actions that would execute identically."""
        first: dict[Action, Action] = {}
        for action in actions:
            first.setdefault(self.limits.effective(action), action)
        return list(first.values())


class Selection(Protocol):
    """Chooses the actions of one case after the other."""

    @property
    def name(self) -> str:
        """How the choice was made, as the case records it."""
        ...

    def count(self, actions: Iterable[Action]) -> None:
        """Take note of actions that were chosen elsewhere, for instance before a resume."""
        ...

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """``n_actions`` distinct actions, those of ``choice.fixed`` first; fewer when there are no more."""
        ...


@dataclass
class WatchedSelection:
    """Another selection, and a word after every case: to plan tens of thousands takes a minute."""

    selection: Selection
    chosen: Callable[[int], None]
    """Gets how many cases have their actions."""
    n_cases: int = 0

    @property
    def name(self) -> str:
        """The other's."""
        return self.selection.name

    def count(self, actions: Iterable[Action]) -> None:
        """As the other does."""
        self.selection.count(actions)

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """What the other chooses."""
        actions = self.selection.choose(choice, n_actions)
        self.n_cases += 1
        self.chosen(self.n_cases)
        return actions


@dataclass
class Coverage:
    """The default selection, for labels that cover the space: all strata are met about equally often over the bench.

    A stratum is a swarm with a number of candidates; inside a stratum minutes and iterations are varied. The choice
    depends on the seed, the case and the choices so far alone.
    """

    seed: int
    chosen: Counter[tuple[object, ...]] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Coverage and its seed."""
        return f"coverage, seed {self.seed}"

    def count(self, actions: Iterable[Action]) -> None:
        """Take note of actions that were chosen elsewhere, for instance before a resume."""
        for action in actions:
            self.chosen[_stratum(action)] += 1
            self.chosen[action] += 1

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """The fixed actions, then those whose stratum was met least in this case, and in all cases."""
        remaining = choice.rest
        random.Random(f"{self.seed}/{choice.case_id}").shuffle(remaining)
        actions = choice.fixed[:n_actions]
        self.count(actions)
        strata, minutes = Counter(map(_stratum, actions)), Counter(action.max_minutes_bin for action in actions)

        def weight(action: Action) -> tuple[int, ...]:
            """How often its stratum was met in this case and in all, then its minutes; the smallest is next."""
            stratum = _stratum(action)
            return strata[stratum], self.chosen[stratum], self.chosen[action], minutes[action.max_minutes_bin]

        while remaining and len(actions) < n_actions:
            action = min(remaining, key=weight)
            remaining.remove(action)
            actions.append(action)
            self.count([action])
            strata[_stratum(action)] += 1
            minutes[action.max_minutes_bin] += 1
        return actions


class AllActions:
    """Every action that can run, whatever K says: for judging, and where executions cost nothing."""

    name = "all"

    def count(self, actions: Iterable[Action]) -> None:
        """Nothing to note: the choice depends on nothing."""

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """All of them."""
        return [*choice.fixed, *choice.rest]


def concrete_actions(space: ActionSpace, job_type: str) -> list[Action]:
    """The valid actions that leave nothing to Cyntra's default where they could say it.

    "NA" means "left to the default", which is one of the concrete plans under another name: with two names for one
    plan, noise would pick the winner between them.
    """
    valid = space.valid_actions(job_type)
    return [
        action for action in valid if not any(_could_be_concrete(action, head, space, job_type) for head in HEADS[1:])
    ]


@lru_cache
def _in_order(actions: tuple[Action, ...]) -> Sequence[Action]:
    """In an order that is always the same; most cases of a bench have one pool."""
    return sorted(actions, key=str)


@lru_cache
def runnable_actions(space: ActionSpace, job_type: str, limits: PlanLimits) -> Sequence[Action]:
    """The concrete actions that would run as they stand: the same for all issues of a universe."""
    return tuple(action for action in concrete_actions(space, job_type) if limits.effective(action) == action)


def _could_be_concrete(action: Action, head: str, space: ActionSpace, job_type: str) -> bool:
    return getattr(action, head) == "NA" and any(
        value != "NA" and space.is_valid(action._replace(**{head: value}), job_type) for value in space.bins(head)
    )


def _stratum(action: Action) -> tuple[object, ...]:
    return (action.swarm_id, action.max_candidates_bin)


def _capped(value: Any, limit: int | None) -> Any:
    return min(value, limit) if isinstance(value, int) and limit is not None else value
