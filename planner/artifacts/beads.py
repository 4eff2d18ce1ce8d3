"""The issue tracker's file, ``.beads/issues.jsonl``: one JSON object a line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import orjson

from planner.artifacts.files import MAX_LINE_BYTES, MAX_LOG_BYTES, open_regular, read_lines
from planner.artifacts.lenient import strings
from planner.artifacts.records import Quarantine
from planner.contracts.kernel import Priority, Risk, Size
from planner.errors import ContractError

ISSUES_FILE = Path(".beads/issues.jsonl")
MAX_KEYWORDS = 16
_WORD = re.compile(r"[a-z][a-z0-9_]{3,}")
_WORLD_JOB_TAG, _WORLD_TAG_PREFIX = "asset:world", "world:"
_DEFAULTS = {"dk_priority": "P2", "dk_risk": "medium", "dk_size": "M"}
"""Cyntra's own values for an issue that does not say."""
_CHOICES = {"dk_priority": get_args(Priority), "dk_risk": get_args(Risk), "dk_size": get_args(Size)}


def read_issues(root: Path, quarantine: Quarantine) -> dict[str, dict[str, Any]]:
    """Issue id -> issue, as in the file. Broken lines are set aside; a missing file holds no issues."""
    path = root / ISSUES_FILE
    issues: dict[str, dict[str, Any]] = {}
    try:
        file = open_regular(path, MAX_LOG_BYTES, inside=root)
    except FileNotFoundError:
        return issues
    except ContractError as error:
        quarantine.dropped(path, error.reason)
        return issues
    with file:
        for number, line in read_lines(file):
            place = path.with_name(f"{path.name}:{number}")
            if line is None:
                quarantine.dropped(place, f"longer than {MAX_LINE_BYTES // 2**20} MiB")
            elif line.strip():
                try:
                    issue = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    quarantine.dropped(place, f"not JSON: {error}")
                    continue
                if not isinstance(issue, dict) or not isinstance(issue.get("id"), str) or not issue["id"]:
                    quarantine.dropped(place, "an issue needs a non-empty string as id")
                    continue
                issues[issue["id"]] = issue
    return issues


def issue_context(issue: dict[str, Any], attempts: int) -> dict[str, Any]:
    """The ``issue`` part of a planner_input. ``attempts`` is passed in: the file holds only the final state's."""
    hint = issue.get("dk_tool_hint")
    title = issue.get("title") if isinstance(issue.get("title"), str) else ""
    chosen = {key: issue[key] if issue.get(key) in choices else _DEFAULTS[key] for key, choices in _CHOICES.items()}
    return {
        "issue_id": issue["id"],
        **chosen,
        "dk_tool_hint": hint if isinstance(hint, str) else None,
        "dk_attempts": attempts,
        "tags": strings(issue.get("tags")),
        "title": title,
        **({"dk_speculate": True} if issue.get("dk_speculate") is True else {}),
        "keywords": keywords(f"{title} {issue.get('description') or ''}"),
    }


def job_type_of(issue: Mapping[str, Any]) -> str:
    """The job type that Cyntra makes of the issue: its tags say whether it is about a world."""
    return "fab-world" if _WORLD_JOB_TAG in strings(issue.get("tags")) else "code"


def world_of(issue: Mapping[str, Any]) -> str | None:
    """The id of the world that a world job is about; None when no tag names one."""
    named = (
        tag.removeprefix(_WORLD_TAG_PREFIX) for tag in strings(issue.get("tags")) if tag.startswith(_WORLD_TAG_PREFIX)
    )
    return next((world_id for world_id in named if world_id), None)


def keywords(text: str) -> list[str]:
    """The distinct words of four letters and more, sorted, at most 16."""
    return sorted(set(_WORD.findall(text.lower())))[:MAX_KEYWORDS]
