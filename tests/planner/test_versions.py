"""Documents of other versions than ours: unknown keys are kept and reported once, known versions are upgraded."""

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.repo import Repo
from planner.artifacts.versions import FORMATS, UnknownKeys, read
from planner.bundle import load_bundle
from planner.contracts.document import validate
from planner.contracts.kernel import PlannerAction, PlannerInput, input_hash
from planner.contracts.versions import Format
from planner.dataset.build import build_dataset
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.errors import ContractError
from planner.serve import decide_stream
from tests.conftest import FIXTURES

BUNDLE = FIXTURES / "frozen" / "bundle-v1"
QUESTION: dict[str, Any] = orjson.loads((BUNDLE / "planner_input.json").read_bytes())
ANSWER: dict[str, Any] = orjson.loads((BUNDLE / "decision.json").read_bytes())
LEVELS = (
    (),
    ("universe_defaults",),
    ("issue",),
    ("history",),
    ("history", "last_n_similar_runs", 0),
    ("history", "last_n_similar_runs", 0, "action_executed"),
    ("history", "last_n_similar_runs", 0, "outcome"),
    ("history", "last_n_similar_runs", 0, "runtime"),
    ("action_space",),
    ("system_state",),
)
"""Where a later kernel may add a key to a planner_input."""
RUN = {
    "run_id": "wc-0",
    "started_ms": 1,
    "job_type": "code",
    "domain": "code",
    "action_executed": {"swarm_id": None, "max_candidates": None, "max_minutes": None, "max_iterations": None},
    "outcome": {"status": "success", "fail_codes": [], "gates": []},
    "runtime": {"duration_ms": 5},
}


def with_key(document: dict[str, Any], path: tuple[Any, ...], key: str = "of_later") -> dict[str, Any]:
    """A copy that has one more key in the mapping at ``path``; histories and states that lack are filled."""
    changed = copy.deepcopy(document)
    changed["history"]["last_n_similar_runs"] = changed["history"]["last_n_similar_runs"] or [copy.deepcopy(RUN)]
    changed["system_state"] = changed["system_state"] or {}
    place = changed
    for part in path:
        place = place[part]
    place[key] = {"last_n_similar_runs": [1]}
    return changed


def name_of(path: tuple[Any, ...]) -> str:
    return ".".join(["planner_input", *map(str, path), "of_later"]).replace(".0", "[]")


@pytest.mark.parametrize("path", LEVELS, ids=lambda path: ".".join(map(str, path)) or "top")
def test_a_context_with_an_unknown_key_is_decided_and_hashed_as_it_came(path: tuple[Any, ...]) -> None:
    question = with_key(QUESTION, path)
    before = copy.deepcopy(question)
    decision = decide(question, load_bundle(BUNDLE / "bundle"))
    assert decision.executed_plan["fallback_reason"] is None
    assert decision.planner_action["input_hash"] == input_hash(question)
    assert decision.unknown_keys == {name_of(path): 1}
    assert question == before


def test_a_server_reports_each_unknown_key_once_and_answers_every_line(capfd: pytest.CaptureFixture[str]) -> None:
    odd = with_key(QUESTION, ())
    lines = [odd, QUESTION, odd, with_key(odd, ("issue",), "line\nbreak")]
    sink = io.BytesIO()
    source = io.BytesIO(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    decide_stream(BUNDLE / "bundle", source, sink, "enforce", (None, None, None), True)
    answers = [orjson.loads(line) for line in sink.getvalue().splitlines()]
    assert [set(answer) for answer in answers] == [{"planner_action", "executed_plan"}] * 4
    assert not any(answer["executed_plan"]["fallback_applied"] for answer in answers)
    assert capfd.readouterr().err.splitlines() == [
        "unknown key planner_input.of_later: kept, not used",
        r"unknown key planner_input.issue.line\nbreak: kept, not used",
    ]


def later_corpus(corpus: Path) -> None:
    """Give every recorded document of the corpus a key at its top, as a later kernel may."""
    for path in corpus.glob(".cyntra/archives/*/*.json"):
        try:
            document = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError:
            continue
        document["of_later"] = 1
        for part in [name for name in document.get("planner") or () if name in FORMATS and document["planner"][name]]:
            document["planner"][part]["of_later"] = {"last_n_similar_runs": [1]}
        path.write_bytes(orjson.dumps(document))


def test_a_corpus_of_a_later_kernel_is_read_whole_and_its_keys_are_counted(corpus: Path) -> None:
    before = Repo(corpus).read_all()
    later_corpus(corpus)
    after = Repo(corpus).read_all()
    assert after.quarantine.entries == before.quarantine.entries
    assert [run.summary for run in after.runs] == [run.summary for run in before.runs]
    recorded = [run.planner_input for run in after.runs if run.planner_input]
    assert len(recorded) == sum(run.planner_input is not None for run in before.runs) > 20
    assert all(orjson.loads(context.text)["of_later"] == {"last_n_similar_runs": [1]} for context in recorded)
    assert not before.quarantine.unknown_keys
    assert after.quarantine.unknown_keys.keys() == {"planner_input.of_later", "executed_plan.of_later"}
    assert after.quarantine.unknown_keys["planner_input.of_later"] >= len(recorded)


def test_a_dataset_keeps_unknown_keys_and_says_them_once(corpus: Path, corpus_dataset: Path, tmp_path: Path) -> None:
    later_corpus(corpus)
    info = build_dataset(corpus, tmp_path / "dataset")
    plain = load_dataset(corpus_dataset)
    assert (info.contexts, info.quarantine) == (plain.info.contexts, plain.info.quarantine)
    assert info.unknown_keys.keys() == {"planner_input.of_later", "executed_plan.of_later"}
    opened = load_dataset(tmp_path / "dataset")
    assert sum("of_later" in context for s in opened.splits.values() for context in s.contexts()) == 22
    lines = UnknownKeys(info.unknown_keys).lines
    assert len(lines) == 2 and "planner_input.of_later: kept, not used (" in lines[1]
    # The tokens do not see what no contract names.
    assert opened.info.vocabulary == plain.info.vocabulary


def test_what_we_write_has_no_unknown_key() -> None:
    for path in LEVELS:
        if path in ((), ("history",), ("history", "last_n_similar_runs", 0, "outcome"), ("action_space",)):
            with pytest.raises(ContractError, match="of_later"):
                validate(PlannerInput, with_key(QUESTION, path), "planner_input")
    with pytest.raises(ContractError, match="of_later"):
        validate(PlannerAction, {**ANSWER["planner_action"], "of_later": 1}, "planner_action")


@pytest.mark.parametrize("kind", ["planner_action", "executed_plan"])
def test_decisions_and_plans_with_unknown_keys_are_read(kind: str) -> None:
    document, unknown = read(kind, {**ANSWER[kind], "of_later": [1]})
    assert document["of_later"] == [1] and unknown == {f"{kind}.of_later": 1}


def test_a_version_that_nobody_knows_is_refused_in_one_sentence(corpus: Path) -> None:
    later = {**QUESTION, "schema_version": "cyntra.planner_input.v9"}
    reason = decide(later, load_bundle(BUNDLE / "bundle")).executed_plan["fallback_reason"]
    assert reason == (
        "invalid_input: planner_input: $.schema_version: 'cyntra.planner_input.v9' is no version of planner_input that "
        "this program reads (it reads cyntra.planner_input.v1): take a version of the planner that does"
    )
    path = next(p for p in sorted(corpus.glob(".cyntra/archives/*15-20261122T194557Z/manifest.json")))
    document = orjson.loads(path.read_bytes())
    document["planner"]["planner_input"] = later
    path.write_bytes(orjson.dumps(document))
    (entry,) = [e for e in Repo(corpus).read_all().quarantine.entries if "v9" in e["reason"]]
    assert entry["path"].endswith("manifest.json") and "take a version of the planner that does" in entry["reason"]


def test_a_new_version_costs_one_step_from_outside(corpus: Path) -> None:
    """In a process of its own, for what is registered stays."""
    code = f"""
import orjson, sys
from pathlib import Path
from planner.artifacts.repo import Repo
from planner.artifacts.versions import add_version
from planner.bundle import load_bundle
from planner.decision import decide

def from_v2(document):
    universe_id = document.pop("universe")
    return {{**document, "schema_version": "cyntra.planner_input.v1", "universe_id": universe_id}}

def from_v3(document):
    return {{**document["body"], "schema_version": "cyntra.planner_input.v2"}}

add_version("planner_input", "cyntra.planner_input.v2", from_v2)
add_version("planner_input", "cyntra.planner_input.v3", from_v3)

def to_v3(document):
    body = {{**document, "universe": document["universe_id"]}}
    del body["universe_id"], body["schema_version"]
    return {{"schema_version": "cyntra.planner_input.v3", "body": body}}

question = orjson.loads(Path({str(BUNDLE / "planner_input.json")!r}).read_bytes())
decision = decide(to_v3(question), load_bundle(Path({str(BUNDLE / "bundle")!r})))
assert decision.executed_plan["fallback_reason"] is None, decision.executed_plan
assert decision.unknown_keys == {{}}, decision.unknown_keys
before = Repo(Path({str(corpus)!r})).read_all()
for path in Path({str(corpus)!r}).glob(".cyntra/archives/*/*.json"):
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        continue
    if "planner_input" in (document.get("planner") or ()):
        document["planner"]["planner_input"] = to_v3(document["planner"]["planner_input"])
        path.write_bytes(orjson.dumps(document))
after = Repo(Path({str(corpus)!r})).read_all()
assert [run.planner_input for run in after.runs] == [run.planner_input for run in before.runs]
assert after.quarantine.entries == before.quarantine.entries
print("read", sum(run.planner_input is not None for run in after.runs))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 20


def test_steps_that_lead_nowhere_end_with_a_sentence() -> None:
    circle = Format(
        "thing", "v1", {"v2": lambda d: {**d, "schema_version": "v3"}, "v3": lambda d: {**d, "schema_version": "v2"}}
    )
    with pytest.raises(ContractError, match="'v2' is no version of thing"):
        circle.upgraded({"schema_version": "v2"}, "thing")
