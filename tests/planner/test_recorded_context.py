"""Manifests and rollouts parsed in part, and contexts packed: the same as parsed whole, and the same text again."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.artifacts.recorded_context import KnownRuns, PackedContext, pack_run, parse_rollout
from planner.contracts.document import canonical_json
from tests.conftest import CORPUS
from tests.planner.mutations import WRONG, places, replaced, without
from tests.planner.test_artifacts import archive

ROLLOUT_FIELDS = ("issue_id", "job_type", "outcomes", "scores", "generated_at")
DOCUMENTS = {
    name: orjson.loads((CORPUS / ".cyntra/archives" / archive("15-194557Z") / f"{name}.json").read_bytes())
    for name in ("manifest", "rollout")
}
SUMMARY = {
    "run_id": "wc-1",
    "started_ms": 1,
    "job_type": "code",
    "domain": "code",
    "action_executed": {"swarm_id": None, "max_candidates": None, "max_minutes": None, "max_iterations": None},
    "outcome": {"status": "success", "fail_codes": [], "gates": []},
    "runtime": {"duration_ms": 5},
}


def wanted_of_manifest(document: Any) -> Any:
    """What a reader asks a manifest for, of one that was parsed whole."""
    if not isinstance(document, dict):
        return document
    planner = document.get("planner")
    if isinstance(planner, dict):
        planner = {key: planner.get(key) for key in ("planner_input", "executed_plan")}
    return {"issue": document.get("issue"), "job_type": document.get("job_type"), "planner": planner}


def wanted_of_rollout(document: Any) -> Any:
    """What a reader asks a rollout for, of one that was parsed whole."""
    return {name: document.get(name) for name in ROLLOUT_FIELDS} if isinstance(document, dict) else document


def parsed(parse: Callable[[bytes], Any], data: bytes, wanted: Callable[[Any], Any]) -> Any:
    """What comes of it: what is wanted of the document, or the error's text."""
    try:
        return wanted(parse(data))
    except orjson.JSONDecodeError as error:
        return str(error)


def with_runs(*runs: dict[str, Any]) -> bytes:
    """A manifest whose history holds these runs."""
    path = ("planner", "planner_input", "history", "last_n_similar_runs")
    return orjson.dumps(replaced(DOCUMENTS["manifest"], path, list(runs)))


def runs_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs in a manifest's history."""
    runs: list[dict[str, Any]] = manifest["planner"]["planner_input"]["history"]["last_n_similar_runs"]
    return runs


@pytest.mark.parametrize("name", ["manifest", "rollout"])
def test_whatever_is_wrong_in_a_document_a_part_of_it_is_parsed_as_in_the_whole(name: str) -> None:
    document = DOCUMENTS[name]
    parse, wanted = (
        (KnownRuns().parse_manifest, wanted_of_manifest) if name == "manifest" else (parse_rollout, wanted_of_rollout)
    )
    assert document["planner"]["planner_input"] and wanted(document) != document
    assert wanted(parse(orjson.dumps(document))) == wanted(document)
    for path in places(document):
        added = replaced(document, (*path[:-1], "more"), 1) if isinstance(path[-1], str) else document
        for damaged in [added, without(document, path), *(replaced(document, path, value) for value in WRONG)]:
            text = orjson.dumps(damaged)
            assert parsed(parse, text, wanted) == parsed(orjson.loads, text, wanted), path


@settings(max_examples=500, deadline=None)
@given(data=st.data(), name=st.sampled_from(["manifest", "rollout"]))
def test_a_text_that_is_no_json_is_refused_with_the_same_words(data: st.DataObject, name: str) -> None:
    text = bytearray(orjson.dumps({**DOCUMENTS[name], "note": "für später"}, option=orjson.OPT_INDENT_2))
    if data.draw(st.booleans()):
        del text[data.draw(st.integers(0, len(text) - 1)) :]
    else:
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    parse, wanted = (
        (KnownRuns().parse_manifest, wanted_of_manifest) if name == "manifest" else (parse_rollout, wanted_of_rollout)
    )
    assert parsed(parse, bytes(text), wanted) == parsed(orjson.loads, bytes(text), wanted)


@pytest.mark.parametrize("depth", [500, 1500, 100_000])
@pytest.mark.parametrize("key", ["issue", "outcomes", "planner", "note"])
@pytest.mark.parametrize("parse", [KnownRuns().parse_manifest, parse_rollout])
def test_a_text_is_not_refused_for_other_depths_than_in_the_whole(
    parse: Callable[[bytes], Any], key: str, depth: int
) -> None:
    text = b'{"%s": %s}' % (key.encode(), b"[" * depth + b"]" * depth)
    assert parsed(parse, text, type) == parsed(orjson.loads, text, type)


def test_a_run_that_several_manifests_hold_is_parsed_and_packed_once() -> None:
    known = KnownRuns()
    other = {**SUMMARY, "run_id": "wc-2"}
    first, second = known.parse_manifest(with_runs(SUMMARY, other)), known.parse_manifest(with_runs(other))
    assert runs_of(second)[0] is runs_of(first)[1]
    packed = [known.pack(manifest["planner"]["planner_input"], "planner_input") for manifest in (first, second)]
    assert packed[1].runs[0] is packed[0].runs[1]


@pytest.mark.parametrize("changed", [{"started_ms": 1.0}, {"started_ms": True}, {"note": None}, {"tags": []}])
def test_runs_that_differ_in_anything_are_two(changed: dict[str, Any]) -> None:
    known = KnownRuns()
    first, second = runs_of(known.parse_manifest(with_runs(SUMMARY, {**SUMMARY, **changed})))
    assert canonical_json(first) == canonical_json(SUMMARY)
    assert canonical_json(second) == canonical_json({**SUMMARY, **changed}) != canonical_json(first)


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("text", ["plain", '"last_n_similar_runs":[', '","history":{"last_n_similar_runs":[]}', "é\\"])
def test_a_packed_context_is_its_canonical_json_whatever_texts_it_holds(number: int, text: str) -> None:
    document = copy.deepcopy(DOCUMENTS["manifest"]["planner"]["planner_input"])
    document["issue"]["title"] = document["universe_id"] = text
    document["action_space"]["swarm_ids"] = [text]
    document["action_space"]["validity_rules"] = []
    runs = [{**SUMMARY, "run_id": f"{text}-{i}"} for i in range(number)]
    document["history"]["last_n_similar_runs"] = runs
    for packed in (PackedContext.of(document), PackedContext.of(document, list(map(pack_run, runs)))):
        assert packed.text == canonical_json(document)
        assert [run.run_id for run in packed.runs] == [run["run_id"] for run in runs]
