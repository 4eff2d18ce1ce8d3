"""Ids, names and paths of a bench as hashes, so that it can be shared: the same name is the same hash everywhere in it.

What is not known to say nothing about its owner is hashed or left out. The key is made for one export and thrown away:
nobody can find a name by trying names.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

# Whose fields are the keys of a case and of an outcome.
from planner.contracts.document import Document
from planner.encoding.subject import recorded_problem

TOOLS = frozenset({"codex", "claude", "opencode", "crush", "recorded"})
"""The kernel's own; every other name of a tool is its owner's."""
WORDS = frozenset(
    {"NA", "test", "tests", "lint", "typecheck", "build", "timeout", "failed", "status:failed", "status:timeout"}
)
"""Names of gates and fail codes that every repo may have."""
# fmt: off
KEPT = frozenset((
    "schema_version", "created_at", "job_type", "domain", "status", "stopped_by", "swarm_id", "swarm_ids",
    "swarm_id_executed", "dk_priority", "dk_risk", "dk_size", "active_workcells_bin", "queue_depth_bin", "hour_bucket",
    "budget_remaining_bin", "isolation", "limited_by", "context_builder",
))
# fmt: on
"""Keys whose values are of the planner's and the kernel's own vocabulary."""
LEFT_OUT = frozenset(("title", "description", "fault", "fallback_reason", "selection"))
"""Keys whose values are free text."""


class Identifiers:
    """As they are, or hashed."""

    def __init__(self, *, hashed: bool) -> None:
        self._key = secrets.token_bytes(32) if hashed else None

    def of(self, name: str) -> str:
        """A name, or its hash."""
        if self._key is None:
            return name
        return "h" + hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]

    def tool(self, name: str) -> str:
        """The name of a tool; the kernel's own stay."""
        return name if name in TOOLS else self.of(name)

    def case(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A bench_case.v1."""
        if self._key is None:
            return dict(document)
        made: dict[str, Any] = self._value("", document)
        issue = document["context"]["issue"]
        problem = recorded_problem(issue)
        if problem is not None:
            # The two parts keep their meaning: other agents' cases are of the same problem.
            made["issue_id"] = made["context"]["issue"]["issue_id"] = (
                f"{self.of(problem)}@{self.tool(str(issue['dk_tool_hint']))}"
            )
        return made

    def outcome(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome of a bench_execution.v1."""
        if self._key is None:
            return dict(document)
        made: dict[str, Any] = self._value("", document)
        return made

    def settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a ledger is bound to, as far as a replay needs it."""
        return {key: settings[key] for key in ("objective", "minute_seconds", "simulation") if key in settings}

    def execution(self, execution_id: str, case_id: str) -> str:
        """An execution's id, which begins with its case's."""
        return self.of(case_id) + execution_id.removeprefix(case_id) if self._key else execution_id

    def _value(self, key: str, value: Any) -> Any:
        if key in LEFT_OUT:
            return None
        if key == "validity_rules":
            return [{name: rule[name] for name in ("if", "then") if name in rule} for rule in value]
        if isinstance(value, Mapping):
            return {name: self._value(name, inner) for name, inner in value.items() if name in _KNOWN}
        if isinstance(value, list | tuple):
            return [self._value(key, inner) for inner in value]
        if not isinstance(value, str) or key in KEPT or value in WORDS:
            return value
        if key in ("dk_tool_hint", "tool", "available_toolchains"):
            return self.tool(value)
        if key == "derived_from":
            case_id, _, rest = value.rpartition("-a")
            return self.execution(value, case_id) if rest else self.of(value)
        return self.of(value)


def _fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields).union(*(_fields(below) for below in model.__subclasses__()))


_KNOWN = (_fields(Document) | {"estimated_minutes"}) - {"toolchain_health"}
"""Keys of our contracts. A key besides may itself be a name, as those of toolchain_health are: it is left out."""
