"""Reading what the kernel left behind: real archives with their odd cases, and archives made to break a reader."""

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
from planner.artifacts.records import KnownRuns, PackedContext, Quarantine, RunRecord
from planner.artifacts.repo import RepoArtifacts, read_repo
from planner.artifacts.universe import choose_universe, load_kernel_config
from planner.artifacts.worlds import read_world_runs
from planner.contracts.document import timestamp_to_ms, validate
from planner.contracts.kernel import PlannerInput, RunSummary
from planner.errors import ActionError, ArtifactError, ContractError
from tests.conftest import CORPUS, FIXTURES
from tests.planner.mutations import WRONG, places, replaced, without

DAY = "20261122T"


def archive(number: str) -> str:
    """The archive's name for its issue and time, such as "1-195134Z"."""
    issue, rest = number.split("-", 1)
    return f"wc-{issue}-{DAY}{rest}"


@pytest.fixture(scope="module")
def repo() -> RepoArtifacts:
    """The excerpt as it is in the fixtures."""
    return read_repo(CORPUS)


@pytest.fixture(scope="module")
def runs(repo: RepoArtifacts) -> dict[str, RunRecord]:
    """Its runs by id."""
    return {run.run_id: run for run in repo.runs}


def reasons(repo: RepoArtifacts) -> dict[str, tuple[str, str]]:
    """Path in quarantine -> consequence, reason."""
    return {entry["path"]: (entry["consequence"], entry["reason"]) for entry in repo.quarantine}


def manifest_of(run_id: str) -> dict[str, Any]:
    """The manifest of one archive of the excerpt."""
    return orjson.loads((CORPUS / ".cyntra" / "archives" / run_id / "manifest.json").read_bytes())


def test_every_summary_follows_its_schema(repo: RepoArtifacts) -> None:
    assert len(repo.runs) >= 30
    for run in repo.runs:
        RunSummary.model_validate(run.summary)


def test_executed_swarm_candidates_and_timeout_are_those_of_the_executed_plan(runs: dict[str, RunRecord]) -> None:
    checked = 0
    for path in sorted(CORPUS.glob(".cyntra/archives/*/manifest.json")):
        try:
            plan = orjson.loads(path.read_bytes()).get("planner", {}).get("executed_plan")
        except orjson.JSONDecodeError:
            continue
        run = runs.get(path.parent.name)
        if plan is None or run is None:
            continue
        action = run.summary["action_executed"]
        assert run.executed_plan == plan
        assert action["swarm_id"] == plan["swarm_id_executed"]
        assert action["max_candidates"] == plan["max_candidates_executed"]
        assert action["max_minutes"] == plan["timeout_seconds_executed"] // 60
        checked += 1
    assert checked >= 25


def test_a_run_starts_when_its_agent_was_started_and_not_when_its_directory_was_written(
    runs: dict[str, RunRecord],
) -> None:
    lines = (FIXTURES / "corpus-launches.jsonl").read_bytes().splitlines()
    launches = {launch["workcell"]: launch["start_s"] for launch in map(orjson.loads, lines)}
    checked = 0
    for run_id, start_s in launches.items():
        if run_id in runs:
            assert abs(runs[run_id].started_ms / 1000 - start_s) < 2
            checked += 1
    assert checked >= 25


def test_no_run_lies_outside_the_time_of_its_process(runs: dict[str, RunRecord]) -> None:
    lines = (FIXTURES / "corpus-runs.jsonl").read_bytes().splitlines()
    checked = 0
    for logged in map(orjson.loads, lines):
        # Two kernels ran at once, and the driver listed whatever was new: only a lone archive is surely this run's.
        for run in (runs[run_id] for run_id in set(logged["new_archives"]) & set(runs)):
            if run.issue_id != logged["issue"] or len(logged["new_archives"]) > 1:
                continue
            assert logged["start_s"] - 2 <= run.decided_ms / 1000 <= run.ended_ms / 1000 <= logged["end_s"] + 2
            checked += 1
    assert checked >= 12


@pytest.mark.parametrize(
    ("number", "status", "codes"),
    [
        ("2-194554Z", "success", []),
        ("25-194559Z-spec-codex", "success", []),
        ("15-194557Z", "failed", ["test"]),
        ("20-194630Z", "failed", ["test"]),
        ("3-194710Z", "failed", ["status:failed"]),
        ("17-194656Z-spec-opencode", "failed", ["status:failed"]),
        ("10-194721Z", "timeout", ["timeout"]),
        ("11-195903Z", "timeout", ["timeout"]),
        ("18-195416Z", "timeout", ["timeout"]),
        ("7-194713Z", "timeout", ["timeout"]),
        ("12-195850Z-spec-codex", "timeout", ["status:timeout"]),
        ("5-195126Z-spec-crush", "timeout", ["status:timeout"]),
    ],
)
def test_a_run_has_the_outcome_that_the_contract_page_gives_it(
    runs: dict[str, RunRecord], number: str, status: str, codes: list[str]
) -> None:
    outcome = runs[archive(number)].summary["outcome"]
    assert outcome["status"] == status
    assert set(codes) <= set(outcome["fail_codes"])
    assert bool(outcome["fail_codes"]) == (status != "success")


def test_gates_come_from_the_proof(runs: dict[str, RunRecord]) -> None:
    gates = runs[archive("15-194557Z")].summary["outcome"]["gates"]
    assert gates == [{"name": "test", "passed": False}, {"name": "lint", "passed": True}]


def test_a_run_that_only_the_event_log_tells_of_lasts_from_its_start_to_its_failure(
    runs: dict[str, RunRecord],
) -> None:
    run_id = archive("10-194721Z")
    events = [orjson.loads(line) for line in (CORPUS / ".cyntra/logs/events.jsonl").read_bytes().splitlines()]
    times = {e["type"]: timestamp_to_ms(e["timestamp"]) for e in events if e.get("workcell_id") == run_id}
    run = runs[run_id]
    assert (run.started_ms, run.ended_ms) == (times["workcell.started"], times["workcell.failed"])
    assert run.summary["runtime"]["duration_ms"] == run.ended_ms - run.started_ms


def test_a_cut_manifest_is_replaced_by_the_rollouts_copy_of_the_plan(
    repo: RepoArtifacts, runs: dict[str, RunRecord]
) -> None:
    run = runs[archive("1-195134Z")]
    assert run.executed_plan is not None and run.planner_input is not None
    assert run.issue_id == "1"
    consequence, reason = reasons(repo)[f".cyntra/archives/{run.run_id}/manifest.json"]
    assert consequence == "repaired" and "not JSON" in reason


def test_a_missing_manifest_is_replaced_by_the_rollouts_copy_of_the_plan(runs: dict[str, RunRecord]) -> None:
    run = runs[archive("18-195357Z")]
    assert run.executed_plan is not None
    assert (run.issue_id, run.summary["outcome"]["status"]) == ("18", "failed")


def test_a_cut_rollout_leaves_the_end_to_the_proof(repo: RepoArtifacts, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("12-195440Z")]
    proof = orjson.loads((CORPUS / ".cyntra/archives" / run.run_id / "proof.json").read_bytes())
    assert run.ended_ms == timestamp_to_ms(proof["metadata"]["completed_at"])
    assert run.summary["outcome"]["status"] == "success"
    assert reasons(repo)[f".cyntra/archives/{run.run_id}/rollout.json"][0] == "repaired"


def test_an_empty_proof_leaves_the_outcome_to_the_rollout(repo: RepoArtifacts, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("15-194921Z")]
    assert run.summary["outcome"] == {"status": "success", "fail_codes": [], "gates": []}
    assert reasons(repo)[f".cyntra/archives/{run.run_id}/proof.json"] == ("repaired", "empty file")


def test_a_skewed_clock_leaves_the_start_to_the_event_log(repo: RepoArtifacts, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("22-195317Z")]
    assert run.started_ms <= run.ended_ms
    assert run.summary["runtime"]["duration_ms"] >= 0
    assert "clock skew" in reasons(repo)[f".cyntra/archives/{run.run_id}/proof.json"][1]


def test_a_run_without_a_plan_is_history_and_never_a_label(runs: dict[str, RunRecord]) -> None:
    run = runs[archive("2-195912Z-spec-claude")]
    assert run.executed_plan is None and run.planner_input is None
    assert set(run.summary["action_executed"].values()) == {None}
    assert run.summary["outcome"]["status"] == "success"


def test_an_interrupted_run_is_set_aside(repo: RepoArtifacts, runs: dict[str, RunRecord]) -> None:
    run_id = archive("2-200024Z")
    assert run_id not in runs
    consequence, reason = reasons(repo)[f".cyntra/archives/{run_id}"]
    assert consequence == "dropped" and "interrupted" in reason


def test_everything_that_was_set_aside_has_its_path_and_reason(corpus: Path) -> None:
    found = reasons(read_repo(corpus))
    archives = ".cyntra/archives"
    assert found[f"{archives}/.DS_Store"] == ("dropped", "stray file among the archives")
    assert found[f"{archives}/wc-99-20260101T000000Z"][0] == "dropped"
    assert found[".beads/issues.jsonl:4"][0] == "dropped"
    assert len(found) == 8


def test_the_issue_behind_a_broken_line_is_lost_and_no_other(repo: RepoArtifacts) -> None:
    lines = (CORPUS / ".beads/issues.jsonl").read_bytes().splitlines()
    assert len(repo.issues) == len(lines) - 1
    assert "broken" not in repo.issues and "1" not in repo.issues


def test_modification_times_do_not_matter(corpus: Path, repo: RepoArtifacts) -> None:
    for number, path in enumerate(sorted(corpus.rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + 7919 * number % 10_000))
    assert read_repo(corpus).runs == repo.runs


def test_an_evolution_is_one_run_with_the_population_and_generations_that_ran(runs: dict[str, RunRecord]) -> None:
    run = runs["evolve_world_outora_library_20261122T200044Z"]
    assert run.executed_plan is not None
    assert run.executed_plan["max_candidates_executed"] == 1
    assert run.executed_plan["max_iterations_executed"] == 3
    assert run.summary["outcome"]["status"] == "success"
    manifests = [orjson.loads(p.read_bytes()) for p in sorted(CORPUS.glob(".cyntra/runs/*seed6*/manifest.json"))]
    spent = sum(stage["duration_ms"] for manifest in manifests for stage in manifest["stages"])
    assert run.summary["runtime"]["duration_ms"] == pytest.approx(spent, abs=len(manifests))
    assert run.started_ms == min(timestamp_to_ms(manifest["created_at"]) for manifest in manifests)
    assert run.summary["tags"] == ["fab", "interior_architecture"]


def test_an_evolution_without_a_winner_has_failed(runs: dict[str, RunRecord]) -> None:
    run = runs["evolve_world_outora_library_20261122T200054Z"]
    assert run.summary["outcome"]["status"] == "failed"
    assert run.summary["action_executed"]["max_candidates"] == 2


def test_an_evolutions_candidates_are_no_runs_of_their_own(runs: dict[str, RunRecord]) -> None:
    assert not [run_id for run_id in runs if run_id.startswith("evo_")]


def test_a_world_run_outside_any_evolution_is_history_without_an_action(corpus: Path) -> None:
    for path in corpus.glob(".cyntra/runs/evolve_world_*"):
        shutil.rmtree(path)
    records = {run.run_id: run for run in read_repo(corpus).runs if run.kind == "world_run"}
    assert {run.summary["outcome"]["status"] for run in records.values()} == {"success", "failed"}
    assert all(run.executed_plan is None and run.objective_id == "realism_perf_v1" for run in records.values())


def test_a_candidate_cannot_lead_the_reader_out_of_the_runs_directory(corpus: Path) -> None:
    (corpus.parent / "outside").mkdir()
    (corpus.parent / "outside" / "manifest.json").write_text('{"created_at": "2020-01-01T00:00:00Z"}')
    path = corpus / ".cyntra/runs/evolve_world_outora_library_20261122T200054Z/evolve_world.json"
    document = orjson.loads(path.read_bytes())
    for candidate, run_id in zip(document["history"][0]["candidates"], ["../../../outside", "a\0b"], strict=True):
        candidate["run_id"] = run_id
    path.write_bytes(orjson.dumps(document))
    found = read_repo(corpus)
    assert path.parent.name not in {run.run_id for run in found.runs}
    assert any(entry["path"].endswith(path.parent.name) for entry in found.quarantine)


# --- archives made to break a reader ---------------------------------------------------------------------------------

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
    orjson.dumps(record, default=bytes.decode)
    return record


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_archive_never_breaks_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    documents = dict(DOCUMENTS)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(documents)))
        path = data.draw(st.sampled_from(sorted(places(documents[name]), key=repr) or [None]))
        if path is None:
            continue
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


def test_a_damaged_context_is_judged_the_same_whatever_runs_are_known_by_then(repo: RepoArtifacts) -> None:
    def pack_alone(document: dict[str, Any]) -> PackedContext:
        validate(PlannerInput, document, "planner_input")
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


def test_a_run_that_differs_from_a_known_one_in_a_type_alone_is_not_that_run(repo: RepoArtifacts) -> None:
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
    found = read_repo(tmp_path / "repo")
    assert [run.run_id for run in found.runs] == ["wc-1-20260101T000000Z"]
    dropped = {entry["path"] for entry in found.quarantine if entry["consequence"] == "dropped"}
    assert dropped == {f".cyntra/archives/{name}" for name in (*cases, "looping directory")}


def test_a_directory_whose_name_is_no_text_is_set_aside(tmp_path: Path) -> None:
    archives = write_archive(tmp_path / "repo", DOCUMENTS).parent
    Path(os.fsdecode(os.fsencode(archives) + b"/wc-\xff")).mkdir()
    found = read_repo(tmp_path / "repo")
    assert len(found.runs) == 1
    orjson.dumps(found.quarantine)
    assert "UTF-8" in found.quarantine[0]["reason"]


def test_a_broken_event_line_costs_that_line_alone(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    good = {"type": "workcell.started", "timestamp": "2026-01-01T00:00:00Z", "workcell_id": "a"}
    bad = [b'{"type": "workcell.started"', b'"workcell."', b'["workcell.x"]']
    bad += [orjson.dumps({**good, "workcell_id": value}) for value in ([1], {})]
    log.write_bytes(b"\n".join([*bad, orjson.dumps(good), b"\xff\xfe", orjson.dumps({**good, "timestamp": 5})]))
    quarantine = Quarantine(tmp_path)
    assert set(read_events(log, quarantine)) == {"a"}
    assert [entry["path"] for entry in quarantine.entries] == [f"events.jsonl:{n}" for n in range(1, 6)]


def test_a_log_that_cannot_be_read_is_reported_and_a_missing_one_is_not(corpus: Path) -> None:
    shutil.rmtree(corpus / ".cyntra" / "logs")
    assert not any("events" in entry["path"] for entry in read_repo(corpus).quarantine)
    (corpus / ".cyntra" / "logs" / "events.jsonl").mkdir(parents=True)
    (corpus / ".beads" / "issues.jsonl").unlink()
    (corpus / ".beads" / "issues.jsonl").mkdir()
    paths = {entry["path"] for entry in read_repo(corpus).quarantine}
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
        orjson.dumps(run)
        hash((run.world_id, run.objective_id, run.universe_id))


# --- universes and the kernel's config -------------------------------------------------------------------------------


def test_a_universe_gives_its_defaults_catalogue_and_cap(corpus: Path) -> None:
    universe = choose_universe(corpus, None)
    assert (universe.universe_id, universe.default_swarm_id) == ("medica", "speculate_vote")
    assert universe.default_objective_id == "realism_perf_v1"
    assert universe.max_run_minutes == 120
    assert universe.action_space.swarm_ids == ("serial_handoff", "speculate_vote")


def test_an_unknown_universe_is_refused_with_those_that_there_are(corpus: Path) -> None:
    with pytest.raises(ArtifactError, match="medica"):
        choose_universe(corpus, "atlantis")


def test_yaml_keys_and_values_that_json_does_not_know_become_text(corpus: Path) -> None:
    (corpus / "universes/medica/swarms.yaml").write_text("swarms: {7: {}, on: {}, relay: {since: 2026-01-01}}")
    assert choose_universe(corpus, "medica").action_space.swarm_ids == ("7", "True", "relay")
    config = corpus / ".cyntra" / "config.yaml"
    config.write_text("on: 1\nwhen: 2026-01-01\nsome: !!set {a, b}\n")
    orjson.dumps(load_kernel_config(config))


def test_a_config_includes_another_deeply_and_lists_replace(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: 1")
    (tmp_path / "config.yaml").write_text("include: base.yaml\na: {c: [3]}")
    assert load_kernel_config(tmp_path / "config.yaml") == {"a": {"b": 1, "c": [3]}, "d": 1}


@pytest.mark.parametrize("text", ["include: config.yaml", "include: [a]", "- list", "a: [", "include: absent.yaml"])
def test_a_config_that_cannot_be_used_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ArtifactError, match="yaml"):
        load_kernel_config(tmp_path / "config.yaml")


def test_a_directory_without_cyntra_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no \.cyntra directory"):
        read_repo(tmp_path)
