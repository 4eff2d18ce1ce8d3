"""A ledger as a grid: cases times actions, with every execution and what each action came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.judging.expectations import expectations
from bench.judging.objective import Objective, action_outcome
from bench.judging.results import minute_of, problem_of
from bench.ledger import Ledger
from bench.logged_execution import LoggedExecution
from planner.actions import Action
from planner.contracts.bench import BenchCase
from planner.contracts.document import timestamp_to_ms
from planner.dataset.outcomes import ActionOutcome
from planner.scoring.utility import limit_ms

Fate = Literal["passed", "failed", "capped", "derived", "fault", "planned"]
"""What became of an execution. failed: it ran to its end, or to its own limits, without a pass."""
FATES: tuple[Fate, ...] = ("passed", "failed", "capped", "derived", "fault", "planned")


def fate_of(execution: LoggedExecution) -> Fate:
    """What became of one execution; one that is running counts as planned."""
    outcome = execution.outcome
    if outcome is None:
        return "planned"
    if outcome.status == "fault":
        return "fault"
    if outcome.derived_from is not None:
        return "derived"
    if outcome.status == "stopped_early":
        return "capped"
    return "passed" if outcome.passed else "failed"


@dataclass(frozen=True)
class GridCase:
    """One case: its executions by action, and what each action came to."""

    case: BenchCase
    executions: Mapping[Action, list[LoggedExecution]]
    outcomes: Mapping[Action, ActionOutcome]
    """Of those that have an outcome, by expectation over recorded trials where there are any. Faults are no outcomes.
    Without a known length of a minute every utility is None."""
    is_expected: bool
    faults: int

    @property
    def problem(self) -> str:
        """What the case is about."""
        return problem_of(self.case)

    @cached_property
    def decided_ms(self) -> int:
        """When its context was made, ms since the epoch, UTC."""
        return timestamp_to_ms(self.case.context.created_at)

    @cached_property
    def by_label(self) -> dict[str, ActionOutcome]:
        """What came of each action, by how reports write it."""
        return {str(action): outcome for action, outcome in self.outcomes.items()}

    @property
    def compares(self) -> bool:
        """Whether two of its actions can be compared."""
        return len(self.outcomes) >= 2 and any(not outcome.capped for outcome in self.outcomes.values())


@dataclass(frozen=True)
class Grid:
    """Everything that a ledger knows."""

    path: Path
    settings: Mapping[str, Any]
    objective: Objective
    minute_seconds: float | None
    """How long a minute of budget lasted; None where neither the ledger nor its repo says so."""
    cases: tuple[GridCase, ...]
    """Oldest context first."""
    executions: tuple[LoggedExecution, ...] = field(repr=False)

    @property
    def is_expected(self) -> bool:
        """Whether outcomes are expectations over recorded trials: then no winner is a lucky draw."""
        return any(case.is_expected for case in self.cases)


def read_grid(ledger: Path, minute: float | None = None) -> Grid:
    """The grid of a ledger. ``minute`` is how long a minute of budget lasted, in s, where a report on it says so."""
    with Ledger.read(ledger) as opened:
        cases, executions, settings = opened.cases(), opened.logged(), opened.settings()
    minute = minute or minute_of(ledger, settings)
    objective = Objective.of_settings(settings)
    of_case: dict[str, dict[Action, list[LoggedExecution]]] = {case.case_id: {} for case in cases}
    for execution in executions:
        of_case[execution.case_id].setdefault(execution.action, []).append(execution)
    found = [
        _grid_case(case, of_case[case.case_id], objective.for_job(case.context.job_type), minute) for case in cases
    ]
    return Grid(
        path=ledger,
        settings=settings,
        objective=objective,
        minute_seconds=minute,
        cases=tuple(sorted(found, key=lambda case: case.decided_ms)),
        executions=tuple(executions),
    )


def _grid_case(
    case: BenchCase, executions: Mapping[Action, list[LoggedExecution]], objective: Objective, minute: float | None
) -> GridCase:
    ended = {
        action: [one.outcome for one in group if one.outcome is not None and one.outcome.status != "fault"]
        for action, group in executions.items()
    }
    ended = {action: group for action, group in ended.items() if group}
    expected = {} if minute is None else expectations(case, ended, minute)
    # Any limit serves where a minute's length is not known: the utility is not shown then.
    limit = limit_ms(minute or 1.0)
    outcomes = {
        action: action_outcome(action, group, objective, limit, expected.get(action)) for action, group in ended.items()
    }
    if minute is None:
        outcomes = {action: outcome._replace(utility=None) for action, outcome in outcomes.items()}
    faults = sum(fate_of(one) == "fault" for group in executions.values() for one in group)
    return GridCase(case, executions, outcomes, bool(expected), faults)
