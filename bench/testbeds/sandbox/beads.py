"""Reading and changing issues in a sandbox's .beads/issues.jsonl, as the kernel does."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

ISSUES = Path(".beads/issues.jsonl")


def timestamp() -> str:
    """Now, as Cyntra writes it: UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_issues(repo_root: Path) -> dict[str, dict[str, Any]]:
    """{id: issue} of every readable line."""
    issues = {}
    for line in (repo_root / ISSUES).read_bytes().splitlines():
        document = _parsed(line)
        if document is not None:
            issues[str(document["id"])] = document
    return issues


@contextmanager
def repo_lock(repo_root: Path) -> Iterator[None]:
    """Alone among the runs on this repo: for a change of issues, worktrees or branches; not twice at once."""
    handle = os.open(repo_root / ISSUES.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def update_issue(repo_root: Path, issue_id: str, **changes: Any) -> None:
    """Change fields of one issue; every other line stays as it is."""
    with repo_lock(repo_root):
        _update(repo_root, issue_id, changes)


def _update(repo_root: Path, issue_id: str, changes: dict[str, Any]) -> None:
    path = repo_root / ISSUES
    lines = []
    for line in path.read_bytes().splitlines():
        document = _parsed(line)
        if document is not None and str(document["id"]) == issue_id:
            line = orjson.dumps({**document, **changes, "updated": timestamp()})
        lines.append(line + b"\n")
    _replace(path, b"".join(lines))


def record_failure(repo_root: Path, issue_id: str, error: str) -> int:
    """Count a failed attempt, escalate at the maximum, and return the number of attempts."""
    with repo_lock(repo_root):
        issues = read_issues(repo_root)
        issue = issues[issue_id]
        attempts = int(issue.get("dk_attempts") or 0) + 1
        exhausted = attempts >= int(issue.get("dk_max_attempts") or 3)
        # Cyntra writes a string once it has counted.
        _update(repo_root, issue_id, {"status": "escalated" if exhausted else "open", "dk_attempts": str(attempts)})
        if exhausted:
            number = max((int(name) for name in issues if name.isdigit()), default=0) + 1
            _append(repo_root / ISSUES, _escalation(str(number), issue, attempts, error))
        return attempts


def _escalation(new_id: str, issue: dict[str, Any], attempts: int, error: str) -> dict[str, Any]:
    now = timestamp()
    description = (
        f"Automated processing failed after {attempts} attempts.\n\n## Original Issue #{issue['id']}\n"
        f"{issue.get('description', '')}\n\n## Failure Details\n{error}\n\n"
        "## Action Required\nManual review and intervention needed."
    )
    return {
        "id": new_id,
        "title": f"[ESCALATION] {issue.get('title', '')}",
        "status": "escalated",
        "created": now,
        "updated": now,
        "dk_priority": issue.get("dk_priority", "P2"),
        "description": description,
        "tags": sorted({*(issue.get("tags") or ()), "escalation", "needs-human"}),
        "dk_parent": str(issue["id"]),
    }


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and "id" in document else None


def _append(path: Path, document: dict[str, Any]) -> None:
    _replace(path, path.read_bytes() + orjson.dumps(document) + b"\n")


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
