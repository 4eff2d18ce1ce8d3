"""Archives, logs and evolutions made to break a reader: what they hold is read soundly or set aside."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.artifacts.archives import read_archive
from planner.artifacts.events import read_events
from planner.artifacts.recorded_context import KnownRuns, PackedContext
from planner.artifacts.records import Quarantine, RunRecord
from planner.artifacts.repo import Repo
from planner.artifacts.versions import UnknownKeys, check
from planner.artifacts.worlds import read_world_runs
from planner.contracts.kernel import PlannerInput, RunSummary
from planner.errors import ActionError, ContractError
from tests.conftest import CORPUS
from tests.planner.mutations import WRONG, places, replaced, without
from tests.planner.test_artifacts import archive


@pytest.fixture(scope="module")
def repo() -> Repo:
    """The excerpt as it is in the fixtures."""
    return Repo(CORPUS).read_all()


DOCUMENTS = {
    name: orjson.loads((CORPUS / ".cyntra/archives" / archive("15-194557Z") / f"{name}.json").read_bytes())
    for name in ("manifest", "proof", "rollout")
}
DEEP: Any = "end"
for _ in range(400):
    DEEP = {"deeper": DEEP}
HOSTILE = (
    *WRONG,
    1e300,
    2**63,
    "9999-99-99T99:99:99Z",
    "0001-01-01T00:00:00+14:00",
    "1969-01-01T00:00:00Z",
    "x" * 5000,
    "\u0000",
    "../../etc",
    ["timeout"] * 500,
    DEEP,
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def write_archive(root: Path, documents: dict[str, Any]) -> Path:
    """An archive of these documents alone in an otherwise empty repo."""
    shutil.rmtree(root, ignore_errors=True)
    directory = root / ".cyntra" / "archives" / "wc-1-20260101T000000Z"
    directory.mkdir(parents=True)
    for name, document in documents.items():
        (directory / f"{name}.json").write_bytes(orjson.dumps(document))
    return directory


def check_read(directory: Path) -> RunRecord | None:
    """Read an archive; whatever it holds, the result is a sound record or an entry in quarantine."""
    quarantine = Quarantine(directory.parents[2])
    record = read_archive(directory, None, quarantine)
    if record is None:
        assert quarantine.entries and all(entry["reason"] for entry in quarantine.entries)
        return None
    RunSummary.model_validate(record.summary)
    assert 0 <= record.started_ms <= record.ended_ms
    orjson.dumps(record, default=lambda value: list(value) if isinstance(value, tuple) else value.decode())
    return record


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_archive_never_breaks_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    documents = dict(DOCUMENTS)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(documents)))
        found = sorted(places(documents[name]), key=repr)
        if not found:
            continue
        path = data.draw(st.sampled_from(found))
        value = data.draw(st.sampled_from(HOSTILE) | JSON_VALUES)
        damage = without(documents[name], path) if data.draw(st.booleans()) else replaced(documents[name], path, value)
        try:
            orjson.dumps(damage)
        except TypeError:
            continue
        documents[name] = damage
    check_read(write_archive(tmp_path / "repo", documents))


@pytest.mark.parametrize("name", ["manifest", "proof", "rollout"])
@pytest.mark.parametrize("value", [None, [], {}, "text", 1, [[[]]], True])
def test_a_document_of_another_type_never_breaks_the_reader(tmp_path: Path, name: str, value: Any) -> None:
    check_read(write_archive(tmp_path / "repo", {**DOCUMENTS, name: value}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("created_at",), "2026-13-45T99:00:00Z"),
        (("action_space", "validity_rules"), [{"if": {"colour": "red"}, "then": {}}]),
        (("action_space", "validity_rules"), [{"if": {}, "then": {"max_candidates_bin": 99}}]),
        (("action_space", "max_minutes_bins"), [15, 15]),
        (("system_state", "toolchain_health"), {"codex": DEEP}),
        (("issue", "dk_priority"), "P9"),
    ],
)
def test_a_context_that_cannot_be_used_counts_as_not_recorded(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    planner = replaced(DOCUMENTS["manifest"]["planner"], ("planner_input", *path), value)
    directory = write_archive(tmp_path / "repo", {**DOCUMENTS, "manifest": {**DOCUMENTS["manifest"]}})
    text = orjson.dumps({**DOCUMENTS["manifest"], "planner": "PLANNER"}).decode()
    (directory / "manifest.json").write_text(text.replace('"PLANNER"', dumps_deep(planner)))
    record = check_read(directory)
    assert record is not None and record.planner_input is None and record.executed_plan is not None


def outcome_of(pack: Callable[[dict[str, Any]], PackedContext], document: dict[str, Any]) -> PackedContext | str:
    """What comes of packing a copy of the document: the context, or the error's text."""
    try:
        return pack(copy.deepcopy(document))
    except (ContractError, ActionError) as error:
        return str(error)


def test_a_damaged_context_is_judged_the_same_whatever_runs_are_known_by_then(repo: Repo) -> None:
    def pack_alone(document: dict[str, Any]) -> PackedContext:
        check(PlannerInput, document, "planner_input", UnknownKeys())
        return PackedContext.of(document)

    runs = [run.summary for run in repo.runs[:3]]
    whole = replaced(DOCUMENTS["manifest"]["planner"]["planner_input"], ("history", "last_n_similar_runs"), runs)
    known = KnownRuns()
    assert known.pack(copy.deepcopy(whole), "planner_input") == pack_alone(copy.deepcopy(whole))
    damaged = [replaced(whole, path, value) for path in places(whole) for value in (*WRONG, 1, 1.0)]
    damaged += [without(whole, path) for path in places(whole)]
    refused = 0
    for document in damaged:
        expected = outcome_of(pack_alone, document)
        assert outcome_of(lambda document: known.pack(document, "planner_input"), document) == expected
        refused += isinstance(expected, str) and "$.history.last_n_similar_runs[2]" in expected
    assert refused > 50


def test_a_run_that_differs_from_a_known_one_in_a_type_alone_is_not_that_run(repo: Repo) -> None:
    run = replaced(repo.runs[0].summary, ("started_ms",), 1)
    whole = DOCUMENTS["manifest"]["planner"]["planner_input"]
    known = KnownRuns()
    known.pack(replaced(whole, ("history", "last_n_similar_runs"), [run]), "planner_input")
    for value in (True, 1.0):
        changed = replaced(run, ("started_ms",), value)
        assert changed == run
        with pytest.raises(ContractError, match=r"\$\.history\.last_n_similar_runs\[1\]\.started_ms"):
            known.pack(replaced(whole, ("history", "last_n_similar_runs"), [run, changed]), "planner_input")


def dumps_deep(document: Any) -> str:
    """JSON text of a document that is nested deeper than orjson would write it."""
    import json

    return json.dumps(document)


def test_strange_files_in_an_archives_place_are_set_aside(tmp_path: Path) -> None:
    archives = write_archive(tmp_path / "repo", DOCUMENTS).parent
    cases = {
        "directory": lambda file: file.mkdir(),
        "loop": lambda file: file.symlink_to(file),
        "dangling": lambda file: file.symlink_to("nowhere"),
        "pipe": lambda file: os.mkfifo(file),
        "device": lambda file: file.symlink_to("/dev/zero"),
        "latin": lambda file: file.write_bytes(b'{"status": "\xe9\xff"}'),
        "infinite": lambda file: file.write_bytes(b'{"metadata": {"duration_ms": NaN}}'),
        "huge number": lambda file: file.write_bytes(b'{"metadata": {"duration_ms": 1e999}}'),
        "deep": lambda file: file.write_bytes(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        "large": lambda file: file.write_bytes(b" " * (40 * 2**20)),
        "list": lambda file: file.write_bytes(b"[]"),
    }
    for name, make in cases.items():
        (archives / name).mkdir()
        make(archives / name / "proof.json")
    (archives / "looping directory").symlink_to("looping directory")
    found = Repo(tmp_path / "repo").read_all()
    assert [run.run_id for run in found.runs] == ["wc-1-20260101T000000Z"]
    dropped = {entry["path"] for entry in found.quarantine.entries if entry["consequence"] == "dropped"}
    assert dropped == {f".cyntra/archives/{name}" for name in (*cases, "looping directory")}


def test_a_directory_whose_name_is_no_text_is_set_aside(tmp_path: Path) -> None:
    archives = write_archive(tmp_path / "repo", DOCUMENTS).parent
    Path(os.fsdecode(os.fsencode(archives) + b"/wc-\xff")).mkdir()
    found = Repo(tmp_path / "repo").read_all()
    assert len(found.runs) == 1
    orjson.dumps(found.quarantine.entries)
    assert "UTF-8" in found.quarantine.entries[0]["reason"]


def test_a_broken_event_line_costs_that_line_alone(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    good: dict[str, Any] = {"type": "workcell.started", "timestamp": "2026-01-01T00:00:00Z", "workcell_id": "a"}
    bad = [b'{"type": "workcell.started"', b'"workcell."', b'["workcell.x"]']
    bad += [orjson.dumps({**good, "workcell_id": value}) for value in list[Any](([1], {}))]
    log.write_bytes(b"\n".join([*bad, orjson.dumps(good), b"\xff\xfe", orjson.dumps({**good, "timestamp": 5})]))
    quarantine = Quarantine(tmp_path)
    assert set(read_events(log, quarantine).cells) == {"a"}
    # What is no event at all is counted, not listed: a log can be a gigabyte of it.
    paths = [*(f"events.jsonl:{n}" for n in range(1, 6)), "events.jsonl"]
    assert [entry["path"] for entry in quarantine.entries] == paths


def test_a_log_that_cannot_be_read_is_reported_and_a_missing_one_is_not(corpus: Path) -> None:
    shutil.rmtree(corpus / ".cyntra" / "logs")
    assert not any("events" in entry["path"] for entry in Repo(corpus).read_all().quarantine.entries)
    (corpus / ".cyntra" / "logs" / "events.jsonl").mkdir(parents=True)
    (corpus / ".beads" / "issues.jsonl").unlink()
    (corpus / ".beads" / "issues.jsonl").mkdir()
    paths = {entry["path"] for entry in Repo(corpus).read_all().quarantine.entries}
    assert {".cyntra/logs/events.jsonl", ".beads/issues.jsonl"} <= paths


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_evolution_never_breaks_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    root = tmp_path / "repo"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(CORPUS / ".cyntra" / "runs", root / "runs")
    file = data.draw(st.sampled_from(sorted(root.glob("runs/*/*.json")) + sorted(root.glob("runs/*/*/*.json"))))
    document = orjson.loads(file.read_bytes())
    path = data.draw(st.sampled_from(list(places(document))))
    file.write_bytes(orjson.dumps(replaced(document, path, data.draw(st.sampled_from(WRONG) | JSON_VALUES))))
    quarantine = Quarantine(root)
    for run in read_world_runs(root / "runs", quarantine, {}):
        RunSummary.model_validate(run.summary)
        orjson.dumps(run, default=bytes.decode)
        hash((run.world_id, run.objective_id, run.universe_id))


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-12:00", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_moment_that_does_not_exist_is_set_aside_with_its_value(tmp_path: Path, value: str, alone: bool) -> None:
    proof = replaced(DOCUMENTS["proof"], ("metadata", "started_at"), value)
    documents = {"proof": proof} if alone else {**DOCUMENTS, "proof": proof}
    root = write_archive(tmp_path / "repo", documents).parents[2]
    found = Repo(root).read_all()
    assert len(found.runs) == (0 if alone else 1)
    assert any(value in entry["reason"] for entry in found.quarantine.entries)


def test_a_run_from_the_future_is_named_and_counts(tmp_path: Path) -> None:
    rollout = {**DOCUMENTS["rollout"], "generated_at": "2999-01-01T00:00:00Z"}
    root = write_archive(tmp_path / "repo", {**DOCUMENTS, "rollout": rollout}).parents[2]
    found = Repo(root).read_all()
    assert len(found.runs) == 1
    assert any("from the future" in entry["reason"] for entry in found.quarantine.entries)
