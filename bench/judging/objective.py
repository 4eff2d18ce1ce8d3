"""What counts as better: gates first, then the objective's metrics in order, then the smaller plan.

An action that was executed more than once is judged by its means. One that cannot be distinguished from a better one
is its equal, and of equals the smaller plan wins.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache
from statistics import NormalDist, fmean, stdev
from typing import Any, Literal, Protocol, get_args

from bench.judging.cap_margin import CapMargin
from bench.judging.expectations import Expectation
from planner.actions import Action, action_document
from planner.artifacts.universe import Universe
from planner.contracts.bench import BenchOutcome
from planner.contracts.document import Bin
from planner.dataset.outcomes import ActionOutcome
from planner.dimensions import DIMENSIONS
from planner.scoring.utility import DEFAULT_METRICS, TERMS, utility, utility_text

GOALS = ("min", "max")
DecidedBy = Literal["passes", "time_bound", "unknown"]
"""What sets a winner apart from the actions that are not its equals.

passes: it passes more often than each of them. time_bound: they may pass as often, but some took longer than the bound
that the winner set, or were capped there (or lost by another metric of the objective). unknown: nobody passed, or there
is nothing but equals.
"""
DECIDED_BY: tuple[DecidedBy, ...] = get_args(DecidedBy)
METRICS = tuple(TERMS)
"""What an outcome is compared by: wall time, time of all agents together, US dollars, and a world's overall score."""


class Ended(Protocol):
    """What of an outcome its utility follows from."""

    @property
    def passed(self) -> bool: ...
    @property
    def status(self) -> str: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def agent_ms(self) -> int: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def score(self) -> float | None: ...


@dataclass(frozen=True)
class Objective:
    """The order on outcomes as data; a ledger keeps it with the outcomes that were judged by it."""

    metrics: tuple[tuple[str, str], ...] = DEFAULT_METRICS
    """(name, "min" or "max") of METRICS; after passing the first decides, the others among its equals."""
    tolerance: float = 0.1
    """Means within this share of the better one count as equal: below it the machine's noise would decide."""
    certainty: float = 0.8
    """How likely one action must be to pass more often than another to be better. One pass against one failure is
    5/6, two against one of two 4/5."""

    @classmethod
    def of_universe(cls, universe: Universe, objective_id: str | None = None) -> "Objective":
        """The universe's objective called ``objective_id`` (default: its default one), as far as METRICS has it.

        A universe without an objective, or with one that names nothing of METRICS, has the default order.
        """
        named = universe.objectives.get(objective_id or universe.default_objective_id or "")
        metrics = named.get("metrics") if isinstance(named, dict) else None
        known = [
            (name, goal)
            for name, goal in (metrics.items() if isinstance(metrics, dict) else ())
            if name in METRICS and goal in GOALS
        ]
        return cls(tuple(known)) if known else cls()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Objective":
        """The objective that :meth:`to_document` wrote."""
        return cls(
            tuple((name, goal) for name, goal in document["metrics"]), document["tolerance"], document["certainty"]
        )

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> "Objective":
        """The objective by which a ledger with these settings is judged."""
        document = settings.get("objective")
        return cls() if document is None else cls.from_document(document)

    def to_document(self) -> dict[str, Any]:
        """The objective as JSON."""
        return {**asdict(self), "metrics": [list(metric) for metric in self.metrics]}

    def for_job(self, job_type: str) -> "Objective":
        """The objective without what no run of this job type has."""
        known = [metric for metric in self.metrics if job_type != "code" or metric[0] != "overall"]
        return replace(self, metrics=tuple(known) or DEFAULT_METRICS)

    @property
    def time_decides_first(self) -> bool:
        """Whether, of two actions that pass, a shorter duration wins: only then may a slow execution be stopped."""
        return self.metrics[0] == ("duration_ms", "min")

    @property
    def utility_text(self) -> str:
        """The formula of :meth:`utility`."""
        return utility_text(self.metrics)

    def utility(self, outcome: Ended, limit_ms: int) -> float:
        """One number for an outcome, see planner.scoring.utility.

        A capped outcome is worth what it would be at most: as if it had just passed.
        """
        passed = 1.0 if outcome.status == "stopped_early" else float(outcome.passed)
        score = outcome.score or 0.0
        return float(
            utility(passed, outcome.duration_ms, outcome.agent_ms, limit_ms, metrics=self.metrics, score=score)
        )

    def expected_utility(self, expected: Expectation, limit_ms: int) -> float:
        """The same of an expectation: times are averaged before they are clipped, which changes nothing as long as
        no plan can take more than the limit."""
        return float(utility(expected.passed, expected.duration_ms, expected.agent_ms, limit_ms, metrics=self.metrics))


@dataclass(frozen=True)
class Verdict:
    """The winner of a case, and how sure that is."""

    action: Action
    equals: tuple[Action, ...]
    """The actions that could not be distinguished from each other at the end, the winner among them."""
    confidence: float
    """How likely the winner passes at least as often as every other action (uniform prior, the least over rivals). What
    a capped execution would have come to is open: of it nothing counts."""
    decided_by: DecidedBy

    def to_json(self) -> dict[str, Any]:
        """All of it by its names."""
        equals = [action_document(action) for action in self.equals]
        return {
            "action": action_document(self.action),
            "equals": equals,
            "confidence": self.confidence,
            "decided_by": self.decided_by,
        }


def judge(executions: Sequence[tuple[Action, BenchOutcome]], objective: Objective) -> Verdict | None:
    """The best action of a case, or None when no execution yielded an outcome.

    An action that another one beats is out, criterion after criterion: in passing (its chance to pass more often
    exceeds the objective's certainty), then in each metric (the mean lies beyond the other's by more than the
    tolerance, and by more than the other's standard error times the quantile of the certainty). An unknown cost comes
    last. Of those that are left the smallest plan wins. A capped action cannot win; whether it would have passed is
    open, so it remains a rival of which no more is known than what its other executions came to.
    """
    outcomes = _by_action(executions)
    ended = {action: [o for o in group if o.status != "stopped_early"] for action, group in outcomes.items()}
    passes = {action: (sum(o.passed for o in group), len(group)) for action, group in ended.items()}
    capped = {action for action, group in outcomes.items() if len(ended[action]) < len(group)}
    return _judge(passes, lambda action, name, goal: _values(outcomes[action], name, goal), objective, capped)


def judge_expected(expected: Mapping[Action, Expectation], objective: Objective) -> Verdict | None:
    """The best action by expectations, as :func:`judge` finds it by executions.

    An expectation over orders is no surer than the trials that it rests on: a pass rate of 5/6 is five of six passes.
    Costs and scores are not expected, so they tell nothing apart.
    """
    passes = {action: (round(one.passed * one.trials), one.trials) for action, one in expected.items()}

    def values(action: Action, metric: str, goal: str) -> list[float]:
        one = expected[action]
        return [{"duration_ms": one.duration_ms, "agent_ms": one.agent_ms}.get(metric, 0.0)]

    return _judge(passes, values, objective)


def _judge(
    passes: Mapping[Action, tuple[int, int]],
    values_of: Callable[[Action, str, str], list[float]],
    objective: Objective,
    capped: Set[Action] = frozenset(),
) -> Verdict | None:
    """``passes`` of all actions as (passes, executions), those of ``capped`` without what was stopped; and the values
    of a metric of each."""
    contenders = [action for action in passes if action not in capped]
    if not contenders:
        return None
    # Of thousands of actions most came to the same.
    kinds = {passes[action] for action in contenders}
    beaten = {a for a in kinds if any(_passes_more(b, a, objective.certainty) for b in kinds)}
    passing = left = [action for action in contenders if passes[action] not in beaten]
    for name, goal in objective.metrics:
        values = {action: values_of(action, name, goal) for action in left}
        bounds = [beaten_beyond(group, goal, objective) for group in values.values()]
        left = [a for a in left if not any(_is_beyond(fmean(values[a]), bound, goal) for bound in bounds)]
    best = min(left, key=lambda action: (plan_size(action), str(action)))
    rivals = [action for action in passes if action != best]
    confidence = min((chance_to_pass_more(passes[best], passes[a]) for a in rivals), default=Fraction(1))
    return Verdict(
        best, tuple(left), float(confidence), _decided_by(passes, passes[best][0] > 0, passing, left, capped)
    )


def _decided_by(
    passes: Mapping[Action, tuple[int, int]],
    winner_passes: bool,
    passing: Collection[Action],
    equals: Collection[Action],
    capped: Set[Action],
) -> DecidedBy:
    """``passing``: what was left after passes were compared; ``equals``: what was left at the end."""
    if not winner_passes or len(equals) == len(passes):
        return "unknown"
    return "time_bound" if capped or len(equals) < len(passing) else "passes"


def beaten_beyond(values: Sequence[float], goal: str, objective: Objective) -> float:
    """The mean beyond which (above for "min", below for "max") another action is worse than one with ``values``."""
    mean = fmean(values)
    if math.isinf(mean):
        return mean
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    margin = max(objective.tolerance * abs(mean), NormalDist().inv_cdf(objective.certainty) * error)
    return mean + margin if goal == "min" else mean - margin


def cap_ms(
    outcomes: Mapping[Action, Sequence[BenchOutcome]],
    action: Action,
    repeats: int,
    objective: Objective,
    margin: CapMargin = CapMargin(),
) -> int | None:
    """How long the next execution of ``action`` may last before the action cannot win any more; None = no such limit.

    ``outcomes`` are the case's so far. Let A be an action all of whose ``repeats`` executions passed. No action passes
    more often than A does, so A is still there when durations are compared, and it beats every action whose mean
    duration lies beyond A's bound; what that action itself would have beaten, A beats too. So stopping it there changes
    no winner. Another run of both might: so it goes on for as long as noise, ``margin``, may have made it the slower.
    """
    if not objective.time_decides_first:
        return None
    tools = {launch.tool for group in outcomes.values() for outcome in group for launch in outcome.launches}
    bounds = [
        max(
            beaten_beyond([o.duration_ms for o in group], "min", objective),
            margin.bound_ms(group, tools, objective.certainty),
        )
        for other, group in outcomes.items()
        if other != action and len(group) == repeats and all(o.passed for o in group)
    ]
    if not bounds:
        return None
    spent = sum(outcome.duration_ms for outcome in outcomes.get(action, ()))
    return max(1, math.floor(repeats * (min(bounds) + margin.start_ms) - spent) + 1)


def action_outcome(
    action: Action,
    executions: Sequence[Ended],
    objective: Objective,
    limit_ms: int,
    expected: Expectation | None = None,
) -> ActionOutcome:
    """What came of one action's executions: means over them, none of which is a fault; or what is ``expected`` of it,
    where that is known.

    An action of which one execution was capped is capped: whether it passes as often as its rivals is not known.
    """
    costs = [outcome.cost_usd for outcome in executions if outcome.cost_usd is not None]
    if expected is not None:
        return ActionOutcome(
            action=action,
            passed=expected.passed,
            duration_ms=round(expected.duration_ms),
            agent_ms=round(expected.agent_ms),
            time_is_lower_bound=False,
            utility=objective.expected_utility(expected, limit_ms),
            cost_usd=fmean(costs) if costs else None,
        )
    capped = any(outcome.status == "stopped_early" for outcome in executions)
    return ActionOutcome(
        action=action,
        passed=math.nan if capped else fmean(outcome.passed for outcome in executions),
        duration_ms=round(fmean(outcome.duration_ms for outcome in executions)),
        agent_ms=round(fmean(outcome.agent_ms for outcome in executions)),
        time_is_lower_bound=capped or any(outcome.status == "timeout" for outcome in executions),
        utility=fmean(objective.utility(outcome, limit_ms) for outcome in executions),
        capped=capped,
        cost_usd=fmean(costs) if costs else None,
    )


def plan_size(action: Action) -> float:
    """Candidates x minutes x iterations; "NA" counts as one, for it adds nothing to the plan."""
    factors: list[Any] = [value for d, value in zip(DIMENSIONS, action, strict=True) if d.size_factor]
    return math.prod([_amount(value) for value in factors])


@cache
def chance_to_pass_more(a: tuple[int, int], b: tuple[int, int]) -> Fraction:
    """How likely the pass rate behind ``a`` = (passes, executions) exceeds that behind ``b``, under uniform priors.

    Exact: the rates are Beta(passes + 1, failures + 1), and P(A > B) is a sum of ratios of beta functions over the
    integers (Miller 2015, "Formulas for Bayesian A/B testing").
    """
    (passes_a, n_a), (passes_b, n_b) = a, b
    alpha_a, beta_a = passes_a + 1, n_a - passes_a + 1
    alpha_b, beta_b = passes_b + 1, n_b - passes_b + 1
    terms = (
        _beta(alpha_b + i, beta_a + beta_b) / ((beta_a + i) * _beta(1 + i, beta_a) * _beta(alpha_b, beta_b))
        for i in range(alpha_a)
    )
    return sum(terms, Fraction(0))


def _passes_more(a: tuple[int, int], b: tuple[int, int], certainty: float) -> bool:
    # The cheap comparison first: most pairs are alike.
    return a != b and a[0] * b[1] > b[0] * a[1] and chance_to_pass_more(a, b) > certainty


def _beta(a: int, b: int) -> Fraction:
    """The beta function of two positive integers."""
    return Fraction(math.factorial(a - 1) * math.factorial(b - 1), math.factorial(a + b - 1))


def _by_action(executions: Sequence[tuple[Action, BenchOutcome]]) -> dict[Action, list[BenchOutcome]]:
    outcomes: dict[Action, list[BenchOutcome]] = {}
    for action, outcome in executions:
        if outcome.status != "fault":
            outcomes.setdefault(action, []).append(outcome)
    return outcomes


def _is_beyond(mean: float, bound: float, goal: str) -> bool:
    return mean > bound if goal == "min" else mean < bound


def _values(outcomes: Sequence[BenchOutcome], metric: str, goal: str) -> list[float]:
    """The known values of a metric; the worst there is when none is known."""
    field = "score" if metric == "overall" else metric
    known = [float(value) for outcome in outcomes if (value := getattr(outcome, field)) is not None]
    return known or [math.inf if goal == "min" else -math.inf]


def _amount(value: Bin) -> int:
    return 1 if value == "NA" else value
