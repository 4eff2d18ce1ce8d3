"""What a plan comes to, given what each of its attempts would do: the one rule behind replays, expectations and models.

A plan has lanes (candidates) of attempts (iterations). Serial: the attempts of all lanes one after another share the
minutes and stop at the first pass. Side by side (speculate): every lane has all the minutes and stops at its own first
pass; the plan waits for the slowest lane, and agent time is the sum. An attempt that would overrun what is left of the
minutes is cut there and has failed.
"""

import itertools
import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action

SPECULATE = "speculate_vote"
"""The swarm whose candidates work side by side; those of every other one work one after another."""
Array: TypeAlias = NDArray[np.float64]


class Plan(NamedTuple):
    """An action as the rule sees it; ``limit`` is in the unit of the attempts' times, and may be infinite."""

    side_by_side: bool
    lanes: int
    attempts: int
    limit: float

    @property
    def n_trials(self) -> int:
        """Attempts that it makes at most."""
        return self.lanes * self.attempts


class PlanOutcomes(NamedTuple):
    """What plans come to, (..., plans) each: probability to pass, wall time, time of all agents together."""

    passed: Array
    wall: Array
    agent: Array


class _Row(NamedTuple):
    """Attempts one after another, each of which may be the one that passes, or none; arrays are (...) each."""

    passed: Array
    """How likely one of them passes in time."""
    still: Array
    """How likely none does, before what was cut is counted as failed."""
    time: Array
    """When the last one ends if none has passed."""
    mean: Array
    """Expected time up to a pass, for the ways in which one ends the row."""
    ways: tuple[tuple[Array, Array], ...]
    """How likely each attempt ends the row by passing, cut or not, and when that is."""

    @property
    def spent(self) -> Array:
        """Expected time of the row."""
        return self.mean + self.still * self.time

    @property
    def ends(self) -> tuple[tuple[Array, Array], ...]:
        """All ways in which the row ends: how likely, and when."""
        return (*self.ways, (self.still, self.time))


def plan_of(action: Action, minute: float, *, candidates: int = 1, minutes: float = math.inf) -> Plan:
    """The plan of an action, where one minute of budget lasts ``minute``.

    ``candidates`` and ``minutes`` are what "NA" stands for; without a number of iterations a candidate has one attempt.
    """
    lanes, limit, attempts = action[1:]
    return Plan(
        side_by_side=action.swarm_id == SPECULATE,
        lanes=candidates if lanes == "NA" else lanes,
        attempts=1 if attempts == "NA" else attempts,
        limit=minute * (minutes if limit == "NA" else limit),
    )


def plan_outcomes(
    plans: Sequence[Plan], passed: Array, time_passed: Array, time_failed: Array, *, lane_stride: int | None = None
) -> PlanOutcomes:
    """Expected outcomes of ``plans``, given independent trials: each passes with ``passed`` (..., trials), after
    ``time_passed`` if it does, ``time_failed`` if not (all of one shape). For recorded trials ``passed`` is 0 or 1 and
    both times are the same; then nothing is uncertain, and whole numbers stay whole.

    Lane j, attempt i of a plan with n attempts a lane uses trial j · n + i, or j · ``lane_stride`` + i: with it, each
    lane has trials of its own, of a tool of its own for instance.
    """
    rule = _Rule(passed, time_passed, time_failed)
    shape = (*passed.shape[:-1], len(plans))
    found = PlanOutcomes(np.empty(shape), np.empty(shape), np.empty(shape))
    for at, plan in enumerate(plans):
        stride = plan.attempts if lane_stride is None else lane_stride
        lanes = [tuple(lane * stride + i for i in range(plan.attempts)) for lane in range(plan.lanes)]
        found.passed[..., at], found.wall[..., at], found.agent[..., at] = rule.outcome(plan, lanes)
    return found


class _Rule:
    """The rule on one set of trials; what several plans have in common is computed once."""

    def __init__(self, passed: Array, time_passed: Array, time_failed: Array) -> None:
        self._trials = [np.ascontiguousarray(np.moveaxis(a, -1, 0)) for a in (passed, time_passed, time_failed)]
        self._certain = bool(((passed == 0) | (passed == 1)).all())
        """Then each lane ends in one way, and the slowest can be taken of their times alone."""
        self._rows: dict[tuple[tuple[int, ...], float], _Row] = {}
        self._outcomes: dict[tuple[tuple[tuple[int, ...], ...], float], tuple[Array, Array, Array]] = {}

    def outcome(self, plan: Plan, lanes: Sequence[tuple[int, ...]]) -> tuple[Array, Array, Array]:
        """Pass probability, wall and agent time, (...) each."""
        attempts = tuple(lanes) if plan.side_by_side else (tuple(itertools.chain.from_iterable(lanes)),)
        key = attempts, plan.limit
        if key not in self._outcomes:
            rows = [self._row(lane, plan.limit) for lane in attempts]
            spent = [row.spent for row in rows]
            simple = self._certain or len(rows) == 1
            wall = reduce(np.maximum, spent) if simple else _expected_maximum([row.ends for row in rows])
            missed = reduce(np.multiply, [1.0 - row.passed for row in rows])
            self._outcomes[key] = 1.0 - missed, wall, reduce(np.add, spent)
        return self._outcomes[key]

    def _row(self, attempts: tuple[int, ...], limit: float) -> _Row:
        key = attempts, limit
        if key not in self._rows:
            shape = self._trials[0].shape[1:]
            self._rows[key] = (
                self._longer(self._row(attempts[:-1], limit), attempts[-1], limit)
                if attempts
                else _Row(np.zeros(shape), np.ones(shape), np.zeros(shape), np.zeros(shape), ())
            )
        return self._rows[key]

    def _longer(self, row: _Row, trial: int, limit: float) -> _Row:
        """The row with one more attempt."""
        passed, time_passed, time_failed = (kind[trial] for kind in self._trials)
        ends = row.still * passed
        end = row.time + time_passed
        in_time = (end <= limit) & (row.time < limit)
        at = np.minimum(end, limit)
        return _Row(
            row.passed + ends * in_time,
            row.still - ends,
            np.minimum(row.time + time_failed, limit),
            row.mean + ends * at,
            (*row.ways, (ends, at)),
        )


def _expected_maximum(lanes: Sequence[Sequence[tuple[Array, Array]]]) -> Array:
    """The mean time of the slowest lane, over all combinations of the lanes' ends."""
    total: Array = np.zeros_like(lanes[0][0][0])
    for combination in itertools.product(*lanes):
        total += reduce(np.multiply, [share for share, _ in combination]) * reduce(
            np.maximum, [time for _, time in combination]
        )
    return total
