"""The tracker's file as people leave it: merged, edited, saved by whatever editor."""

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.planning.cases import natural_order, select_issues
from planner.artifacts.beads import read_issues
from planner.artifacts.records import Quarantine

ONE, TWO = {"id": "1", "title": "One", "status": "open"}, {"id": "2", "title": "Two", "status": "open"}
LINES = orjson.dumps(ONE) + b"\n" + orjson.dumps(TWO) + b"\n"


def read(root: Path, data: bytes) -> tuple[dict[str, Any], list[dict[str, str]]]:
    (root / ".beads").mkdir(exist_ok=True)
    (root / ".beads" / "issues.jsonl").write_bytes(data)
    quarantine = Quarantine(root)
    return read_issues(root, quarantine), quarantine.entries


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + LINES,
        LINES.replace(b"\n", b"\r\n"),
        b"# a comment\n\n" + LINES,
        orjson.dumps([ONE, TWO]),
        b"\xef\xbb\xbf" + orjson.dumps([ONE, TWO], option=orjson.OPT_INDENT_2),
    ],
)
def test_every_issue_is_read_whatever_the_editor_made_of_the_file(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == ({"1": ONE, "2": TWO}, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_said_to_be_one(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    issues, entries = read(tmp_path, (mark + LINES.decode()).encode(encoding))
    assert issues == {} and len(entries) == 1 and "UTF-16" in entries[0]["reason"]


def test_conflict_markers_are_named_line_by_line_and_the_issues_around_them_are_read(tmp_path: Path) -> None:
    data = b"<<<<<<< HEAD\n" + orjson.dumps(ONE) + b"\n=======\n" + orjson.dumps(TWO) + b"\n>>>>>>> theirs\n"
    issues, entries = read(tmp_path, data)
    assert set(issues) == {"1", "2"}
    assert [entry["path"] for entry in entries] == [f".beads/issues.jsonl:{n}" for n in (1, 3, 5)]


@pytest.mark.parametrize("newer_first", [True, False])
def test_of_two_lines_with_one_id_the_newer_counts_and_the_other_is_named(tmp_path: Path, newer_first: bool) -> None:
    newer = {**ONE, "status": "done", "updated": "2026-02-01T00:00:00Z"}
    older = {**ONE, "updated": "2026-01-01T00:00:00+02:00"}
    lines = [newer, older] if newer_first else [older, newer]
    issues, entries = read(tmp_path, b"\n".join(map(orjson.dumps, lines)))
    assert issues["1"]["status"] == "done"
    (entry,) = entries
    assert entry["path"].endswith(":2" if newer_first else ":1") and "twice" in entry["reason"]


IDS = st.text(st.sampled_from("aé1.~^:?*[\\/@{-_+ \t\x7f#'\"$(") | st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(IDS | IDS.map(lambda text: f"{text}.lock"))
def test_an_id_is_set_aside_exactly_when_git_makes_no_branch_of_it(issue_id: str) -> None:
    selection = select_issues({issue_id: {"status": "open"}})
    if issue_id.startswith("-") or "/" in issue_id or "\0" in issue_id or len(issue_id.encode()) > 120:
        assert issue_id in selection.set_aside
        return
    branch = f"refs/heads/wc/{issue_id}/wc-{issue_id}-20260101T000000Z"
    accepted = subprocess.run(["git", "check-ref-format", branch]).returncode == 0
    assert (issue_id in selection.issue_ids) == accepted, selection.set_aside


def test_ids_of_any_length_have_an_order(tmp_path: Path) -> None:
    ids = ["9" * 5000, "10", "9", "é1", "\ud800", "007", "7"]
    assert sorted(ids, key=natural_order)[:3] == ["007", "7", "9"]
    assert select_issues({issue_id: {"status": "open"} for issue_id in ids}).issue_ids == ["007", "7", "9", "10", "é1"]
