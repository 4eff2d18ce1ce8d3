"""Regret of policies against the best of K: what each chooses among the executed actions, and what that loses."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.relabel import HOLDOUT
from bench.results import CaseResults, hold_out, read_results
from planner.actions import Action, action_from_document
from planner.errors import BenchError
from planner.evaluation.bootstrap import mean_interval
from planner.models.learned import LearnedPolicy

LIMIT_MINUTES = 120
"""The largest budget: times are measured against it in the utility."""

Preference = Callable[[CaseResults], Mapping[Action, float]]
"""A policy seen from the bench: how much it prefers each executed action of a case."""


@dataclass(frozen=True)
class PolicyScore:
    """One policy on the held-out cases. Times in seconds; regret in utility (bench.objective), lower is better."""

    policy: str
    cases: int
    pass_rate: float
    mean_time_s: float
    mean_agent_time_s: float
    regret: float
    regret_low: float
    regret_high: float
    pass_regret: float
    """Share of cases in which some executed action passed and the chosen one did not."""
    free_choice: float | None
    """Share of cases in which the policy's own favourite was among the executed actions; None where that is so by
    construction."""


def score_runs(ledger_path: Path, runs: Mapping[str, Path], *, holdout: float = HOLDOUT) -> dict[str, Any]:
    """Scores of trained runs (name -> run) beside today's rule, the single best action and the best per case.

    The single best action is found on the learning cases; all are judged on the held-out ones. A policy that would
    choose an action that was not executed takes its favourite among the executed ones. BenchError without a run.
    """
    if not runs:
        raise BenchError("give at least one trained run to judge")
    learning, held_out = hold_out(read_results(ledger_path), holdout)
    policies = {name: LearnedPolicy(path) for name, path in runs.items()}
    document = next(iter(policies.values())).document
    limit_ms = round(LIMIT_MINUTES * document.minute_seconds * 1000)
    single_best = _single_best(learning, limit_ms)
    preferences: dict[str, Preference] = {"heuristic": _prefer_default}
    preferences |= {name: _learned(policy) for name, policy in policies.items()}
    preferences["single best action"] = lambda result: {a: single_best.get(a, -1.0) for a in result.outcomes}
    preferences["best per case"] = lambda result: result.utilities(limit_ms)
    favourites = {name: _favourite(policy) for name, policy in policies.items()}
    return {
        "ledger": str(ledger_path),
        "holdout": holdout,
        "learning_cases": len(learning),
        "held_out_cases": len(held_out),
        "utility": f"passed - 0.1 * time / limit - 0.1 * agent_time / (3 * limit), limit {LIMIT_MINUTES} minutes",
        "minute_seconds": document.minute_seconds,
        "executions": sum(len(g) for r in [*learning, *held_out] for g in r.outcomes.values()),
        "agent_minutes_spent": _agent_minutes([*learning, *held_out], document.minute_seconds),
        "policies": [
            asdict(_score(name, preference, favourites.get(name), held_out, limit_ms))
            for name, preference in preferences.items()
        ],
    }


def _score(
    name: str,
    preference: Preference,
    favourite: Callable[[dict[str, Any]], Action] | None,
    held_out: Sequence[CaseResults],
    limit_ms: int,
) -> PolicyScore:
    passed, times, agent_times, regrets, pass_regrets, free = [], [], [], [], [], []
    for result in held_out:
        preferred = preference(result)
        chosen = max(result.outcomes, key=lambda action: (preferred[action], str(action)))
        utilities = result.utilities(limit_ms)
        rates = {action: np.mean([o.passed for o in group]) for action, group in result.outcomes.items()}
        passed.append(rates[chosen])
        times.append(np.mean([o.duration_ms for o in result.outcomes[chosen]]) / 1000)
        agent_times.append(np.mean([o.agent_ms for o in result.outcomes[chosen]]) / 1000)
        regrets.append(max(utilities.values()) - utilities[chosen])
        pass_regrets.append(max(rates.values()) - rates[chosen])
        if favourite is not None:
            free.append(favourite(_context(result)) in result.outcomes)
    mean, low, high = mean_interval(regrets)
    return PolicyScore(
        policy=name,
        cases=len(held_out),
        pass_rate=float(np.mean(passed)),
        mean_time_s=float(np.mean(times)),
        mean_agent_time_s=float(np.mean(agent_times)),
        regret=mean,
        regret_low=low,
        regret_high=high,
        pass_regret=float(np.mean(pass_regrets)),
        free_choice=float(np.mean(free)) if free else None,
    )


def _single_best(learning: Sequence[CaseResults], limit_ms: int) -> dict[Action, float]:
    """Each action's mean utility relative to its case's: actions tried on easy cases gain nothing by that."""
    gains: defaultdict[Action, list[float]] = defaultdict(list)
    for result in learning:
        utilities = result.utilities(limit_ms)
        mean = np.mean(list(utilities.values()))
        for action, value in utilities.items():
            gains[action].append(float(value - mean))
    return {action: float(np.mean(values)) for action, values in gains.items()}


def _learned(policy: LearnedPolicy) -> Preference:
    def prefer(result: CaseResults) -> dict[Action, float]:
        joint = _joint(policy, _context(result))
        return {action: joint.get(action, float("-inf")) for action in result.outcomes}

    return prefer


def _favourite(policy: LearnedPolicy) -> Callable[[dict[str, Any]], Action]:
    def decide(context: dict[str, Any]) -> Action:
        joint = _joint(policy, context)
        return max(joint, key=lambda action: joint[action])

    return decide


def _joint(policy: LearnedPolicy, context: dict[str, Any]) -> dict[Action, float]:
    valid = policy.space.valid_actions(context["job_type"])
    joint = policy.space.joint_log_probs(policy.log_probs_of([context]), context["job_type"])[0]
    return dict(zip(valid, joint.tolist(), strict=True))


def _prefer_default(result: CaseResults) -> dict[Action, float]:
    """Today's rule: the first action of a case is what it would run."""
    default = action_from_document(result.case.actions[0].model_dump())
    return {executed: float(executed == default) for executed in result.outcomes}


def _context(result: CaseResults) -> dict[str, Any]:
    return result.case.context.model_dump(exclude_unset=True)


def _agent_minutes(results: Sequence[CaseResults], minute_seconds: float) -> float:
    total_ms = sum(o.agent_ms for result in results for group in result.outcomes.values() for o in group)
    return total_ms / 1000 / minute_seconds
