"""The issue tracker's file, ``.beads/issues.jsonl``: one JSON object a line."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import orjson

from planner.artifacts.files import MAX_LINE_BYTES, MAX_LOG_BYTES, open_regular, read_lines
from planner.artifacts.lenient import moment, strings
from planner.artifacts.records import Quarantine
from planner.artifacts.tracked_issue import Blocking, choice_of
from planner.contracts.kernel import Priority, Risk, Size
from planner.errors import ContractError

ISSUES_FILE, DEPS_FILE = Path(".beads/issues.jsonl"), Path(".beads/deps.jsonl")
MAX_KEYWORDS, MAX_WORDS = 16, 256
_WORD = re.compile(r"\w{3,}", re.ASCII)
_COMMON = (
    "add and are but can create fix for from had has have into make may must not our over should than that the then "
    "these this those under update was were will with would you your"
)
_STOP_WORDS = frozenset(_COMMON.split())
"""The words that kernel 0.1.0 passes over: they say nothing of what an issue is about."""
_WORLD_JOB_TAG, _WORLD_TAG_PREFIX = "asset:world", "world:"
_CHOICES = {
    "dk_priority": (get_args(Priority), "P2"),
    "dk_risk": (get_args(Risk), "medium"),
    "dk_size": (get_args(Size), "M"),
}
"""The values that a context can hold, and Cyntra's own for an issue that does not say."""


def read_issues(root: Path, quarantine: Quarantine) -> dict[str, dict[str, Any]]:
    """Issue id -> issue, as in the file. Broken lines are set aside; a missing file holds no issues.

    Of two lines with one id, as a merge leaves them, the one that was updated later counts, and the other is set aside.
    """
    issues: dict[str, dict[str, Any]] = {}
    places: dict[str, Path] = {}
    for place, issue in _read_objects(root, ISSUES_FILE, quarantine):
        issue_id = issue.get("id")
        if not isinstance(issue_id, str) or not issue_id:
            quarantine.dropped(place, "an issue needs a non-empty string as id")
            continue
        if issue_id in issues:
            is_older = _updated_ms(issue) < _updated_ms(issues[issue_id])
            older, newer = (place, places[issue_id]) if is_older else (places[issue_id], place)
            quarantine.dropped(older, f"issue {issue_id!r} is there twice: {newer.name} was updated later and counts")
            if is_older:
                continue
        issues[issue_id], places[issue_id] = issue, place
    return issues


def _updated_ms(issue: dict[str, Any]) -> int:
    """When the issue was last changed, as far as it says; -1 when it does not."""
    moments = [ms for key in ("updated", "created") if (ms := moment(issue, key)) is not None]
    return max(moments, default=-1)


def read_blocking(root: Path, quarantine: Quarantine) -> list[Blocking]:
    """Which issue waits for which, from the tracker's deps.jsonl; broken lines are set aside."""
    return [
        Blocking(str(line.get("from", line.get("from_id", ""))), str(line.get("to", line.get("to_id", ""))))
        for _, line in _read_objects(root, DEPS_FILE, quarantine)
        if line.get("type", line.get("dep_type", "blocks")) == "blocks"
    ]


def _read_objects(root: Path, file_path: Path, quarantine: Quarantine) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The objects in a file of one a line, and where each stands; empty lines and comments are nothing.

    An editor's byte order mark is passed over, and the file may be one JSON array.
    """
    path = root / file_path
    try:
        file = open_regular(path, MAX_LOG_BYTES, inside=root)
    except FileNotFoundError:
        return
    except ContractError as error:
        quarantine.dropped(path, error.reason)
        return
    with file:
        start = file.read(len(codecs.BOM_UTF8))
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            quarantine.dropped(path, "in UTF-16, which Cyntra does not read: save it as UTF-8")
            return
        if start != codecs.BOM_UTF8:
            file.seek(0)
        for number, line in read_lines(file):
            place = path.with_name(f"{path.name}:{number}")
            if number == 1 and line is not None and line.strip().startswith(b"["):
                file.seek(0)
                yield from _read_array(path, file.read(), quarantine)
                return
            if line is None:
                quarantine.dropped(place, f"longer than {MAX_LINE_BYTES // 2**20} MiB")
            elif (text := line.strip()) and not text.startswith(b"#"):
                try:
                    found = orjson.loads(text)
                except orjson.JSONDecodeError as error:
                    quarantine.dropped(place, f"not JSON: {error}")
                    continue
                if isinstance(found, dict):
                    yield place, found
                else:
                    quarantine.dropped(place, f"a JSON object was expected, found {type(found).__name__}")


def _read_array(path: Path, data: bytes, quarantine: Quarantine) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The objects of a file that is one JSON array instead of one object a line."""
    try:
        found = orjson.loads(data.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        quarantine.dropped(path, f"one object a line was expected, found an array that is not JSON: {error}")
        return
    for number, item in enumerate(found):
        place = path.with_name(f"{path.name}[{number}]")
        if isinstance(item, dict):
            yield place, item
        else:
            quarantine.dropped(place, f"a JSON object was expected, found {type(item).__name__}")


def issue_context(issue: dict[str, Any], attempts: int) -> dict[str, Any]:
    """The ``issue`` part of a planner_input. ``attempts`` is passed in: the file holds only the final state's."""
    hint = choice_of(issue, "tool_hint", None)
    title = issue.get("title") if isinstance(issue.get("title"), str) else ""
    chosen = {}
    for key, (choices, default) in _CHOICES.items():
        value = choice_of(issue, key.removeprefix("dk_"), default)
        chosen[key] = value if value in choices else default
    return {
        "issue_id": issue["id"],
        **chosen,
        "dk_tool_hint": hint if isinstance(hint, str) else None,
        "dk_attempts": attempts,
        "tags": [tag for tag in strings(issue.get("tags")) if tag.strip()],
        "title": title,
        **({"dk_speculate": True} if issue.get("dk_speculate") else {}),
        **words_of(issue),
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


def words_of(issue: Mapping[str, Any]) -> dict[str, list[str]]:
    """The words of an issue's title and description as a context has them: ``keywords`` and, more of them, ``words``.

    The keywords are those of kernel 0.1.0 (docs/kernel-contract.md, section 7).
    """
    parts = (issue.get("title"), issue.get("description"))
    words = _frequent_words("\n".join(part for part in parts if isinstance(part, str)))
    return {"keywords": list(words[:MAX_KEYWORDS]), "words": list(words)}


@lru_cache(maxsize=4096)  # an issue has several runs, each with the issue's text
def _frequent_words(text: str) -> tuple[str, ...]:
    """The most frequent words of three characters and more, of equals the alphabet's first."""
    counts = Counter(word for word in map(str.lower, _WORD.findall(text)) if word not in _STOP_WORDS)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:MAX_WORDS])
