"""The documents of Cyntra's kernel: planner_input.v1, planner_action.v1, executed_plan.v1, run_summary.v1.

Field names and types are the kernel's own (docs/kernel-contract.md, section 3).
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from planner.contracts.document import (
    Bin,
    Count,
    Document,
    Identifier,
    Milliseconds,
    OpenDocument,
    Timestamp,
    canonical_json,
    with_further_dimensions,
)

Status = Literal["success", "failed", "timeout"]
Domain = Literal["code", "fab_asset", "fab_world"]
Priority = Literal["P0", "P1", "P2", "P3"]
Risk = Literal["low", "medium", "high", "critical"]
Size = Literal["XS", "S", "M", "L", "XL"]
ContextBuilderName = Literal["planner", "kernel"]
"""Whose contexts a dataset or a case holds: ours, or those of kernel 0.1.0 (docs/kernel-contract.md, section 7)."""


@with_further_dimensions(lambda d: d.summary_field, lambda d: None)
class ExecutedAction(Document):
    """What a past run was given; a part that no artifact holds is null."""

    swarm_id: str | None
    max_candidates: Count | None
    max_minutes: Count | None
    max_iterations: Count | None


class GateResult(OpenDocument):
    """One gate's verdict."""

    name: Identifier
    passed: bool
    score: float | None = None


class RunOutcome(Document):
    """How a past run ended."""

    status: Status
    fail_codes: list[str]
    gates: list[GateResult]


class Runtime(OpenDocument):
    """How long a past run took."""

    duration_ms: Milliseconds


class RunSummary(OpenDocument):
    """The compact, bounded record of one past run."""

    run_id: Identifier
    started_ms: Milliseconds
    job_type: Identifier
    domain: Domain
    action_executed: ExecutedAction
    outcome: RunOutcome
    runtime: Runtime
    tags: list[str] | None = None
    issue_id: str | None = None
    cost_usd_est: float | None = None
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    generation: Count | None = None
    """Of an evolution that passed: the generation, counted from 1, whose selected candidate it ended with."""


class UniverseDefaults(OpenDocument):
    """What the universe runs when nobody decides."""

    swarm_id: str | None
    objective_id: str | None


class IssueContext(OpenDocument):
    """What is known of the issue at decision time."""

    issue_id: Identifier
    dk_priority: Priority
    dk_risk: Risk
    dk_size: Size
    dk_tool_hint: str | None
    dk_attempts: Count
    tags: list[str]
    title: str | None = None
    keywords: Annotated[list[str], Field(max_length=16)] | None = None
    words: Annotated[list[str], Field(max_length=256)] | None = None
    """More of its text's words than the keywords, in contexts that the planner built."""
    context_builder: str | None = None
    """"planner" in contexts that the planner built; the kernel does not say."""


class History(Document):
    """Similar runs that had ended at decision time, best first."""

    last_n_similar_runs: list[RunSummary]


@with_further_dimensions(lambda d: d.names, lambda d: [d.default])
class ActionSpaceDocument(Document):
    """The finite action space, with the rules that make a tuple valid."""

    swarm_ids: Annotated[list[Identifier], Field(min_length=1)]
    max_minutes_bins: Annotated[list[Bin], Field(min_length=1)]
    max_candidates_bins: Annotated[list[Bin], Field(min_length=1)]
    max_iterations_bins: Annotated[list[Bin], Field(min_length=1)]
    validity_rules: list[dict[str, Any]]


class SystemState(OpenDocument):
    """The machine at decision time; bins are Cyntra's own strings."""

    active_workcells_bin: str | None = None
    queue_depth_bin: str | None = None
    available_toolchains: list[str] | None = None
    toolchain_health: dict[str, Any] | None = None
    hour_bucket: str | None = None
    budget_remaining_bin: str | None = None


class PlannerInput(Document):
    """What is known when the decision is made: one context."""

    schema_version: Literal["cyntra.planner_input.v1"]
    created_at: Timestamp
    universe_id: str
    job_type: Identifier
    universe_defaults: UniverseDefaults
    issue: IssueContext
    history: History
    action_space: ActionSpaceDocument
    system_state: SystemState | None


@with_further_dimensions(lambda d: d.name, lambda d: d.default, kinds=["budget"])
class Budgets(Document):
    """The three budgets of an action, as bins."""

    max_candidates_bin: Bin
    max_minutes_bin: Bin
    max_iterations_bin: Bin


class ModelReference(OpenDocument):
    """Which checkpoint decided."""

    checkpoint_id: Identifier
    version: str | None = None
    git_sha: str | None = None


@with_further_dimensions(lambda d: d.name, lambda d: d.default, kinds=["choice"])
class PlannerAction(Document):
    """A policy's decision."""

    schema_version: Literal["cyntra.planner_action.v1"]
    created_at: Timestamp
    swarm_id: Identifier
    budgets: Budgets
    probs: dict[str, list[float]] | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    abstain_to_default: bool | None = None
    reason: str | None = None
    model: ModelReference | None = None
    input_hash: str | None = None


@with_further_dimensions(lambda d: d.executed_field, lambda d: None)
class ExecutedPlan(Document):
    """What Cyntra really ran after masks, caps and fallbacks."""

    schema_version: Literal["cyntra.executed_plan.v1"]
    swarm_id_executed: Identifier
    max_candidates_executed: Count | None
    timeout_seconds_executed: Count | None
    max_iterations_executed: Count | None
    fallback_applied: bool
    fallback_reason: str | None


class RecordedPlan(ExecutedPlan):
    """An executed_plan as a kernel recorded it, which may be a later one with further keys."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


def context_builder(planner_input: Mapping[str, Any]) -> ContextBuilderName:
    """Who built a context: the planner says so in its own, and the kernel does not."""
    return "planner" if planner_input["issue"].get("context_builder") == "planner" else "kernel"


def input_hash(planner_input: Mapping[str, Any]) -> str:
    """sha256 of a planner_input's canonical JSON without ``created_at``, in hexadecimal."""
    content = {key: value for key, value in planner_input.items() if key != "created_at"}
    return hashlib.sha256(canonical_json(content)).hexdigest()
