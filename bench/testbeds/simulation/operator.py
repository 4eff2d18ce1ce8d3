"""The people who run the simulated kernel: today's rule, more budget after a failure, and now and then a try."""

import random
from collections.abc import Mapping
from typing import Any

from bench.planning.selections import concrete_actions
from bench.testbeds.simulation.world import SimulatedRun
from planner.actions import Action, ActionSpace
from planner.policies.heuristic import SPECULATE, HeuristicPolicy

EXPLORES = 0.15
"""Share of runs that take any valid action, all with the same chance: no imitation can match these but by luck."""


class Operator:
    """Chooses the action of every run in the history; these choices are what a policy that imitates learns from."""

    def __init__(self, rule: HeuristicPolicy, draw: random.Random) -> None:
        self._rule = rule
        self._draw = draw

    def choose(
        self, context: Mapping[str, Any], last: tuple[Action, SimulatedRun] | None, area_is_failing: bool
    ) -> Action:
        """The action for ``context``.

        ``last`` is the issue's latest run: if that failed, its plan is raised. Otherwise the rule decides, with one
        candidate more while the two latest runs of the area have failed (``area_is_failing``).
        """
        space = ActionSpace.from_document(context["action_space"])
        if self._draw.random() < EXPLORES:
            return self._draw.choice(concrete_actions(space, context["job_type"]))
        if last is not None and not last[1].passed:
            return _raised(*last, space)
        action = self._rule.decide(context)
        return _with_another_candidate(action, space) if area_is_failing else action


def _raised(action: Action, run: SimulatedRun, space: ActionSpace) -> Action:
    """More minutes after a timeout; after any other failure one candidate more, and with the most of them more time."""
    wider = _with_another_candidate(action, space)
    return _longer(action, space) if run.kept.status == "timeout" or wider == action else wider


def _with_another_candidate(action: Action, space: ActionSpace) -> Action:
    candidates = _next(action.max_candidates_bin, space.bins("max_candidates_bin"))
    return (
        action
        if candidates == action.max_candidates_bin
        else action._replace(swarm_id=SPECULATE, max_candidates_bin=candidates)
    )


def _longer(action: Action, space: ActionSpace) -> Action:
    return action._replace(max_minutes_bin=_next(action.max_minutes_bin, space.bins("max_minutes_bin")))


def _next(value: Any, bins: tuple[Any, ...]) -> Any:
    """The next larger bin, or the value itself when it is the largest."""
    return min((other for other in bins if other != "NA" and other > value), default=value)
