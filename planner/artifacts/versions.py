"""Cyntra's documents in every version that can be read, and the keys that no contract names: kept, and counted.

A new version of a document costs one step here. Its unknown keys cost nothing: they stay where they are, so that what
is passed on is what was read, and each is reported once per command.
"""

from collections import Counter
from typing import Any

from planner.contracts.document import AnyDocument, accept
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput
from planner.contracts.versions import Format, Step

FORMATS: dict[str, Format] = {
    "planner_input": Format("planner_input", "cyntra.planner_input.v1"),
    "planner_action": Format("planner_action", "cyntra.planner_action.v1"),
    "executed_plan": Format("executed_plan", "cyntra.executed_plan.v1"),
}
"""Kind of document -> its versions.

Of manifest, proof and rollout the readers take what they know, whatever the version and whatever else is there.
"""
MODELS: dict[str, type[PlannerInput] | type[PlannerAction] | type[ExecutedPlan]] = {
    "planner_input": PlannerInput,
    "planner_action": PlannerAction,
    "executed_plan": ExecutedPlan,
}


def add_version(kind: str, version: str, step: Step) -> None:
    """From now on read documents of ``version`` too; ``step`` makes one of the next known version of them."""
    FORMATS[kind].steps[version] = step


def upgraded(kind: str, document: Any) -> Any:
    """``document`` in the version that this program knows; ContractError when no step leads there."""
    return FORMATS[kind].upgraded(document, kind)


def read(kind: str, document: Any) -> tuple[dict[str, Any], "UnknownKeys"]:
    """A valid document in the version that this program knows, as a mapping that keeps every key; ContractError."""
    document = upgraded(kind, document)
    unknown = UnknownKeys()
    check(MODELS[kind], document, kind, unknown)
    return document, unknown


def check(model: type[AnyDocument], document: Any, kind: str, unknown: "UnknownKeys") -> AnyDocument:
    """``document`` as a ``model``, its unknown keys noted in ``unknown``; ContractError for any other defect."""
    found, keys = accept(model, document, kind)
    if keys:
        unknown.update(f"{kind}.{key}" for key in keys)
    return found


class UnknownKeys(Counter[str]):
    """Keys that no contract names, as ``kind.path`` -> documents that have them; items of a list share one path."""

    @property
    def lines(self) -> list[str]:
        """What a command says of them, one line each."""
        return [f"{said_of(key)} ({n} {'document' if n == 1 else 'documents'})" for key, n in sorted(self.items())]


def said_of(key: str) -> str:
    """One unknown key in words; it may hold any characters."""
    return f"unknown key {repr(key)[1:-1]}: kept, not used"
