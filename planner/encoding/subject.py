"""What a decision is about, read from a planner_input: the issue, its group, size and words.

Trials are told apart by it, when a model learns from them and when it decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIZE_MINUTES = {"XS": 10.0, "S": 40.0, "M": 120.0, "L": 480.0, "XL": 1920.0}
"""What a dk_size stands for where the issue has no minutes: each about four times the last."""


@dataclass(frozen=True)
class Subject:
    """An issue, as far as it foretells how its trials may end."""

    issue_id: str
    group: str
    """Its first tag; empty without one."""
    size_minutes: float
    """How long a person would need."""
    text: str
    """Title, tags and words; of a context that has none, keywords."""


def subject_of(context: Mapping[str, Any]) -> Subject:
    """The subject of a planner_input.v1."""
    issue = context["issue"]
    tags = [str(tag) for tag in issue.get("tags") or ()]
    minutes = issue.get("estimated_minutes")
    known = isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes > 0
    return Subject(
        issue_id=recorded_problem(issue) or str(issue["issue_id"]),
        group=tags[0] if tags else "",
        size_minutes=float(minutes) if known else SIZE_MINUTES.get(issue.get("dk_size"), SIZE_MINUTES["M"]),
        text=" ".join(
            [str(issue.get("title") or ""), *tags, *map(str, issue.get("words") or issue.get("keywords") or ())]
        ),
    )


def recorded_problem(issue: Mapping[str, Any]) -> str | None:
    """The problem of a case of recorded trials, which other agents had too; None for every other issue.

    Such a case's issue is called problem@agent, and the agent is its tool hint.
    """
    hint, issue_id = issue.get("dk_tool_hint"), str(issue["issue_id"])
    return issue_id.removesuffix(f"@{hint}") if hint and issue_id.endswith(f"@{hint}") else None
