"""The bench's records: its cases, and what each execution of an action yielded."""

from typing import Annotated, Literal

from pydantic import Field

from planner.contracts.document import Bin, Count, Document, Identifier, Milliseconds, with_further_dimensions
from planner.contracts.kernel import ContextBuilderName, GateResult, PlannerInput, RecordedPlan


@with_further_dimensions(lambda d: d.name, lambda d: d.default)
class ActionDocument(Document):
    """One action as four named values."""

    swarm_id: Identifier
    max_candidates_bin: Bin
    max_minutes_bin: Bin
    max_iterations_bin: Bin


class Launch(Document):
    """One start of an agent tool, logged by the bench's wrapper; the losers of a speculation are included."""

    tool: Identifier
    started_ms: Milliseconds
    duration_ms: Milliseconds
    exit_code: int | None
    cost_usd: float | None


class BenchOutcome(Document):
    """What one execution yielded. ``stopped_by`` is *our* reason for ending it, apart from status and exit code.

    stopped_early: stopped because it could not win any more; whether it would have passed is not known.
    ``derived_from`` names the execution under more minutes that gave this outcome; nothing was run for it.
    ``isolation`` is what kept a run of the kernel in bounds, ``limited_by`` what kept its memory and processes.
    """

    passed: bool
    status: Literal["success", "failed", "timeout", "stopped_early", "fault"]
    stopped_by: Literal["walltime", "memory", "processes", "disk", "capped", "cancelled"] | None
    fault: str | None
    duration_ms: Milliseconds
    agent_ms: Milliseconds
    cost_usd: float | None
    cpu_ms: Milliseconds | None = None
    score: float | None = None
    derived_from: str | None = None
    isolation: Literal["supervisor", "namespaces"] | None = None
    limited_by: Literal["supervisor", "cgroup"] | None = None
    gates: list[GateResult]
    fail_codes: list[str]
    exit_code: int | None
    launches: list[Launch]
    executed_plan: RecordedPlan | None


class RecordedTrial(Document):
    """One run of a case's agent that was recorded elsewhere, to its natural end."""

    passed: bool
    duration_ms: Milliseconds
    cost_usd: float | None
    started_ms: Milliseconds


class BenchCase(Document):
    """One context put on the bench. The first action is the default plan: what today's rule would run; ``selection``
    says how the others were chosen, ``problem_id`` what the case is about where other cases are about the same,
    ``trials`` what a replay looks its outcomes up in: with them, expectations over their orders follow."""

    schema_version: Literal["cyntra.bench_case.v1"]
    case_id: Identifier
    issue_id: Identifier
    base_commit: Identifier
    context: PlannerInput
    actions: Annotated[list[ActionDocument], Field(min_length=1)]
    context_builder: ContextBuilderName | None = None
    """Who built the context; None in cases of an earlier program."""
    selection: str | None = None
    problem_id: str | None = None
    trials: list[RecordedTrial] | None = None


class BenchExecution(Document):
    """One bounded run of one action on one case."""

    schema_version: Literal["cyntra.bench_execution.v1"]
    execution_id: Identifier
    case_id: Identifier
    action: ActionDocument
    repeat: Count = 0
    outcome: BenchOutcome
