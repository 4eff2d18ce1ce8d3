"""An issue as kernel 0.1.0 reads it from the tracker, and the critical path through the issues around it."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEDULABLE = ("open", "ready")
ESCALATION_TAGS = frozenset({"escalation", "needs-human", "human-escalated", "@human-escalated"})
_HOURS = {"XS": 1, "S": 2, "M": 4, "L": 8, "XL": 16}
"""The effort that Cyntra reads off a size, for the critical path."""
_ESTIMATED_TOKENS = 50_000


@dataclass(frozen=True)
class TrackedIssue:
    """What today's rule reads of an issue; the ``dk_`` values as they stand, whether or not Cyntra knows them."""

    issue_id: str
    title: str
    description: str
    status: str
    tags: tuple[str, ...]
    priority: Any
    risk: Any
    size: Any
    tool_hint: Any
    speculate: bool
    attempts: int
    max_attempts: int
    estimated_tokens: int

    @classmethod
    def of(cls, issue: Mapping[str, Any]) -> "TrackedIssue":
        """The issue in a tracker's line or a context; ValueError for one that Cyntra itself passes over."""
        tags = issue.get("tags") or []
        if not isinstance(tags, list | str | dict):
            raise ValueError(f"tags {tags!r} are no list")
        return cls(
            issue_id=str(issue.get("id", issue.get("issue_id", ""))),
            title=_text(issue.get("title")),
            description=_text(issue.get("description")),
            status=issue.get("status", "open"),
            tags=tuple(tag for tag in tags if isinstance(tag, str) and tag.strip()),
            priority=choice_of(issue, "priority", "P2"),
            risk=choice_of(issue, "risk", "medium"),
            size=choice_of(issue, "size", "M"),
            tool_hint=choice_of(issue, "tool_hint", None),
            speculate=bool(issue.get("dk_speculate", False)),
            attempts=_whole(issue, "dk_attempts", 0),
            max_attempts=_whole(issue, "dk_max_attempts", 3),
            estimated_tokens=_whole(issue, "dk_estimated_tokens", _ESTIMATED_TOKENS) or _ESTIMATED_TOKENS,
        )

    @property
    def is_ready(self) -> bool:
        """Whether Cyntra would take it up by itself, blockers aside."""
        open_to_agents = self.status in SCHEDULABLE and not ESCALATION_TAGS.intersection(self.tags)
        return open_to_agents and self.attempts < self.max_attempts


def passed_over(issue: Mapping[str, Any]) -> str | None:
    """Why Cyntra itself passes over the issue's line; None when it does not."""
    try:
        TrackedIssue.of(issue)
    except ValueError as error:
        return str(error)
    return None


def choice_of(issue: Mapping[str, Any], key: str, default: Any) -> Any:
    """``dk_KEY``, else the plain ``KEY``, else the default: people write both."""
    return issue.get(f"dk_{key}") or issue.get(key, default)


@dataclass(frozen=True)
class Blocking:
    """A line of the tracker's deps.jsonl: one issue waits for the other."""

    blocker: str
    blocked: str


class Neighbourhoods:
    """Which issues ``cyntra run --issue`` looks at beside the one it is asked for: direct blockers and dependents."""

    def __init__(self, issues: Mapping[str, TrackedIssue], edges: Iterable[Blocking]) -> None:
        """``issues`` are in the tracker's order, by their ids."""
        self._issues = issues
        self._place = {issue_id: place for place, issue_id in enumerate(issues)}
        self._edges: dict[str, list[Blocking]] = {}
        for edge in edges:
            if edge.blocker in issues and edge.blocked in issues:
                for end in {edge.blocker, edge.blocked}:
                    self._edges.setdefault(end, []).append(edge)

    def is_on_critical_path(self, issue_id: str) -> bool:
        """Whether the issue lies on the critical path of its neighbourhood; alone it always does."""
        near = {issue_id}.union(*((edge.blocker, edge.blocked) for edge in self._edges.get(issue_id, ())))
        if len(near) == 1 and not self._edges.get(issue_id):
            return True
        order = sorted(near, key=lambda near_id: self._place[near_id])
        # The order of the edges decides between chains of equal length: the tracker's, each edge once.
        inside = [e for i in order for e in self._edges[i] if i == e.blocker and e.blocked in near]
        return issue_id in critical_path([self._issues[near_id] for near_id in order], inside)


def critical_path(issues: Sequence[TrackedIssue], edges: Sequence[Blocking]) -> set[str]:
    """The ids on the chain of most effort; the first in the tracker's order where several are as long.

    Issues that wait for one another in a circle begin no chain, as for Cyntra.
    """
    hours = {issue.issue_id: _hours(issue.size) for issue in issues}
    waiting: dict[str, int] = dict.fromkeys(hours, 0)
    blocks: dict[str, list[str]] = {issue_id: [] for issue_id in hours}
    for edge in edges:
        waiting[edge.blocked] += 1
        blocks[edge.blocker].append(edge.blocked)
    free = deque(issue_id for issue_id, count in waiting.items() if count == 0)
    if not free:
        return set()
    longest, before = dict(hours), dict[str, str]()
    order = []
    while free:
        order.append(free.popleft())
        for blocked in blocks[order[-1]]:
            waiting[blocked] -= 1
            if waiting[blocked] == 0:
                free.append(blocked)
    for issue_id in order:
        for blocked in blocks[issue_id]:
            if longest[issue_id] + hours[blocked] > longest[blocked]:
                longest[blocked] = longest[issue_id] + hours[blocked]
                before[blocked] = issue_id
    last: str | None = max(longest, key=lambda issue_id: longest[issue_id])
    path: set[str] = set()
    while last is not None and last not in path:
        path.add(last)
        last = before.get(last)
    return path


def _hours(size: Any) -> int:
    return _HOURS.get(size, 4) if isinstance(size, str) else 4


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(issue: Mapping[str, Any], key: str, default: int) -> int:
    """A count, which Cyntra itself writes as text once it has counted; ValueError when it cannot be read."""
    value = issue.get(key, default)
    if not isinstance(value, str | int | float):
        raise ValueError(f"{key} {value!r} is no number")
    try:
        return int(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{key} {value!r:.60} is no number") from None
