"""Regret on contexts of which several actions were executed: what a policy chooses among them, and what that loses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.dataset.outcomes import UNKNOWN_MS, Outcomes
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.metric import Bounds, Metric, Shown, of_choices, register, with_interval
from planner.scoring.preferences import Preference
from planner.scoring.utility import Metrics, least_utility

MOSTLY = 0.5
"""An action passes when it did in more than this share of its executions."""


@dataclass(frozen=True)
class PolicyScore:
    """One policy on comparable contexts; each regret is a mean with its 95 % bootstrap interval, lower is better.

    In their order: pass regret; then time, agent and dollar regret, over the contexts in which the chosen action passes
    (in most of its executions), each against the least of any passing action executed there; then utility regret. Where
    a capped action is chosen, its pass is unknown and its times are lower bounds: pass and utility regret are known
    within bounds then, and their intervals hold for both.
    """

    policy: str
    cases: int
    pass_rate: float | None
    """Mean share of passes of the chosen actions, capped ones left out."""
    mean_time_s: float
    mean_agent_time_s: float
    pass_regret: float
    """Mean of the best executed action's share of passes minus the chosen one's; had every capped choice passed."""
    pass_regret_low: float
    pass_regret_high: float
    pass_regret_at_most: float
    """Had every capped choice failed."""
    passing_cases: float
    """Contexts in which the chosen action passes; an expectation where the choice is random."""
    time_regret_s: float | None
    """Wall time beyond the least; None where no chosen action passes, as for the next two."""
    time_regret_s_low: float | None
    time_regret_s_high: float | None
    agent_regret_s: float | None
    """Time of all agents together beyond the least."""
    agent_regret_s_low: float | None
    agent_regret_s_high: float | None
    dollar_regret: float | None
    """Dollars beyond the least, over those contexts in which both are known; None where there is none."""
    dollar_regret_low: float | None
    dollar_regret_high: float | None
    regret: float
    """Utility (planner.scoring.utility) below that of the best action that ran to its end; had every capped choice
    passed when it was stopped."""
    regret_low: float
    regret_high: float
    regret_at_most: float
    """Had every capped choice failed, and used up all that the objective measures."""
    capped_choices: float
    """Contexts in which a capped action is chosen; an expectation where the choice is random."""
    free_choice: float | None
    """Share of contexts in which the policy's own favourite was among the executed actions; None where that is so by
    construction."""
    others: Mapping[str, float | None] = field(default_factory=dict)
    """Metrics that were registered from elsewhere."""

    def to_json(self) -> dict[str, Any]:
        """All numbers by their keys."""
        numbers = asdict(self)
        return {**numbers, **numbers.pop("others")}


def chosen_rows(preference: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.int64]:
    """The row of the preferred action of every comparable example, (comparable,); of equals, the first."""
    known = np.where(np.isfinite(outcomes.utility), preference, -np.inf)
    spans = zip(outcomes.bounds[:-1].tolist(), outcomes.bounds[1:].tolist(), strict=True)
    kept = [span for span, comparable in zip(spans, outcomes.comparable, strict=True) if comparable]
    return np.array([_first_best(known, outcomes.utility, *span) for span in kept], dtype=np.int64)


def _first_best(preference: NDArray[np.float64], utility: NDArray[np.float32], start: int, end: int) -> int:
    if np.isneginf(preference[start:end]).all():
        # The policy knows none of the executed actions: the first that counts.
        return start + int(np.isfinite(utility[start:end]).argmax())
    return start + int(preference[start:end].argmax())


def regrets(preference: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.float64]:
    """Utility lost against the best action that ran to its end, of every comparable example.

    Where the preferred action is a capped one, that is a lower bound.
    """
    return lost_utility(outcomes)[chosen_rows(preference, outcomes)]


def lost_utility(outcomes: Outcomes) -> NDArray[np.float64]:
    """What choosing each row loses against the best of its example that ran to its end, (t,); NaN where not known.

    A capped action counts as if it had passed when it was stopped: it loses that at least.
    """
    utility = outcomes.utility.astype(np.float64)
    # A bound above the best says nothing: nobody knows that the capped action would have been better.
    return np.maximum(_best(outcomes, utility, outcomes.is_exact) - utility, 0.0)


def lost_within(outcomes: Outcomes, metrics: Metrics | None = None) -> Bounds:
    """The bounds of what choosing each row loses, (t,) each: a capped action may have passed when it was stopped, or
    failed in the end, and then it is worth what no outcome is worth less than (by ``metrics``; None: of any)."""
    lost = lost_utility(outcomes)
    best = _best(outcomes, outcomes.utility.astype(np.float64), outcomes.is_exact)
    return Bounds(lost, np.where(outcomes.capped, best - least_utility(metrics), lost))


def score(
    policy: str,
    preference: Preference,
    outcomes: Outcomes,
    *,
    examples: NDArray[np.bool_] | None = None,
    clusters: NDArray[np.int64] | None = None,
    metrics: Metrics | None = None,
) -> PolicyScore:
    """A policy's score on the comparable examples, of which there must be one at least.

    ``examples`` (n,) restricts it to some; those with the same number in ``clusters`` (n,) are drawn together by the
    bootstrap, because they are not independent (default: every example by itself). ``metrics`` are the objective's that
    utilities were made with (default: any).
    """
    kept = outcomes.comparable if examples is None else outcomes.comparable & examples
    choice = Choice(outcomes, _shares(preference, outcomes), kept, clusters, preference.favourite_executed, metrics)
    numbers: dict[str, Any] = {}
    for metric in of_choices():
        assert metric.of_choice is not None
        found = metric.of_choice(choice)
        numbers |= choice.interval(metric.key, *found) if metric.interval else {metric.key: found}
    own = {one.name for one in fields(PolicyScore)}
    others = {key: numbers.pop(key) for key in list(numbers) if key not in own}
    return PolicyScore(policy=policy, cases=int(kept.sum()), others=others, **numbers)


@dataclass(frozen=True)
class Choice:
    """Which of the executed actions, t in all, a policy takes in the examples that are kept."""

    outcomes: Outcomes
    shares: NDArray[np.float64]
    kept: NDArray[np.bool_]
    clusters: NDArray[np.int64] | None
    favourite_executed: NDArray[np.bool_] | None = None
    metrics: Metrics | None = None
    """The objective's; None: any."""

    @property
    def passes(self) -> NDArray[np.bool_]:
        """The actions that passed in most of their executions, (t,)."""
        passed = np.where(self.outcomes.capped, 0.0, self.outcomes.passed)
        return self.outcomes.is_exact & (passed > MOSTLY)

    def of(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """What the choice gives in each kept example, (kept,), of ``values`` (t,)."""
        weighted = np.where(self.shares > 0, self.shares * np.nan_to_num(values.astype(np.float64)), 0.0)
        return np.bincount(self.outcomes.example, weighted, len(self.outcomes))[self.kept]

    def interval(
        self, name: str, values: NDArray[np.float64] | Bounds, among: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        """The mean of ``values`` (t,) over what is chosen, of that the rows in ``among``, with its interval."""
        among = np.ones(len(self.outcomes.example), dtype=bool) if among is None else among
        sides = values if isinstance(values, Bounds) else (values,)
        found = [self.mean(self.of(np.where(among, side, 0.0)), self.of(among)) for side in sides]
        return with_interval(name, *found)

    def mean(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float, float]:
        """The sum of the values (kept,) over that of the weights (kept,), with its interval."""
        if self.clusters is None:
            return ratio_interval(values, weights)
        cluster = np.unique(self.clusters[self.kept], return_inverse=True)[1]
        return ratio_interval(np.bincount(cluster, values), np.bincount(cluster, weights))


def _pass_rate(choice: Choice) -> float | None:
    outcomes = choice.outcomes
    ended = choice.of(~outcomes.capped).sum()
    passed = choice.of(np.where(outcomes.capped, 0.0, outcomes.passed))
    return float(passed.sum() / ended) if ended else None


def _free_choice(choice: Choice) -> float | None:
    free = choice.favourite_executed
    return None if free is None else float(free[choice.kept].mean())


_BENCH: tuple[Shown, ...] = ("bench",)
register(
    Metric("pass_rate", "pass", "share", "higher", 2, False, None, _pass_rate, _BENCH),
    Metric(
        "mean_time_s",
        "time s",
        "s",
        "lower",
        -4,
        False,
        None,
        lambda choice: float(choice.of(choice.outcomes.duration_ms).mean() / 1000),
        _BENCH,
    ),
    Metric(
        "mean_agent_time_s",
        "agent s",
        "s",
        "lower",
        -4,
        False,
        None,
        lambda choice: float(choice.of(choice.outcomes.agent_ms).mean() / 1000),
        _BENCH,
    ),
    Metric(
        "passing_cases",
        "passes",
        "cases",
        "higher",
        -4,
        False,
        None,
        lambda choice: float(choice.of(choice.passes).sum()),
        _BENCH,
    ),
    Metric(
        "pass_regret",
        "pass regret",
        "share",
        "lower",
        -3,
        True,
        None,
        lambda choice: (_lost_passes(choice.outcomes),),
        _BENCH,
    ),
    Metric(
        "time_regret_s",
        "time regret s",
        "s",
        "lower",
        -3,
        True,
        None,
        lambda choice: _beyond_least(choice.outcomes, choice.outcomes.duration_ms / 1000, choice.passes),
        _BENCH,
    ),
    Metric(
        "agent_regret_s",
        "agent regret s",
        "s",
        "lower",
        -3,
        True,
        None,
        lambda choice: _beyond_least(
            choice.outcomes, choice.outcomes.agent_ms / 1000, choice.passes & (choice.outcomes.agent_ms != UNKNOWN_MS)
        ),
        _BENCH,
    ),
    Metric(
        "dollar_regret",
        "$ regret",
        "US dollars",
        "lower",
        -3,
        True,
        None,
        lambda choice: _beyond_least(
            choice.outcomes, choice.outcomes.cost_usd, choice.passes & np.isfinite(choice.outcomes.cost_usd)
        ),
        _BENCH,
    ),
    Metric(
        "regret",
        "regret",
        "utility",
        "lower",
        -3,
        True,
        lambda judged: Bounds(judged.decisions.regret[judged.rows], judged.decisions.at_most[judged.rows]),
        lambda choice: (lost_within(choice.outcomes, choice.metrics),),
    ),
    Metric(
        "capped_choices",
        "capped",
        "cases",
        "lower",
        -4,
        False,
        lambda judged: 0 if judged.decisions.capped is None else int(judged.decisions.capped[judged.rows].sum()),
        lambda choice: float(choice.of(choice.outcomes.capped).sum()),
        (),
    ),
    Metric("free_choice", "own choice", "share", None, 2, False, None, _free_choice, _BENCH),
)


class Won(NamedTuple):
    """Mean utility regret that one policy wins over another: at least and at most, with the 95 % interval of both."""

    least: float
    most: float
    low: float
    high: float


def regret_won(
    before: Preference,
    after: Preference,
    outcomes: Outcomes,
    *,
    clusters: NDArray[np.int64] | None = None,
    metrics: Metrics | None = None,
) -> Won:
    """Mean utility regret of ``before`` minus that of ``after`` on the same examples; ``metrics`` as in :func:`score`.

    Where both choose the same capped action nothing is open: whatever it would have come to, they lose the same.
    """
    bounds = lost_within(outcomes, metrics)
    moved = _shares(before, outcomes) - _shares(after, outcomes)
    # Least is won where what is given up loses least and what is taken instead loses most.
    sides = [np.where(moved > 0, moved * given_up, moved * taken) for given_up, taken in (bounds, bounds[::-1])]
    kept = outcomes.comparable
    choice = Choice(outcomes, moved, kept, clusters)
    totals = [np.bincount(outcomes.example, np.nan_to_num(side), len(outcomes))[kept] for side in sides]
    least, most = (choice.mean(total, np.ones(len(total))) for total in totals)
    return Won(least[0], most[0], least[1], most[2])


def _shares(preference: Preference, outcomes: Outcomes) -> NDArray[np.float64]:
    if preference.shares is not None:
        return preference.shares
    shares = np.zeros(len(outcomes.actions))
    shares[chosen_rows(preference.of_action, outcomes)] = 1.0
    return shares


def _best(outcomes: Outcomes, values: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The largest of the values (t,) of each row's example over the rows ``among``, (t,); NaN where there is none."""
    best = np.full(len(outcomes), -np.inf)
    np.maximum.at(best, outcomes.example[among], values[among])
    return np.where(np.isneginf(best), np.nan, best)[outcomes.example]


def _lost_passes(outcomes: Outcomes) -> Bounds:
    """The share of passes that choosing each row loses, (t,) each: a capped one may have passed, or failed."""
    sides = [np.where(outcomes.capped, open_, outcomes.passed).astype(np.float64) for open_ in (1.0, 0.0)]
    best = _best(outcomes, sides[0], ~outcomes.capped)
    return Bounds(*(np.maximum(best - shares, 0.0) for shares in sides))


def _beyond_least(
    outcomes: Outcomes, values: NDArray[np.float64], among: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How far each row lies above the least of its example over the rows ``among``, (t,), and these rows."""
    return values + _best(outcomes, -values, among), among
