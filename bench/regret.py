"""`planner evaluate --bench`: regret of trained runs against the best of K, on a bench's held-out cases."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.objective import limit_ms
from bench.relabel import HOLDOUT
from bench.results import CaseResults, hold_out, read_results
from planner.actions import ActionSpace, action_from_document
from planner.dataset.outcomes import Outcomes, make_outcomes
from planner.errors import BenchError
from planner.evaluation.regret import Preference, best_per_case, fixed_choices, policy_preference, score, single_best
from planner.models.inputs import inputs_of_contexts
from planner.models.learned import LearnedPolicy


def score_runs(ledger_path: Path, runs: Mapping[str, Path], *, holdout: float = HOLDOUT) -> dict[str, Any]:
    """Scores of trained runs (name -> run) beside today's rule, the single best action and the best per case.

    The single best action is found on the learning cases; all are judged on the held-out ones. A policy that would
    choose an action that was not executed takes its favourite among the executed ones. BenchError without a run.
    """
    if not runs:
        raise BenchError("give at least one trained run to judge")
    learning, held_out = hold_out(read_results(ledger_path), holdout)
    results = [*learning, *held_out]
    policies = {name: LearnedPolicy(path) for name, path in runs.items()}
    minute_seconds = next(iter(policies.values())).document.minute_seconds
    space = _space(results)
    outcomes = _outcomes(held_out, space, minute_seconds)
    # The first action of a case is what today's rule would run.
    defaults = [action_from_document(result.case.actions[0].model_dump()) for result in held_out]
    preferences = {"heuristic": Preference(fixed_choices(defaults, outcomes, space).of_action)}
    preferences |= {name: _preference(policy, held_out, outcomes, space) for name, policy in policies.items()}
    preferences["single best action"] = single_best(_outcomes(learning, space, minute_seconds), outcomes)
    preferences["best per case"] = best_per_case(outcomes)
    return {
        "ledger": str(ledger_path),
        "holdout": holdout,
        "learning_cases": len(learning),
        "held_out_cases": len(held_out),
        "utility": results[0].objective.utility_text,
        "minute_seconds": minute_seconds,
        "executions": sum(len(group) for result in results for group in result.outcomes.values()),
        "agent_minutes_spent": _agent_minutes(results, minute_seconds),
        "policies": [asdict(score(name, preference, outcomes)) for name, preference in preferences.items()],
    }


def _space(results: Sequence[CaseResults]) -> ActionSpace:
    """The space of everything that was executed; a policy's own may be another one."""
    documents = [result.case.context.action_space.model_dump() for result in results]
    return ActionSpace.union([ActionSpace.from_document(document) for document in documents])


def _outcomes(results: Sequence[CaseResults], space: ActionSpace, minute_seconds: float) -> Outcomes:
    return make_outcomes([result.action_outcomes(limit_ms(minute_seconds)) for result in results], space)


def _preference(
    policy: LearnedPolicy, results: Sequence[CaseResults], outcomes: Outcomes, space: ActionSpace
) -> Preference:
    contexts = [result.case.context.model_dump(exclude_unset=True) for result in results]
    document = policy.document
    inputs = inputs_of_contexts(contexts, policy.space, document.vocabulary, document.dataset_n_similar)
    job_types = [context["job_type"] for context in contexts]
    return policy_preference(
        lambda rows, job_type: policy.score(inputs.take(rows), job_type), policy.space, job_types, outcomes, space
    )


def _agent_minutes(results: Sequence[CaseResults], minute_seconds: float) -> float:
    total_ms = sum(o.agent_ms for result in results for group in result.outcomes.values() for o in group)
    return total_ms / 1000 / minute_seconds
