"""Which of an archive's documents is believed: outcome, times, cost and issue of one run, told in part or twice."""

from pathlib import Path
from typing import Any

import pytest

from planner.artifacts.archives import read_archive
from planner.artifacts.events import WorkcellEvents
from planner.artifacts.records import Quarantine, RunRecord
from planner.contracts.document import timestamp_to_ms
from tests.planner.mutations import replaced, without
from tests.planner.test_damaged_artifacts import DOCUMENTS, write_archive

ROLLOUT_CODES = ("outcomes", "verification", "blocking_failures")


def read(root: Path, events: WorkcellEvents | None = None, **documents: Any) -> RunRecord:
    """The run in an archive of these documents, which counts."""
    directory = write_archive(root, documents)
    record = read_archive(directory, events, Quarantine(directory.parents[2]))
    assert record is not None
    return record


def outcome(record: RunRecord) -> tuple[str, list[str]]:
    return record.summary["outcome"]["status"], record.summary["outcome"]["fail_codes"]


def proof(*path: str, value: Any) -> dict[str, Any]:
    return replaced(DOCUMENTS["proof"], path, value)


def rollout(*path: str, value: Any) -> dict[str, Any]:
    return replaced(DOCUMENTS["rollout"], path, value)


def test_a_timeout_that_the_rollout_alone_tells_is_a_timeout(tmp_path: Path) -> None:
    told = rollout(*ROLLOUT_CODES, value=["status:timeout"])
    assert outcome(read(tmp_path, manifest=DOCUMENTS["manifest"], rollout=told)) == ("timeout", ["status:timeout"])
    # A proof says itself how the run ended.
    failed = proof("verification", "blocking_failures", value=["status:timeout"])
    assert outcome(read(tmp_path, proof=failed, rollout=told))[0] == "failed"


def test_a_timeout_without_a_code_is_given_one(tmp_path: Path) -> None:
    late = replaced(proof("verification", "blocking_failures", value=[]), ("status",), "timeout")
    assert outcome(read(tmp_path, proof=late, rollout=DOCUMENTS["rollout"])) == ("timeout", ["timeout"])


@pytest.mark.parametrize(("status", "found"), [("partial", "success"), ("success", "success"), ("failed", "failed")])
def test_gates_that_all_passed_are_a_success_unless_the_run_itself_failed(
    tmp_path: Path, status: str, found: str
) -> None:
    passed = replaced(proof("status", value=status), ("verification",), {"all_passed": True, "gates": {}})
    assert outcome(read(tmp_path, proof=passed, rollout=DOCUMENTS["rollout"]))[0] == found


def test_a_forbidden_path_is_a_fail_code(tmp_path: Path) -> None:
    outside = proof("patch", "forbidden_path_violations", value=["setup.cfg"])
    assert outcome(read(tmp_path, proof=outside)) == ("failed", ["forbidden_path", "test"])


def test_the_event_log_alone_tells_a_timeout_from_a_failure(tmp_path: Path) -> None:
    manifest = DOCUMENTS["manifest"]
    for error, found in (("timeout", "timeout"), ("Gate failures: test, lint", "failed")):
        record = read(tmp_path, WorkcellEvents(started_ms=1_000, ended_ms=5_000, error=error), manifest=manifest)
        assert outcome(record)[0] == found
    assert (record.started_ms, record.ended_ms, outcome(record)[1]) == (1_000, 5_000, ["lint", "test"])


def test_a_decision_is_as_old_as_its_context_and_not_as_the_agents_start(tmp_path: Path) -> None:
    record = read(tmp_path, **DOCUMENTS)
    asked = DOCUMENTS["manifest"]["planner"]["planner_input"]["created_at"]
    assert record.decided_ms == timestamp_to_ms(asked) < record.started_ms
    assert record.started_ms == timestamp_to_ms(DOCUMENTS["proof"]["metadata"]["started_at"])
    # Where no context was recorded nothing is known but the start.
    bare = {**DOCUMENTS, "manifest": without(DOCUMENTS["manifest"], ("planner",))}
    bare["rollout"] = {key: value for key, value in DOCUMENTS["rollout"].items() if key != "planner"}
    record = read(tmp_path, **bare)
    assert record.decided_ms == record.started_ms


def test_where_nobody_logged_the_start_it_is_the_decision(tmp_path: Path) -> None:
    documents = {**DOCUMENTS, "proof": without(DOCUMENTS["proof"], ("metadata", "started_at"))}
    record = read(tmp_path, **documents)
    assert record.started_ms == record.decided_ms
    assert read(tmp_path, WorkcellEvents(started_ms=record.decided_ms + 7), **documents).started_ms == (
        record.decided_ms + 7
    )


def test_a_run_ends_with_its_rollout_else_with_its_proof_else_with_its_events(tmp_path: Path) -> None:
    assert read(tmp_path, **DOCUMENTS).ended_ms == timestamp_to_ms(DOCUMENTS["rollout"]["generated_at"])
    unfinished = without(DOCUMENTS["rollout"], ("generated_at",))
    record = read(tmp_path, **{**DOCUMENTS, "rollout": unfinished})
    assert record.ended_ms == timestamp_to_ms(DOCUMENTS["proof"]["metadata"]["completed_at"])
    documents = {**DOCUMENTS, "rollout": unfinished, "proof": without(DOCUMENTS["proof"], ("metadata", "completed_at"))}
    assert read(tmp_path, WorkcellEvents(ended_ms=record.ended_ms + 7), **documents).ended_ms == record.ended_ms + 7


def test_a_clock_that_ran_backwards_is_believed_neither_for_start_nor_for_end(tmp_path: Path) -> None:
    started = timestamp_to_ms(DOCUMENTS["proof"]["metadata"]["started_at"])
    documents = {
        **DOCUMENTS,
        "proof": proof("metadata", "completed_at", value="2026-11-22T19:40:00Z"),
        "rollout": without(DOCUMENTS["rollout"], ("generated_at",)),
    }
    record = read(tmp_path, WorkcellEvents(started_ms=started - 3, ended_ms=started + 3), **documents)
    assert (record.started_ms, record.ended_ms) == (started - 3, started + 3)


def test_a_run_that_took_no_measurable_time_counts(tmp_path: Path) -> None:
    at = DOCUMENTS["proof"]["metadata"]["started_at"]
    record = read(tmp_path, proof=proof("metadata", "completed_at", value=at))
    assert record.started_ms == record.ended_ms == timestamp_to_ms(at)


def test_cost_and_duration_are_the_proofs_else_the_rollouts(tmp_path: Path) -> None:
    told = replaced(rollout("scores", "duration_ms", value=900), ("scores",), {"duration_ms": 900, "cost_usd": 0.5})
    documents = {**DOCUMENTS, "rollout": told}
    record = read(tmp_path, **documents)
    assert (record.summary["cost_usd_est"], record.summary["runtime"]["duration_ms"]) == (0.5, 745)
    metadata = DOCUMENTS["proof"]["metadata"]
    free = {**metadata, "cost_usd": 0}
    assert read(tmp_path, **{**documents, "proof": proof("metadata", value=free)}).summary["cost_usd_est"] == 0
    untimed = without(DOCUMENTS["proof"], ("metadata", "duration_ms"))
    assert read(tmp_path, **{**documents, "proof": untimed}).summary["runtime"]["duration_ms"] == 900
    # Where neither says it, it is the time from start to end.
    unsaid = {**documents, "proof": untimed, "rollout": replaced(told, ("scores",), {})}
    record = read(tmp_path, **unsaid)
    assert record.summary["runtime"]["duration_ms"] == record.ended_ms - record.started_ms > 900


def test_the_issue_and_its_tags_are_the_manifests_else_the_contexts(tmp_path: Path) -> None:
    record = read(tmp_path, **DOCUMENTS)
    assert (record.issue_id, record.summary["tags"], record.summary["job_type"]) == ("15", ["security"], "code")
    anonymous = without(DOCUMENTS["manifest"], ("issue",))
    record = read(tmp_path, **{**DOCUMENTS, "manifest": anonymous})
    assert (record.issue_id, record.summary["tags"]) == ("15", ["security"])


def test_a_gate_without_a_name_or_a_verdict_is_none(tmp_path: Path) -> None:
    gates = {"": {"passed": True}, "test": {"passed": False}, "lint": {"passed": "yes"}, "slow": None}
    record = read(tmp_path, proof=proof("verification", "gates", value=gates))
    assert record.summary["outcome"]["gates"] == [{"name": "test", "passed": False}]


def test_a_run_of_which_nobody_says_the_job_is_a_code_job(tmp_path: Path) -> None:
    assert read(tmp_path, proof=DOCUMENTS["proof"]).summary["job_type"] == "code"
    assert read(tmp_path, rollout=rollout("job_type", value="fab-world")).summary["job_type"] == "fab-world"
