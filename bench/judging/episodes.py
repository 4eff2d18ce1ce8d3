"""Policies per episode: an issue that failed comes back once, and the policy is asked again with what is then known.

Judged where recorded trials tell what any two actions come to one after the other: over the orders of a case's trials,
the second run meeting those that the first has not used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.judging.results import CaseResults
from planner.actions import Action, action_from_document
from planner.artifacts.archives import DOMAIN_OF_JOB_TYPE
from planner.context import N_SIMILAR
from planner.contracts.document import ms_to_timestamp, timestamp_to_ms
from planner.evaluation.regret_report import EpisodeScore
from planner.policies.readings import by_utility, per_episode
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.episodes import PlanSequence, expected_sequences
from planner.scoring.plan_outcome import Plan, PlanOutcomes, plan_of
from planner.scoring.utility import LIMIT_MINUTES, Metrics

Array: TypeAlias = NDArray[np.float64]
Context: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[Sequence[Context]], list[dict[Action, float]]]
"""How much a policy prefers each action it knows, for each context."""
Pair: TypeAlias = tuple[Action, Action]
RUNS = 2
FIXED_LEARNED, FIXED_IN_HINDSIGHT = "best fixed pair, learned", "best fixed pair, in hindsight"


def episode_scores(
    learning: Sequence[CaseResults],
    held_out: Sequence[CaseResults],
    policies: Mapping[str, Ask],
    minute_seconds: float,
    metrics: Metrics,
    clusters: NDArray[np.int64],
) -> tuple[EpisodeScore, ...]:
    """Today's rule, the policies and the best fixed pairs on the held-out cases with trials; empty without any.

    ``clusters`` (held out,): cases of one problem. A policy that prefers an action of which no trials are left takes
    the best one of the others.
    """
    kept = [at for at, result in enumerate(held_out) if _pairs(result)]
    if not kept:
        return ()
    cases = [_Case.of(held_out[at], minute_seconds) for at in kept]
    known = [_Case.of(result, minute_seconds) for result in learning if _pairs(result)]
    worth = per_episode(by_utility(LIMIT_MINUTES, metrics), RUNS)
    chosen = {"heuristic": [case.pair_of(case.rule, case.rule) for case in cases]}
    chosen |= {name: _asked_twice(ask, cases) for name, ask in policies.items()}
    hindsight = _best_fixed(cases, worth)
    if hindsight is None:
        return ()
    learned = _best_fixed(known, worth)
    if learned is not None and all(learned in case.column for case in cases):
        chosen[FIXED_LEARNED] = [learned] * len(cases)
    chosen[FIXED_IN_HINDSIGHT] = [hindsight] * len(cases)
    reference = _worth_of(cases, [hindsight] * len(cases), worth)
    places = np.unique(clusters[kept], return_inverse=True)[1]
    return tuple(_score(name, cases, pairs, worth, reference, places) for name, pairs in chosen.items())


@dataclass(frozen=True)
class _Case:
    """A case with what each pair of its actions comes to."""

    context: Context
    rule: Action
    column: dict[Pair, int]
    outcomes: PlanOutcomes
    """(pairs,) each, in minutes."""
    minute_ms: float

    @classmethod
    def of(cls, result: CaseResults, minute_seconds: float) -> "_Case":
        pairs, trials = _pairs(result), result.case.trials or []
        minutes = [trial.duration_ms / (1000 * minute_seconds) for trial in trials]
        outcomes = expected_sequences(list(pairs.values()), [trial.passed for trial in trials], minutes)
        return cls(
            context=result.case.context.model_dump(exclude_unset=True),
            rule=action_from_document(result.case.actions[0].model_dump()),
            column={pair: at for at, pair in enumerate(pairs)},
            outcomes=outcomes,
            minute_ms=1000 * minute_seconds,
        )

    def pair_of(self, first: Action, second: Action) -> Pair:
        """These two actions, or where they need too many trials the first pair that begins alike."""
        pair = first, second
        alike = [known for known in self.column if known[0] == pair[0]]
        return pair if pair in self.column else (alike or list(self.column))[0]

    def best_first(self, preference: Mapping[Action, float]) -> Action:
        return max(dict.fromkeys(first for first, _ in self.column), key=lambda a: preference.get(a, -np.inf))

    def best_second(self, first: Action, preference: Mapping[Action, float]) -> Action:
        seconds = [second for one, second in self.column if one == first]
        return max(seconds, key=lambda action: preference.get(action, -np.inf))


def _pairs(result: CaseResults) -> dict[Pair, PlanSequence]:
    """The pairs of executed actions that the case's trials are enough for."""
    trials = result.case.trials or []
    plans: dict[Action, Plan] = {action: plan_of(action, 1.0) for action in result.outcomes}
    return {
        (first, second): (plans[first], plans[second])
        for first in plans
        for second in plans
        if plans[first].n_trials + plans[second].n_trials <= len(trials)
    }


def _asked_twice(ask: Ask, cases: Sequence[_Case]) -> list[Pair]:
    """What a policy takes first, and what it takes when it is asked again after that failed."""
    preferences = ask([case.context for case in cases])
    firsts = [case.best_first(one) for case, one in zip(cases, preferences, strict=True)]
    again = ask([after_failure(case.context, first, case.minute_ms) for case, first in zip(cases, firsts, strict=True)])
    return [(first, case.best_second(first, one)) for case, first, one in zip(cases, firsts, again, strict=True)]


def after_failure(context: Context, action: Action, minute_ms: float) -> Context:
    """The context in which the issue comes back after a run of ``action`` failed at the end of its minutes."""
    issue, history = context["issue"], context["history"]["last_n_similar_runs"]
    began_ms = timestamp_to_ms(context["created_at"])
    numbers = {
        key: None if value == "NA" else value
        for key, value in zip(("max_candidates", "max_minutes", "max_iterations"), action[1:], strict=True)
    }
    duration_ms = round(minute_ms * (numbers["max_minutes"] or LIMIT_MINUTES))
    run = {
        "run_id": f"{issue['issue_id']}-attempt-{issue['dk_attempts'] + 1}",
        "started_ms": began_ms,
        "job_type": context["job_type"],
        "domain": DOMAIN_OF_JOB_TYPE[context["job_type"]],
        "action_executed": {"swarm_id": action.swarm_id, **numbers},
        "outcome": {"status": "failed", "fail_codes": [], "gates": []},
        "runtime": {"duration_ms": duration_ms},
        "tags": issue.get("tags"),
        "issue_id": issue["issue_id"],
    }
    return {
        **context,
        "created_at": ms_to_timestamp(began_ms + duration_ms),
        "issue": {**issue, "dk_attempts": issue["dk_attempts"] + 1},
        "history": {**context["history"], "last_n_similar_runs": [run, *history][:N_SIMILAR]},
    }


def _best_fixed(cases: Sequence[_Case], worth: Callable[[PlanOutcomes], Array]) -> Pair | None:
    """The pair that is worth most on average, of those that all cases know; None where there is none."""
    common = [pair for pair in cases[0].column if all(pair in case.column for case in cases)] if cases else []
    if not common:
        return None
    total = sum(worth(case.outcomes)[[case.column[pair] for pair in common]] for case in cases)
    return common[int(np.argmax(total))]


def _worth_of(cases: Sequence[_Case], pairs: Sequence[Pair], worth: Callable[[PlanOutcomes], Array]) -> Array:
    return np.array([worth(case.outcomes)[case.column[pair]] for case, pair in zip(cases, pairs, strict=True)])


def _score(
    name: str,
    cases: Sequence[_Case],
    pairs: Sequence[Pair],
    worth: Callable[[PlanOutcomes], Array],
    reference: Array,
    places: NDArray[np.int64],
) -> EpisodeScore:
    mine = _worth_of(cases, pairs, worth)
    passed, wall, agent = (
        float(np.mean([case.outcomes[kind][case.column[pair]] for case, pair in zip(cases, pairs, strict=True)]))
        for kind in range(3)
    )
    won = ratio_interval(np.bincount(places, mine - reference), np.bincount(places))
    return EpisodeScore(name, len(cases), passed, wall, agent, float(mine.mean()), *won)
