"""dataset.json: how a dataset came about and how to read it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from planner.contracts.document import Count, Document, Identifier, Milliseconds
from planner.contracts.kernel import ActionSpaceDocument, ContextBuilderName

TokenProfile = Literal["planner", "kernel"]
"""Whose token stream a dataset holds: ours, or the kernel's (docs/kernel-contract.md, section 4)."""


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
    label_source: Literal["executed_plans", "bench_winners", "teacher"]
    token_profile: TokenProfile = "planner"
    context_builder: ContextBuilderName | None = None
    """Who built its contexts; None where an earlier program mixed those of both."""
    objective: list[list[str]] | None = None
    """The metrics that its utilities and winners were judged by, [name, "min" or "max"] each; None: the default ones,
    as in datasets of an earlier program, or none where no actions were compared."""
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
    unknown_keys: Annotated[dict[str, int], Field(default_factory=dict)]
    """Keys that no contract names, as kind.path -> documents that have them."""
    trials: Annotated[dict[str, int], Field(default_factory=dict)]
    """How many launches of agents are whole, cut, or partly known; empty where an earlier program left none."""
    tool_versions: dict[str, str]
