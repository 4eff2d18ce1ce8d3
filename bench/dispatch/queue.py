"""Which issue kernel 0.1.0 would take up next (docs/kernel-contract.md, section 6), and why others have to wait."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.planning.cases import id_obstacle
from planner.artifacts.lenient import moment, section
from planner.artifacts.repo import Repo
from planner.artifacts.rule_settings import read_settings
from planner.artifacts.tracked_issue import (
    ESCALATION_TAGS,
    SCHEDULABLE,
    Blocking,
    TrackedIssue,
    critical_path,
    passed_over,
)
from planner.policies.heuristic import HeuristicPolicy

HOUR_MS = 3_600_000
STARVED_HOURS = 24.0
DEFAULT_STARVATION_HOURS = 4.0
_RISKS = {"low": 0, "medium": 1, "high": 2, "critical": 3}
_BOOSTABLE = re.compile(r"P[0-9]")


@dataclass(frozen=True)
class Queue:
    """The issues of a repo as the kernel would take them up."""

    ready: list[str]
    """Ids, the next one first."""
    waiting: dict[str, str]
    """Every other issue -> why it is not taken up."""


def read_queue(repo: Repo, rule: HeuristicPolicy, now_ms: int) -> Queue:
    """The queue at ``now_ms``: the critical path's issues, then by priority and risk; a blocker before what it blocks.

    ``rule`` is today's, for the repo: its exploration controller ranks the issues.
    """
    waiting = {issue_id: found for issue_id, issue in repo.issues.items() if (found := _unusable(issue_id, issue))}
    issues = {key: TrackedIssue.of(issue) for key, issue in repo.issues.items() if key not in waiting}
    edges = [edge for edge in repo.blocking if edge.blocker in issues and edge.blocked in issues]
    most_tokens = read_settings(repo.config).max_concurrent_tokens
    blockers: dict[str, list[TrackedIssue]] = {}
    for edge in edges:
        blockers.setdefault(edge.blocked, []).append(issues[edge.blocker])
    for issue_id, issue in issues.items():
        if reason := _not_ready(issue, blockers.get(issue_id, []), most_tokens):
            waiting[issue_id] = reason
    ready = [issue for issue_id, issue in issues.items() if issue_id not in waiting]
    return Queue(_ordered(repo, rule, ready, _critical(issues, edges), now_ms), waiting)


def _critical(issues: dict[str, TrackedIssue], edges: Sequence[Blocking]) -> set[str]:
    """The critical path through all issues; the kernel follows the edges issue by issue."""
    place = {issue_id: place for place, issue_id in enumerate(issues)}
    return critical_path(list(issues.values()), sorted(edges, key=lambda edge: place[edge.blocker]))


def _unusable(issue_id: str, issue: dict[str, Any]) -> str | None:
    """Why the kernel cannot take up the line at all."""
    return id_obstacle(issue_id) or passed_over(issue)


def _not_ready(issue: TrackedIssue, blockers: Sequence[TrackedIssue], most_tokens: int) -> str | None:
    if issue.status not in SCHEDULABLE:
        return f"status {issue.status!r}"
    if ESCALATION_TAGS.intersection(issue.tags):
        return "left to a human (escalation)"
    if issue.attempts >= issue.max_attempts:
        return f"all {issue.max_attempts} attempts are used up"
    if undone := [blocker.issue_id for blocker in blockers if blocker.status != "done"]:
        return f"blocked by {', '.join(dict.fromkeys(undone))}"
    if issue.estimated_tokens > most_tokens:
        return f"its {issue.estimated_tokens} estimated tokens exceed the config's max_concurrent_tokens {most_tokens}"
    return None


def _ordered(
    repo: Repo, rule: HeuristicPolicy, ready: Sequence[TrackedIssue], critical: set[str], now_ms: int
) -> list[str]:
    patience = section(dict(repo.config), "scheduling").get(
        "starvation_threshold_hours", repo.config.get("starvation_threshold_hours", DEFAULT_STARVATION_HOURS)
    )
    patience = float(patience) if isinstance(patience, int | float) else DEFAULT_STARVATION_HOURS
    urgency = {
        issue.issue_id: _urgency(issue, moment(repo.issues[issue.issue_id], "ready_since"), patience, now_ms)
        for issue in ready
    }
    by_urgency = sorted(ready, key=lambda issue: urgency[issue.issue_id])
    others = sorted(
        (issue for issue in by_urgency if issue.issue_id not in critical),
        key=lambda issue: (
            rule.priority_rank(issue),
            urgency[issue.issue_id][0],
            -(_RISKS.get(issue.risk, 1) if isinstance(issue.risk, str) else 1),
        ),
    )
    first = [issue for issue in by_urgency if issue.issue_id in critical]
    return [issue.issue_id for issue in [*first, *others]]


def _urgency(issue: TrackedIssue, ready_since_ms: int | None, patience: float, now_ms: int) -> tuple[str, bool]:
    """The priority, raised for an issue that was ready too long, and whether it was not starved: smaller is sooner."""
    priority = str(issue.priority or "P2")
    if ready_since_ms is None:
        return priority, True
    waited = (now_ms - ready_since_ms) / HOUR_MS
    if waited > STARVED_HOURS:
        return "P0", False
    if waited > patience and _BOOSTABLE.match(priority):
        priority = f"P{max(0, int(priority[1]) - 1)}"
    return priority, True
