"""Where every policy stands on the held-out cases: what it chose, what that came to, and how sure that is.

Choices come from a report of `planner evaluate --bench` where there is one. Otherwise only what needs no training is
judged: today's rule, the single best action of the learning cases, and the best per case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.judging.results import HoldOutBy, split_off
from bench.report.grid import Grid, GridCase
from planner.actions import ActionSpace, action_from_document
from planner.dataset.outcomes import UNKNOWN_MS, ActionOutcome, Outcomes, make_outcomes
from planner.evaluation.regret_report import Gain, RegretReport
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.preferences import Preference, best_per_case, fixed_choices, mean_gains, uniform
from planner.scoring.regret import chosen_rows, lost_within, regret_won

RULE, SINGLE_BEST, BEST_PER_CASE, RANDOM = "heuristic", "single best", "best per case", "random"
"""What reports of `planner evaluate --bench` call them."""
Kind = Literal["run", "baseline", "rule", "fixed", "bound", "chance"]
_KINDS: dict[str, Kind] = {RULE: "rule", SINGLE_BEST: "fixed", BEST_PER_CASE: "bound", RANDOM: "chance"}
SHOWN_AS = {RULE: "today's rule", RANDOM: "random action"}
MS_PER_MINUTE = 60_000


@dataclass(frozen=True)
class Range:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """One policy on the held-out cases."""

    name: str
    kind: Kind
    chosen: Mapping[str, str]
    """Case id -> the action that it takes there; empty where it is not known, or drawn."""
    regrets: Mapping[str, float]
    """Case id -> utility lost, at least."""
    passed: Range | None
    agent_minutes: Range | None
    wall_minutes: Range | None
    dollars: Range | None
    """None where what any choice cost is not known."""
    regret: Range | None
    regret_at_most: float | None

    @property
    def label(self) -> str:
        """Its name for people."""
        return SHOWN_AS.get(self.name, self.name)


@dataclass(frozen=True)
class FixedAction:
    """One action taken in every held-out case."""

    action: str
    passed: float
    agent_minutes: float
    on_frontier: bool
    """No other one passes as often in less agent time."""


@dataclass(frozen=True)
class Standings:
    """All policies on the same held-out cases."""

    policies: tuple[Standing, ...]
    fixed: tuple[FixedAction, ...]
    """Those that were executed in every held-out case."""
    gains: tuple[Gain, ...]
    problem_of: Mapping[str, str]
    """Held-out case id -> what it is about; itself, where that is not known."""
    n_cases: int
    n_problems: int
    learning_cases: int
    held_out_by: str
    minute_ms: float
    """A minute of budget where its length is known, else one of the clock."""

    def get(self, name: str) -> Standing | None:
        """The policy called so."""
        return next((one for one in self.policies if one.name == name), None)

    def gain(self, policy: str, over: str) -> Gain | None:
        """What the one wins over the other; None where it is not known case by case, or only within bounds."""
        known = next((one for one in self.gains if (one.policy, one.over) == (policy, over)), None)
        one, other = self.get(policy), self.get(over)
        if known is not None or one is None or other is None:
            return known
        common = [key for key in one.regrets if key in other.regrets]
        if not common or any(each.regret and each.regret.mean != each.regret_at_most for each in (one, other)):
            return None
        won = np.array([other.regrets[key] - one.regrets[key] for key in common])
        clusters = np.unique([self.problem_of[key] for key in common], return_inverse=True)[1].astype(np.int64)
        found = range_over(won, clusters)
        return Gain(policy, over, found.mean, found.mean, found.low, found.high)


def standings(grid: Grid | None, report: RegretReport | None, *, holdout: float, by: HoldOutBy) -> Standings | None:
    """Of a ledger and what was judged on it, either of which may be missing; None where nothing can be compared."""
    if report is not None:
        return _of_report(report, grid)
    return None if grid is None else _of_grid(grid, holdout, by)


def _of_report(report: RegretReport, grid: Grid | None) -> Standings:
    minute_ms = report.minute_seconds * 1000
    of_case = {} if grid is None else {case.case.case_id: case for case in grid.cases}
    # A case whose outcomes came from another ledger is not shown by this one's.
    known = [one for one in report.cases if one.case_id in of_case] if not report.from_full_ledgers else []
    runs = {row.policy for row in report.online}
    policies = []
    for score in report.policies:
        name = score.policy
        chosen = {one.case_id: one.chosen[name] for one in report.cases if name in one.chosen}
        cases = [of_case[one.case_id] for one in known if name in one.chosen]
        policies.append(
            Standing(
                name=name,
                kind="run" if name in runs else _KINDS.get(name, "baseline"),
                chosen=chosen,
                regrets={one.case_id: one.regret[name] for one in report.cases if name in one.regret},
                passed=_passes(cases, chosen) or _alone(score.pass_rate),
                agent_minutes=_minutes(cases, chosen, minute_ms, "agent_ms")
                or _alone(score.mean_agent_time_s * 1000 / minute_ms),
                wall_minutes=_minutes(cases, chosen, minute_ms, "duration_ms")
                or _alone(score.mean_time_s * 1000 / minute_ms),
                dollars=_dollars(cases, chosen),
                regret=Range(score.regret, score.regret_low, score.regret_high),
                regret_at_most=score.regret_at_most,
            )
        )
    return Standings(
        policies=tuple(policies),
        fixed=_fixed_actions([of_case[one.case_id] for one in known], minute_ms),
        gains=report.gains,
        problem_of={
            one.case_id: of_case[one.case_id].problem if one.case_id in of_case else one.case_id for one in report.cases
        },
        n_cases=report.held_out_cases,
        n_problems=report.held_out_problems,
        learning_cases=report.learning_cases,
        held_out_by=report.held_out_by,
        minute_ms=minute_ms,
    )


def _of_grid(grid: Grid, holdout: float, by: HoldOutBy) -> Standings | None:
    """Today's rule, the single best action and the bounds, which need no training."""
    comparing = [case for case in grid.cases if case.compares]
    learning, held_out = split_off(comparing, holdout, by)
    if not learning or not held_out or grid.minute_seconds is None:
        return None
    space = ActionSpace.union([_space_of(case) for case in comparing])
    outcomes = _outcomes(held_out, space)
    rule = [action_from_document(case.case.actions[0].model_dump()) for case in held_out]
    preferences = {
        RANDOM: uniform(outcomes),
        RULE: fixed_choices(rule, outcomes, space),
        SINGLE_BEST: _single_best(_outcomes(learning, space), outcomes),
        BEST_PER_CASE: best_per_case(outcomes),
    }
    clusters = np.unique([case.problem for case in held_out], return_inverse=True)[1].astype(np.int64)
    kept = [case for case, comparable in zip(held_out, outcomes.comparable, strict=True) if comparable]
    if not kept:
        return None
    minute_ms = grid.minute_seconds * 1000
    won = regret_won(
        preferences[RULE], preferences[SINGLE_BEST], outcomes, clusters=clusters, metrics=grid.objective.metrics
    )
    return Standings(
        policies=tuple(_judged(name, one, outcomes, kept, space, minute_ms, grid) for name, one in preferences.items()),
        fixed=_fixed_actions(kept, minute_ms),
        gains=(Gain(SINGLE_BEST, RULE, *won),),
        problem_of={case.case.case_id: case.problem for case in kept},
        n_cases=len(kept),
        n_problems=len({case.problem for case in kept}),
        learning_cases=len(learning),
        held_out_by=by,
        minute_ms=minute_ms,
    )


def _judged(
    name: str,
    preference: Preference,
    outcomes: Outcomes,
    kept: Sequence[GridCase],
    space: ActionSpace,
    minute_ms: float,
    grid: Grid,
) -> Standing:
    lost = lost_within(outcomes, grid.objective.metrics)
    if preference.shares is not None:
        return _drawn(name, preference.shares, outcomes, kept, minute_ms, lost.least, lost.most)
    rows = chosen_rows(preference.of_action, outcomes)
    ids = [case.case.case_id for case in kept]
    chosen = {key: str(space.action(outcomes.actions[row].tolist())) for key, row in zip(ids, rows, strict=True)}
    least, most = lost.least[rows], lost.most[rows]
    return Standing(
        name=name,
        kind=_KINDS.get(name, "baseline"),
        chosen=chosen,
        regrets=dict(zip(ids, least.tolist(), strict=True)),
        passed=_passes(kept, chosen),
        agent_minutes=_minutes(kept, chosen, minute_ms, "agent_ms"),
        wall_minutes=_minutes(kept, chosen, minute_ms, "duration_ms"),
        dollars=_dollars(kept, chosen),
        regret=_within(range_over(least, _problems(kept)), range_over(most, _problems(kept))),
        regret_at_most=float(most.mean()),
    )


def _drawn(
    name: str,
    shares: NDArray[np.float64],
    outcomes: Outcomes,
    kept: Sequence[GridCase],
    minute_ms: float,
    least: NDArray[np.float64],
    most: NDArray[np.float64],
) -> Standing:
    """What a random choice comes to on average."""

    def mean(values: NDArray[np.float64]) -> Range:
        of_case = np.bincount(outcomes.example, shares * np.nan_to_num(values), len(outcomes))[outcomes.comparable]
        return range_over(of_case, _problems(kept))

    return Standing(
        name=name,
        kind=_KINDS.get(name, "baseline"),
        chosen={},
        regrets={},
        passed=mean(outcomes.passed.astype(np.float64)) if not outcomes.capped.any() else None,
        agent_minutes=mean(outcomes.agent_ms / minute_ms),
        wall_minutes=mean(outcomes.duration_ms / minute_ms),
        dollars=None,
        regret=_within(mean(least), mean(most)),
        regret_at_most=mean(most).mean,
    )


def _single_best(learning: Outcomes, judged: Outcomes) -> Preference:
    """The action of best mean utility over the learning cases, each relative to its case's mean."""
    gains = mean_gains(learning)
    return Preference(np.array([gains.get(tuple(index), -np.inf) for index in judged.actions.tolist()]))


def _outcomes(cases: Sequence[GridCase], space: ActionSpace) -> Outcomes:
    return make_outcomes([list(case.outcomes.values()) for case in cases], space)


def _space_of(case: GridCase) -> ActionSpace:
    return ActionSpace.from_document(case.case.context.action_space.model_dump(exclude_unset=True))


def _found(cases: Sequence[GridCase], chosen: Mapping[str, str]) -> list[ActionOutcome] | None:
    """What was chosen came to, case by case; None where it is not known of all."""
    found = []
    for case in cases:
        outcome = case.by_label.get(chosen[case.case.case_id])
        if outcome is None:
            return None
        found.append(outcome)
    return found or None


def _passes(cases: Sequence[GridCase], chosen: Mapping[str, str]) -> Range | None:
    """Over those whose choice ran to its end."""
    found = _found(cases, chosen)
    if found is None or all(outcome.capped for outcome in found):
        return None
    values = np.array([0.0 if outcome.capped else outcome.passed for outcome in found])
    return range_over(values, _problems(cases), np.array([not outcome.capped for outcome in found], dtype=np.float64))


def _minutes(
    cases: Sequence[GridCase], chosen: Mapping[str, str], minute_ms: float, which: Literal["agent_ms", "duration_ms"]
) -> Range | None:
    found = _found(cases, chosen)
    times = None if found is None else [getattr(outcome, which) for outcome in found]
    if times is None or any(time is None or time == UNKNOWN_MS for time in times):
        return None
    return range_over(np.array(times) / minute_ms, _problems(cases))


def _dollars(cases: Sequence[GridCase], chosen: Mapping[str, str]) -> Range | None:
    """What the choices cost; a mean over those whose cost happens to be known would be of other cases."""
    found = _found(cases, chosen)
    costs = [None] if found is None else [outcome.cost_usd for outcome in found]
    known = [cost for cost in costs if cost is not None]
    return range_over(np.array(known), _problems(cases)) if len(known) == len(costs) else None


def range_over(
    values: NDArray[np.float64], problems: NDArray[np.int64], among: NDArray[np.float64] | None = None
) -> Range:
    """The mean of ``values`` (n,) with its interval, cases of one of the ``problems`` (n,) drawn together."""
    weights = np.ones(len(values)) if among is None else among
    return Range(*ratio_interval(np.bincount(problems, values), np.bincount(problems, weights)))


def _within(least: Range, most: Range) -> Range:
    """What is known within bounds: its mean at least, and an interval that holds for both."""
    return Range(least.mean, least.low, most.high)


def _problems(cases: Sequence[GridCase]) -> NDArray[np.int64]:
    return np.unique([case.problem for case in cases], return_inverse=True)[1].astype(np.int64)


def _alone(value: float | None) -> Range | None:
    """A mean whose interval is not known."""
    return None if value is None else Range(value, float("nan"), float("nan"))


def _fixed_actions(cases: Sequence[GridCase], minute_ms: float) -> tuple[FixedAction, ...]:
    """The actions of which every case tells what they come to, cheapest first."""
    if not cases:
        return ()
    common = set.intersection(*({a for a, one in case.outcomes.items() if not one.capped} for case in cases))
    means = []
    for action in common:
        found = [case.outcomes[action] for case in cases]
        agent = [outcome.agent_ms for outcome in found if outcome.agent_ms is not None]
        if len(agent) == len(found):
            means.append(
                (float(np.mean(agent)) / minute_ms, float(np.mean([one.passed for one in found])), str(action))
            )
    found_actions, best = [], -1.0
    for minutes, passed, label in sorted(means, key=lambda mean: (mean[0], -mean[1], mean[2])):
        found_actions.append(FixedAction(label, passed, minutes, passed > best))
        best = max(best, passed)
    return tuple(found_actions)
