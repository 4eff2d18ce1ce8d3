"""The documents: models and schemas agree, bad documents are refused with a place, hashes are the kernel's."""

import random
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from planner.contracts.document import canonical_json, ms_to_timestamp, parse, read_document, timestamp_to_ms, validate
from planner.contracts.kernel import ExecutedPlan, PlannerInput, input_hash
from planner.contracts.schemas import SCHEMAS, schema_of
from planner.errors import ContractError
from schemas import load_schema, schema_names
from tests.conftest import CORPUS
from tests.planner.mutations import WRONG, places, replaced, without

KEYS = {
    "planner_input": "planner_input.v1",
    "planner_action": "planner_action.v1",
    "executed_plan": "executed_plan.v1",
}


def recorded() -> list[tuple[str, dict[str, Any]]]:
    """(schema name, document) of every document that the kernel recorded in the corpus, run summaries included."""
    found = []
    for path in sorted(CORPUS.glob(".cyntra/archives/*/manifest.json")):
        try:
            planner = orjson.loads(path.read_bytes()).get("planner") or {}
        except orjson.JSONDecodeError:
            continue
        found += [(name, planner[key]) for key, name in KEYS.items() if key in planner]
        runs = planner.get("planner_input", {}).get("history", {}).get("last_n_similar_runs", [])
        found += [("run_summary.v1", run) for run in runs[:2]]
    return found


RECORDED = recorded()


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_schema_file_is_the_one_that_its_model_makes(name: str) -> None:
    assert load_schema(name) == schema_of(name)
    Draft202012Validator.check_schema(load_schema(name))


def test_there_is_a_model_for_every_schema_file() -> None:
    # Those of commands' results: tests/test_json.py.
    assert [name for name in schema_names() if not name.startswith("command_")] == sorted(SCHEMAS)


def test_every_document_that_the_kernel_recorded_is_accepted_by_model_and_schema() -> None:
    assert len(RECORDED) > 100
    for name, document in RECORDED:
        Draft202012Validator(load_schema(name)).validate(document)
        SCHEMAS[name].model_validate(document)


@pytest.mark.parametrize("name", ["planner_input.v1", "planner_action.v1", "executed_plan.v1", "run_summary.v1"])
def test_model_and_schema_agree_on_damaged_documents(name: str) -> None:
    document = max((d for n, d in RECORDED if n == name), key=lambda d: len(orjson.dumps(d)))
    validator = Draft202012Validator(load_schema(name))
    draw = random.Random(name)
    damaged = [{**document, "unknown_key": 1}]
    paths = list(places(document))
    for path in draw.sample(paths, min(len(paths), 120)):
        damaged.append(without(document, path))
        damaged += [replaced(document, path, value) for value in draw.sample(WRONG, 4)]
    verdicts = []
    for candidate in damaged:
        try:
            SCHEMAS[name].model_validate(candidate)
            accepted = True
        except ValidationError:
            accepted = False
        assert validator.is_valid(candidate) == accepted, candidate
        verdicts.append(accepted)
    assert verdicts.count(False) > 30


def test_a_bad_document_is_refused_with_file_path_and_reason(tmp_path: Any) -> None:
    document = next(d for n, d in RECORDED if n == "planner_input.v1" and d["history"]["last_n_similar_runs"])
    file = tmp_path / "planner_input.json"
    file.write_bytes(orjson.dumps(replaced(document, ("history", "last_n_similar_runs", 0, "started_ms"), "yesterday")))
    with pytest.raises(ContractError) as caught:
        read_document(PlannerInput, file)
    assert caught.value.source == str(file)
    assert caught.value.path == "$.history.last_n_similar_runs[0].started_ms"
    assert "yesterday" in caught.value.reason


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"a": NaN}', b"\xff\xfe", b"null"])
def test_text_that_is_no_document_is_refused_without_a_traceback(text: bytes) -> None:
    with pytest.raises(ContractError, match="plan"):
        parse(ExecutedPlan, text, "plan.json")


def test_a_missing_file_is_refused_without_a_traceback(tmp_path: Any) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        read_document(ExecutedPlan, tmp_path / "absent.json")


def test_numbers_are_not_accepted_as_text_nor_text_as_numbers() -> None:
    plan = next(d for n, d in RECORDED if n == "executed_plan.v1")
    for changes in ({"swarm_id_executed": 1}, {"max_candidates_executed": "1"}, {"fallback_applied": 0}):
        with pytest.raises(ContractError):
            validate(ExecutedPlan, {**plan, **changes}, "plan")


def test_canonical_json_sorts_keys_has_no_spaces_and_keeps_letters() -> None:
    assert (
        canonical_json({"b": [1, 2.5], "a": {"é": None, "A": "ü"}}) == '{"a":{"A":"ü","é":null},"b":[1,2.5]}'.encode()
    )


def test_the_input_hash_is_the_one_that_the_kernel_recorded() -> None:
    checked = 0
    for path in sorted(CORPUS.glob(".cyntra/archives/*/rollout.json")):
        try:
            planner = orjson.loads(path.read_bytes()).get("planner") or {}
        except orjson.JSONDecodeError:
            continue
        if "planner_input" in planner:
            assert input_hash(planner["planner_input"]) == planner["planner_action"]["input_hash"]
            checked += 1
    assert checked >= 18


def test_the_input_hash_depends_on_everything_but_the_moment() -> None:
    document = next(d for n, d in RECORDED if n == "planner_input.v1")
    assert input_hash({**document, "created_at": "2020-01-01T00:00:00Z"}) == input_hash(document)
    assert input_hash({**document, "universe_id": "another"}) != input_hash(document)


def test_timestamps_survive_the_way_to_milliseconds_and_back() -> None:
    assert timestamp_to_ms("2026-11-22T19:45:54.416128Z") == 1795376754416
    assert timestamp_to_ms("2026-11-22T20:45:54.416128+01:00") == 1795376754416
    assert ms_to_timestamp(1795376754416) == "2026-11-22T19:45:54.416000Z"
