"""Reading what the kernel left behind: real archives with their odd cases."""

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.records import RunRecord
from planner.artifacts.repo import Repo
from planner.contracts.document import timestamp_to_ms
from planner.contracts.kernel import RunSummary
from tests.conftest import CORPUS, FIXTURES

DAY = "20261122T"


def archive(number: str) -> str:
    """The archive's name for its issue and time, such as "1-195134Z"."""
    issue, rest = number.split("-", 1)
    return f"wc-{issue}-{DAY}{rest}"


@pytest.fixture(scope="module")
def repo() -> Repo:
    """The excerpt as it is in the fixtures."""
    return Repo(CORPUS).read_all()


@pytest.fixture(scope="module")
def runs(repo: Repo) -> dict[str, RunRecord]:
    """Its runs by id."""
    return {run.run_id: run for run in repo.runs}


def reasons(repo: Repo) -> dict[str, tuple[str, str]]:
    """Path in quarantine -> consequence, reason."""
    return {entry["path"]: (entry["consequence"], entry["reason"]) for entry in repo.quarantine.entries}


def manifest_of(run_id: str) -> dict[str, Any]:
    """The manifest of one archive of the excerpt."""
    return orjson.loads((CORPUS / ".cyntra" / "archives" / run_id / "manifest.json").read_bytes())


def test_every_summary_follows_its_schema(repo: Repo) -> None:
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


def test_a_cut_manifest_is_replaced_by_the_rollouts_copy_of_the_plan(repo: Repo, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("1-195134Z")]
    assert run.executed_plan is not None and run.planner_input is not None
    assert run.issue_id == "1"
    consequence, reason = reasons(repo)[f".cyntra/archives/{run.run_id}/manifest.json"]
    assert consequence == "repaired" and "not JSON" in reason


def test_a_missing_manifest_is_replaced_by_the_rollouts_copy_of_the_plan(runs: dict[str, RunRecord]) -> None:
    run = runs[archive("18-195357Z")]
    assert run.executed_plan is not None
    assert (run.issue_id, run.summary["outcome"]["status"]) == ("18", "failed")


def test_a_cut_rollout_leaves_the_end_to_the_proof(repo: Repo, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("12-195440Z")]
    proof = orjson.loads((CORPUS / ".cyntra/archives" / run.run_id / "proof.json").read_bytes())
    assert run.ended_ms == timestamp_to_ms(proof["metadata"]["completed_at"])
    assert run.summary["outcome"]["status"] == "success"
    assert reasons(repo)[f".cyntra/archives/{run.run_id}/rollout.json"][0] == "repaired"


def test_an_empty_proof_leaves_the_outcome_to_the_rollout(repo: Repo, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("15-194921Z")]
    assert run.summary["outcome"] == {"status": "success", "fail_codes": [], "gates": []}
    assert reasons(repo)[f".cyntra/archives/{run.run_id}/proof.json"] == ("repaired", "empty file")


def test_a_skewed_clock_leaves_the_start_to_the_event_log(repo: Repo, runs: dict[str, RunRecord]) -> None:
    run = runs[archive("22-195317Z")]
    assert run.started_ms <= run.ended_ms
    assert run.summary["runtime"]["duration_ms"] >= 0
    assert "clock skew" in reasons(repo)[f".cyntra/archives/{run.run_id}/proof.json"][1]


def test_a_run_without_a_plan_is_history_and_never_a_label(runs: dict[str, RunRecord]) -> None:
    run = runs[archive("2-195912Z-spec-claude")]
    assert run.executed_plan is None and run.planner_input is None
    assert set(run.summary["action_executed"].values()) == {None}
    assert run.summary["outcome"]["status"] == "success"


def test_an_interrupted_run_is_set_aside(repo: Repo, runs: dict[str, RunRecord]) -> None:
    run_id = archive("2-200024Z")
    assert run_id not in runs
    consequence, reason = reasons(repo)[f".cyntra/archives/{run_id}"]
    assert consequence == "dropped" and "interrupted" in reason


def test_everything_that_was_set_aside_has_its_path_and_reason(corpus: Path) -> None:
    found = reasons(Repo(corpus).read_all())
    archives = ".cyntra/archives"
    assert found[f"{archives}/.DS_Store"] == ("dropped", "stray file among the archives")
    assert found[f"{archives}/wc-99-20260101T000000Z"][0] == "dropped"
    assert found[".beads/issues.jsonl:4"][0] == "dropped"
    assert len(found) == 8


def test_the_issue_behind_a_broken_line_is_lost_and_no_other(repo: Repo) -> None:
    lines = (CORPUS / ".beads/issues.jsonl").read_bytes().splitlines()
    assert len(repo.issues) == len(lines) - 1
    assert "broken" not in repo.issues and "1" not in repo.issues


def test_modification_times_do_not_matter(corpus: Path, repo: Repo) -> None:
    for number, path in enumerate(sorted(corpus.rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + 7919 * number % 10_000))
    assert Repo(corpus).read_all().runs == repo.runs


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
    records = {run.run_id: run for run in Repo(corpus).read_all().runs if run.kind == "world_run"}
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
    found = Repo(corpus).read_all()
    assert path.parent.name not in {run.run_id for run in found.runs}
    assert any(entry["path"].endswith(path.parent.name) for entry in found.quarantine.entries)
