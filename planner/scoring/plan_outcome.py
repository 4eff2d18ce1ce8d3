"""What a plan comes to, given what each of its attempts would do: the one rule behind replays, expectations and models.

A plan has lanes (candidates) of attempts (iterations). Serial: the attempts of all lanes one after another share the
minutes and stop at the first pass. Side by side (speculate): every lane has all the minutes and stops at its own first
pass; the plan waits for the slowest lane, and agent time is the sum. An attempt that would overrun what is left of the
minutes is cut there and has failed.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action

SPECULATE = "speculate_vote"
"""The swarm whose candidates work side by side; those of every other one work one after another."""
Array: TypeAlias = NDArray[np.float64]
_Lanes: TypeAlias = tuple[tuple[int, ...], ...]
"""The trials of each row of attempts, in their order."""


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
    """Attempts one after another, each of which may be the one that passes, or none. Nothing is cut in ``still``,
    ``time`` and ``ways``, arrays of (...) each; the others are (limits, ...), a row for each limit."""

    passed: Array
    """How likely one of them passes in time."""
    still: Array
    """How likely none does, before what was cut is counted as failed."""
    time: Array
    """When the last one ends if none has passed."""
    mean: Array
    """Expected time up to a pass, for the ways in which one ends the row."""
    ways: tuple[tuple[Array, Array], ...]
    """How likely each attempt ends the row by passing, and when that is."""

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
    limits, groups = _by_lanes(tuple(plans), lane_stride)
    rule = _Rule(passed, time_passed, time_failed, limits)
    # One plan after another in memory: what is read next, a mean over draws, takes it either way.
    found = PlanOutcomes(*(np.empty((len(plans), *passed.shape[:-1])) for _ in range(3)))
    for lanes, places, at_limit in groups:
        for whole, of_limits in zip(found, rule.outcomes(lanes), strict=True):
            whole[places] = of_limits[at_limit]
    return PlanOutcomes(*(np.moveaxis(kind, 0, -1) for kind in found))


@lru_cache(maxsize=64)
def _by_lanes(
    plans: tuple[Plan, ...], lane_stride: int | None
) -> tuple[tuple[float, ...], list[tuple[_Lanes, list[int], list[int]]]]:
    """All limits; and the plans that differ in nothing but these: their rows side by side, each the trials that it
    uses, their places among the plans, and which limit each has."""
    limits = tuple(sorted({plan.limit for plan in plans}))
    groups: dict[_Lanes, tuple[list[int], list[int]]] = {}
    for at, plan in enumerate(plans):
        stride = plan.attempts if lane_stride is None else lane_stride
        lanes = tuple(tuple(lane * stride + i for i in range(plan.attempts)) for lane in range(plan.lanes))
        rows = lanes if plan.side_by_side else (tuple(itertools.chain.from_iterable(lanes)),)
        places, at_limit = groups.setdefault(rows, ([], []))
        places.append(at)
        at_limit.append(limits.index(plan.limit))
    return limits, [(lanes, *group) for lanes, group in groups.items()]


class _Rule:
    """The rule on one set of trials and all limits; what several plans have in common is computed once.

    A limit only cuts what would end later: the ends of a row without limits, each no later than the limit, are those
    of the row with it. So a row is followed once for all limits (valuing 120 plans by five limits takes a third).
    """

    def __init__(self, passed: Array, time_passed: Array, time_failed: Array, limits: Sequence[float]) -> None:
        self._trials = [np.ascontiguousarray(np.moveaxis(a, -1, 0)) for a in (passed, time_passed, time_failed)]
        self._limits: Array = np.reshape(limits, (-1, *(1 for _ in passed.shape[:-1])))
        self._certain = bool(((passed == 0) | (passed == 1)).all())
        """Then each lane ends in one way, and the slowest can be taken of their times alone."""
        self._rows: dict[tuple[int, ...], _Row] = {}

    def outcomes(self, lanes: _Lanes) -> tuple[Array, Array, Array]:
        """Pass probability, wall and agent time under each limit, (limits, ...) each, of rows side by side."""
        rows = [self._row(lane) for lane in lanes]
        spent = [row.mean + row.still * np.minimum(row.time, self._limits) for row in rows]
        simple = self._certain or len(rows) == 1
        wall = reduce(np.maximum, spent) if simple else self._expected_maximum([row.ends for row in rows])
        missed = reduce(np.multiply, [1.0 - row.passed for row in rows])
        return 1.0 - missed, wall, reduce(np.add, spent)

    def _row(self, attempts: tuple[int, ...]) -> _Row:
        if attempts not in self._rows:
            shape = self._trials[0].shape[1:]
            nothing = np.zeros((len(self._limits), *shape))
            self._rows[attempts] = (
                self._longer(self._row(attempts[:-1]), attempts[-1])
                if attempts
                else _Row(nothing, np.ones(shape), np.zeros(shape), nothing, ())
            )
        return self._rows[attempts]

    def _longer(self, row: _Row, trial: int) -> _Row:
        """The row with one more attempt."""
        passed, time_passed, time_failed = (kind[trial] for kind in self._trials)
        ends = row.still * passed
        end = row.time + time_passed
        in_time = (end <= self._limits) & (row.time < self._limits)
        return _Row(
            row.passed + ends * in_time,
            row.still - ends,
            row.time + time_failed,
            row.mean + ends * np.minimum(end, self._limits),
            (*row.ways, (ends, end)),
        )

    def _expected_maximum(self, lanes: Sequence[Sequence[tuple[Array, Array]]]) -> Array:
        """The mean time of the slowest lane under each limit, (limits, ...).

        An end is the last one as often as it comes and all other lanes have ended by then, of two at once the former
        lane. So each two ends are compared once for all limits; over all combinations of ends instead (216 of three
        lanes with five attempts each) a decision takes twice as long.
        """
        shares = [np.stack([share for share, _ in lane]) for lane in lanes]
        times = [np.stack([time for _, time in lane]) for lane in lanes]
        last = [share.copy() for share in shares]
        for former, latter in itertools.combinations(range(len(lanes)), 2):
            has_ended = times[latter][None] <= times[former][:, None]
            last[former] *= (shares[latter] * has_ended).sum(axis=1)
            last[latter] *= 1.0 - (shares[former][:, None] * has_ended).sum(axis=0)
        weights, ends = np.concatenate(last), np.concatenate(times)
        return np.stack([(weights * np.minimum(ends, limit)).sum(axis=0) for limit in self._limits.ravel()])
