"""Typed models of the documents in ``schemas/``: parse, validate, canonical JSON, hashes.

Field names and types are those of Cyntra's v1 documents. ``python -m planner.contracts`` writes the JSON Schemas.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.errors import ContractError

NA: Literal["NA"] = "NA"
Bin = Annotated[int, Field(ge=1)] | Literal["NA"]
"""A budget bin: a positive number, or "NA" for "left to Cyntra's default"."""

Milliseconds = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Identifier = Annotated[str, Field(min_length=1)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
Status = Literal["success", "failed", "timeout"]
Domain = Literal["code", "fab_asset", "fab_world"]
Priority = Literal["P0", "P1", "P2", "P3"]
Risk = Literal["low", "medium", "high", "critical"]
Size = Literal["XS", "S", "M", "L", "XL"]
TokenProfile = Literal["planner", "kernel"]
"""Whose token stream a dataset holds: ours, or the one that Cyntra's kernel builds (contract page, section 4)."""


class Document(BaseModel):
    """Base of all documents: no coercion of types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)


class OpenDocument(Document):
    """A document to which Cyntra may add further keys."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


# --- run_summary.v1 ---------------------------------------------------------------------------------------------------


class ExecutedAction(Document):
    """What a past run was given; a part that no artifact tells is null."""

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


# --- planner_input.v1 -------------------------------------------------------------------------------------------------


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


class History(Document):
    """Similar runs that had ended at decision time, best first."""

    last_n_similar_runs: list[RunSummary]


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


# --- planner_action.v1, executed_plan.v1 ------------------------------------------------------------------------------


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


class ExecutedPlan(Document):
    """What Cyntra really ran after masks, caps and fallbacks."""

    schema_version: Literal["cyntra.executed_plan.v1"]
    swarm_id_executed: Identifier
    max_candidates_executed: Count | None
    timeout_seconds_executed: Count | None
    max_iterations_executed: Count | None
    fallback_applied: bool
    fallback_reason: str | None


# --- bench records ----------------------------------------------------------------------------------------------------


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

    censored: stopped because it could not win any more; whether it would have passed is not known. ``derived_from``
    names the execution under more minutes that told this outcome; nothing was run for it.
    """

    passed: bool
    status: Literal["success", "failed", "timeout", "censored", "fault"]
    stopped_by: Literal["walltime", "memory", "processes", "disk", "capped", "cancelled"] | None
    fault: str | None
    duration_ms: Milliseconds
    agent_ms: Milliseconds
    cost_usd: float | None
    cpu_ms: Milliseconds | None = None
    score: float | None = None
    derived_from: str | None = None
    gates: list[GateResult]
    fail_codes: list[str]
    exit_code: int | None
    launches: list[Launch]
    executed_plan: ExecutedPlan | None


class BenchCase(Document):
    """One context put on the bench. The first action is the default plan: what today's rule would run; ``selection``
    says how the others were chosen."""

    schema_version: Literal["cyntra.bench_case.v1"]
    case_id: Identifier
    issue_id: Identifier
    base_commit: Identifier
    context: PlannerInput
    actions: Annotated[list[ActionDocument], Field(min_length=1)]
    selection: str | None = None


class BenchExecution(Document):
    """One bounded run of one action on one case."""

    schema_version: Literal["cyntra.bench_execution.v1"]
    execution_id: Identifier
    case_id: Identifier
    action: ActionDocument
    repeat: Count = 0
    outcome: BenchOutcome


# --- dataset.json -----------------------------------------------------------------------------------------------------


class SplitInfo(Document):
    """One split: how many examples, when, and how many are of issues that train has too."""

    examples: Count
    first_ms: Milliseconds | None
    last_ms: Milliseconds | None
    of_seen_issues: Count


class QuarantineEntry(Document):
    """A file or directory that could not be used as it stands, and what was done instead."""

    path: str
    reason: str
    consequence: Literal["dropped", "repaired"]


class FeatureInfo(Document):
    """One engineered feature with the normalisation fitted on train: (value - mean) / scale."""

    name: Identifier
    mean: float
    scale: float


class DatasetInfo(Document):
    """dataset.json: how a dataset came about and how to read it."""

    schema_version: Literal["cyntra.planner_dataset.v1"]
    dataset_hash: Identifier
    label_source: Literal["executed_plans", "bench_winners"]
    token_profile: TokenProfile = "planner"
    base_dataset_hash: str | None
    action_space: ActionSpaceDocument
    kernel_config: dict[str, Any]
    minute_seconds: float
    n_similar: Count
    tokens_per_run: Count
    counts: dict[str, int]
    contexts: dict[str, int]
    unlabelled: dict[str, int]
    splits: dict[str, SplitInfo]
    vocabulary: list[str]
    context_features: list[FeatureInfo]
    run_features: list[FeatureInfo]
    quarantine: list[QuarantineEntry]
    tool_versions: dict[str, str]


SCHEMAS: dict[str, type[Document]] = {
    "planner_input.v1": PlannerInput,
    "planner_action.v1": PlannerAction,
    "executed_plan.v1": ExecutedPlan,
    "run_summary.v1": RunSummary,
    "bench_case.v1": BenchCase,
    "bench_execution.v1": BenchExecution,
    "dataset.v1": DatasetInfo,
}

AnyDocument = TypeVar("AnyDocument", bound=Document)


def validate(model: type[AnyDocument], document: object, source: str) -> AnyDocument:
    """``document`` as a ``model``; ContractError names the source, the JSON path and the reason of the first defect."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ContractError(source, path, f"{first['msg']}, found {_shorten(first['input'])}{more}") from None


def parse(model: type[AnyDocument], data: bytes | str, source: str) -> AnyDocument:
    """JSON text as a ``model``; ContractError as in :func:`validate`."""
    return validate(model, parse_json(data, source), source)


def parse_json(data: bytes | str, source: str) -> Any:
    """JSON text as Python values; ContractError names the source and the place of a syntax error."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ContractError(source, "$", f"not JSON: {error}") from None


def read_document(model: type[AnyDocument], path: Path) -> AnyDocument:
    """The document in the file ``path``; ContractError when it cannot be read or is invalid."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ContractError(str(path), "$", f"cannot be read: {error.strerror}") from None
    return parse(model, data, str(path))


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, not ASCII-escaped (contract page, section 3)."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def input_hash(planner_input: Mapping[str, Any]) -> str:
    """sha256 of a planner_input's canonical JSON without ``created_at``, in hexadecimal."""
    content = {key: value for key, value in planner_input.items() if key != "created_at"}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def timestamp_to_ms(timestamp: str) -> int:
    """An RFC 3339 timestamp as ms since the epoch, UTC; ValueError when it is not one."""
    moment = datetime.fromisoformat(timestamp)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def ms_to_timestamp(ms: int) -> str:
    """ms since the epoch as an RFC 3339 timestamp, UTC, as Cyntra writes them."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document called ``name``, made from its model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"cyntra:{name}",
        **SCHEMAS[name].model_json_schema(),
    }


def write_schemas(directory: Path) -> None:
    """Write every schema as ``directory/NAME.json``."""
    for name in SCHEMAS:
        text = orjson.dumps(schema_of(name), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (directory / f"{name}.json").write_bytes(text)


def _shorten(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


if __name__ == "__main__":
    write_schemas(Path(__file__).parent.parent / "schemas")
