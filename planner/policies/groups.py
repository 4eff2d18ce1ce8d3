"""Which contexts count as one group: those of one job type with the same tool hint or, without one, first tag."""

from collections.abc import Mapping
from typing import Any

from planner.encoding.inputs import Inputs

Group = tuple[str, str]


def group_of(context: Mapping[str, Any]) -> Group:
    """The group of a planner_input.v1."""
    issue = context["issue"]
    return context["job_type"], issue.get("dk_tool_hint") or next(iter(issue["tags"]), "")


def groups_of(inputs: Inputs) -> list[Group]:
    """The group of each of n contexts."""
    return [group_of(context) for context in inputs.contexts()]
