"""What a ledger knows of each case: the outcomes of its actions, and which cases are held out for judging."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.ledger import Ledger
from bench.objective import Objective, Verdict, action_outcome, judge
from planner.actions import Action, action_from_document
from planner.contracts import BenchCase, BenchOutcome, timestamp_to_ms
from planner.dataset.outcomes import ActionOutcome
from planner.errors import BenchError


@dataclass(frozen=True)
class CaseResults:
    """One case with the outcomes of those of its actions that were executed without a fault."""

    case: BenchCase
    outcomes: dict[Action, list[BenchOutcome]]
    objective: Objective

    @property
    def decided_ms(self) -> int:
        """When the case's context was made, ms since the epoch, UTC."""
        return timestamp_to_ms(self.case.context.created_at)

    @cached_property
    def verdict(self) -> Verdict:
        """The best action under the objective."""
        verdict = judge(
            [(action, outcome) for action, group in self.outcomes.items() for outcome in group], self.objective
        )
        assert verdict is not None  # read_results keeps cases with such outcomes only
        return verdict

    def action_outcomes(self, limit_ms: int) -> tuple[ActionOutcome, ...]:
        """What came of each executed action, as a dataset holds it; ``limit_ms`` as in bench.objective.utility."""
        return tuple(action_outcome(action, group, self.objective, limit_ms) for action, group in self.outcomes.items())


def read_results(ledger_path: Path) -> list[CaseResults]:
    """Every case with at least two comparable actions, oldest context first, then in the order of the bench.

    BenchError when there is none. A case with fewer tells nothing about the choice.
    """
    with Ledger.read(ledger_path) as ledger:
        cases = ledger.cases()
        executions = ledger.executions()
        objective = ledger.objective()
    outcomes: dict[str, dict[Action, list[BenchOutcome]]] = {case.case_id: {} for case in cases}
    for execution in executions:
        if execution.outcome.status != "fault":
            action = action_from_document(execution.action.model_dump())
            outcomes[execution.case_id].setdefault(action, []).append(execution.outcome)
    results = [
        CaseResults(case, outcomes[case.case_id], objective.for_job(case.context.job_type))
        for case in cases
        if len(outcomes[case.case_id]) >= 2
    ]
    if not results:
        raise BenchError(f"{ledger_path}: no case has two finished executions yet; run `planner bench` first")
    return sorted(results, key=lambda result: result.decided_ms)


def hold_out(results: Sequence[CaseResults], share: float) -> tuple[list[CaseResults], list[CaseResults]]:
    """The earlier cases to learn from, and the latest ``share`` to judge by; BenchError when either is empty."""
    kept = len(results) - round(len(results) * share)
    learning, held_out = list(results[:kept]), list(results[kept:])
    if not learning or not held_out:
        raise BenchError(
            f"{len(results)} cases with a held-out share of {share} leave {len(learning)} to learn from and "
            f"{len(held_out)} to judge by: bench more issues, or choose another --holdout"
        )
    return learning, held_out
