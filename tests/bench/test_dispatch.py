"""`planner run` on a repo with scripted agents; the kernel is the sandbox's, the bundle a real one without training."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from planner.artifacts.repo import Repo
from planner.dataset.examples import make_examples
from planner.encoding.profiles import token_segments
from planner.errors import BenchError, UsageError
from tests.bench.conftest import NEVER_SOLVES, SOLVES, KernelRepo
from tests.bench.dispatch_repo import KERNEL, PLANNER, ROOT, SERIAL_45, SPECULATE_3_30, DispatchRepo, killing
from tests.bench.test_supervised import until


@pytest.fixture
def dispatch(kernel_repo: KernelRepo, monkeypatch: pytest.MonkeyPatch) -> DispatchRepo:
    """Issue 1 speculates with 3, issue 2 runs serially, issue 3 is none that the bundle knows; 1 is blocked by 2."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("codex", "claude", "opencode"):
        kernel_repo.write_tool(name, SOLVES.format(sleep=0, cost=0.25))
    kernel_repo.write_config(
        routing={"rules": [{"match": {"tags_any": ["ui"]}, "use": ["claude"]}]}, control={"enabled": True}
    )
    found = DispatchRepo(kernel_repo)
    kernel_repo.write_issues(
        {"id": "1", "tags": [found.tags[SPECULATE_3_30], "ui"], "dk_priority": "P0"},
        {"id": "2", "tags": [found.tags[SERIAL_45], "ui"], "dk_priority": "P3"},
        {"id": "3", "tags": ["other"]},
    )
    (found.root / ".beads/deps.jsonl").write_text('{"from": "2", "to": "1", "type": "blocks"}\n')
    return found


def served_tokens(entry: Mapping[str, Any]) -> Any:
    return token_segments(entry["planner_input"], "planner")


def test_decisions_are_run_recorded_and_read_back_with_the_same_tokens(dispatch: DispatchRepo) -> None:
    config = (dispatch.root / ".cyntra/config.yaml").read_bytes()
    report = dispatch.run()
    assert report.is_complete and (report.as_decided, report.by_itself) == (2, {"low_confidence": 1})
    assert dispatch.statuses == {"1": "done", "2": "done", "3": "done"}
    order = [entry.decided["issue_id"] for entry in dispatch.journal.entries.values()]
    assert order == ["2", "1", "3"]  # the chain of both is the critical path; the blocker first, whatever its priority
    for issue_id, plan in (("1", ("speculate_vote", 3, 1800)), ("2", ("serial_handoff", 1, 2700))):
        executed = dispatch.documents(issue_id)["executed_plan"]
        assert tuple(executed.values())[1:4] == plan and not executed["fallback_applied"]
    fallback = dispatch.documents("3")
    assert fallback["executed_plan"]["fallback_reason"] == fallback["planner_action"]["reason"] == "low_confidence"
    assert fallback["planner_action"]["abstain_to_default"] is True
    assert (dispatch.root / ".cyntra/config.yaml").read_bytes() == config and not dispatch.leftovers()
    # The user's routing still says who works on an issue that is run serially.
    (archive,) = (dispatch.root / ".cyntra/archives").glob("wc-2-*")
    assert orjson.loads((archive / "manifest.json").read_bytes())["toolchain"] == "claude"

    repo = Repo(dispatch.root).read_all()
    found = make_examples(repo.runs, repo.issues, repo.universes, "planner", repo.start_failures)
    assert found.contexts["checked"] == found.contexts["same_tokens"] == found.contexts["recorded"] == 3
    served = {entry.later["recorded"]["archive"]: entry.decided for entry in dispatch.journal.entries.values()}
    for example in found.examples:
        assert token_segments(example.context, "planner") == served_tokens(served[example.example_id])
    assert {tuple(example.label)[:3] for example in found.examples} >= {
        ("speculate_vote", 3, 30),
        ("serial_handoff", 1, 45),
    }


def test_only_the_kernel_changes_anything_of_the_repo_but_our_own_directory(dispatch: DispatchRepo) -> None:
    before = dispatch.repo.state()
    report = dispatch.run(cyntra=f"{sys.executable} -c pass", issue_ids=["2"], once=True)
    assert len(dispatch.journal.entries) == 1 and not report.is_complete
    assert dispatch.repo.state() == before


def test_log_mode_records_the_prediction_and_lets_the_kernel_decide(dispatch: DispatchRepo) -> None:
    report = dispatch.run(mode="log", issue_ids=["2"], once=True)
    assert report.is_complete and report.by_itself == {"log_only": 1}
    section = dispatch.documents("2")
    assert section["planner_action"]["budgets"]["max_minutes_bin"] == 45
    assert section["executed_plan"]["timeout_seconds_executed"] == 3600
    assert section["executed_plan"]["fallback_reason"] == "log_only"


def test_off_leaves_the_kernels_own_documents(dispatch: DispatchRepo) -> None:
    report = dispatch.run(mode="off", issue_ids=["3"], once=True)
    assert report.is_complete and report.by_itself == {"mode_off": 1}
    assert dispatch.documents("3")["planner_action"]["model"]["checkpoint_id"] == "baseline_heuristic_v0"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"planner_checkpoint": Path("no-such-bundle")}, "bundle_load_failed"),
        ({"max_minutes": 15}, "timeout_exceeds_cap"),
    ],
)
def test_where_no_decision_holds_the_kernel_runs_by_itself_and_the_reason_is_recorded(
    dispatch: DispatchRepo, options: dict[str, Any], reason: str
) -> None:
    report = dispatch.run(issue_ids=["2"], once=True, **options)
    assert report.is_complete and report.by_itself == {reason: 1}
    executed = dispatch.documents("2")["executed_plan"]
    assert executed["timeout_seconds_executed"] == 3600 and executed["fallback_reason"].startswith(reason)


def test_a_bundle_of_the_kernels_contexts_is_refused_by_name(dispatch: DispatchRepo) -> None:
    path = dispatch.bundle / "metadata.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "context_builder": "kernel"}))
    assert dispatch.run(issue_ids=["2"], once=True).by_itself == {"context_builder_mismatch": 1}


def test_what_the_kernel_would_not_follow_is_not_dispatched_as_a_decision(dispatch: DispatchRepo) -> None:
    """There are tools for two candidates only, so that three would become two without a word."""
    (dispatch.repo.tools / "opencode").unlink()
    dispatch.repo.write_issues({"id": "1", "tags": [dispatch.tags[SPECULATE_3_30]]})
    assert dispatch.run().by_itself == {"cannot_be_forced": 1}
    reason = dispatch.documents("1")["executed_plan"]["fallback_reason"]
    assert "wanted speculate_vote x3 1800 s, Cyntra would run speculate_vote x2 1800 s" in reason


def test_a_killed_command_is_completed_or_marked_by_the_next_one(dispatch: DispatchRepo) -> None:
    # Before the kernel has begun.
    assert dispatch.start("--issue", "2", "--once", kernel=killing("before")).wait(30) == -signal.SIGKILL
    (entry,) = dispatch.journal.entries.values()
    assert entry.is_open and dispatch.statuses["2"] == "open"
    # After the kernel has archived its run, before that is recorded; the first decision is marked meanwhile.
    assert dispatch.start("--issue", "2", "--once", kernel=killing("after")).wait(30) == -signal.SIGKILL
    first, second = dispatch.journal.entries.values()
    assert "interrupted" in first.later and second.is_open and dispatch.statuses["2"] == "done"
    assert dispatch.documents("2")["planner_action"]["model"]["checkpoint_id"] == "baseline_heuristic_v0"
    (dispatch.root / ".cyntra/planner/run/work/of-one-killed-before-it-had-decided").mkdir()
    # The run is whole: the next command only has to write the decision into it.
    report = dispatch.run(issue_ids=["2"], once=True)
    assert report.is_complete and report.runs == 0
    section = dispatch.documents("2")
    assert section["planner_action"]["model"]["checkpoint_id"] == "scripted"
    assert section["executed_plan"]["timeout_seconds_executed"] == 2700
    assert not dispatch.journal.open_entries() and not dispatch.leftovers()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_stopped_ends_all_its_processes_and_gives_the_issue_back(
    dispatch: DispatchRepo, processes_with: Callable[[str], list[str]], how: signal.Signals
) -> None:
    dispatch.repo.write_tool("claude", "#!/bin/sh\necho '{\"cost\": 2}'\nexec sleep 98765\n")
    command = dispatch.start("--issue", "2", "--once")
    deadline = time.monotonic() + 30
    while not processes_with("sleep 98765") and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(how)
    assert command.wait(30) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_with("sleep 98765") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with("sleep 98765") == []
    if how == signal.SIGKILL:
        assert dispatch.statuses["2"] == "running"
        assert dispatch.run(issue_ids=["none"]).left_open == 1
    (entry,) = dispatch.journal.entries.values()
    assert "interrupted" in entry.later and entry.later["ended"]["launches"] == 1
    assert dispatch.statuses["2"] == "open"
    assert not list(dispatch.root.glob(".cyntra/.planner-run-*"))


def test_caps_of_a_day_pause_the_loop_with_their_name_and_yesterday_does_not_count(dispatch: DispatchRepo) -> None:
    dispatch.repo.write_issues({"id": "2", "tags": [dispatch.tags[SERIAL_45]]}, {"id": "3"})
    report = dispatch.run(max_dollars_per_day=0.2)
    assert report.paused_by == "max_dollars_per_day: 0.25 of 0.2 are used" and not report.is_complete
    assert sorted(dispatch.statuses.values()) == ["done", "open"]
    path = dispatch.root / ".cyntra/planner/run/journal.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "at_ms": line["at_ms"] - 86_400_000}) + "\n" for line in lines))
    assert dispatch.run(max_dollars_per_day=0.3).is_complete


def test_a_run_is_ended_when_it_comes_to_a_cap_on_hours(dispatch: DispatchRepo) -> None:
    dispatch.repo.write_tool("claude", "#!/bin/sh\nexec sleep 60\n")
    report = dispatch.run(issue_ids=["2"], max_hours=1.5 / 3600)
    assert report.interrupted == 1 and report.paused_by is not None and report.paused_by.startswith("max_hours:")
    assert dispatch.statuses["2"] == "open" and dispatch.journal.open_entries() == []


def test_a_named_issue_that_is_not_run_is_named_with_its_reason(dispatch: DispatchRepo) -> None:
    report = dispatch.run(issue_ids=["1", "9"], once=True)
    assert report.not_run == {"1": "blocked by 2", "9": "there is no such issue"} and not report.is_complete


def test_a_run_without_an_archive_is_no_success_and_is_not_tried_for_ever(dispatch: DispatchRepo) -> None:
    report = dispatch.run(cyntra="false", issue_ids=["2"])
    assert report.without_run == 1 and not report.is_complete
    (entry,) = dispatch.journal.entries.values()
    assert "exit code 1" in entry.later["no_run"]["reason"]


def test_an_issue_that_fails_is_run_again_until_its_attempts_are_used_up(dispatch: DispatchRepo) -> None:
    dispatch.repo.write_issues({"id": "2", "tags": [dispatch.tags[SERIAL_45]], "dk_max_attempts": 2})
    for name in ("codex", "claude", "opencode"):
        dispatch.repo.write_tool(name, NEVER_SOLVES)
    report = dispatch.run()
    assert report.is_complete and report.as_decided == 2 and dispatch.statuses["2"] == "escalated"
    first, second = (entry.decided["planner_input"] for entry in dispatch.journal.entries.values())
    assert (first["issue"]["dk_attempts"], second["issue"]["dk_attempts"]) == (0, 1)
    assert len(second["history"]["last_n_similar_runs"]) == 1


def test_an_issue_of_which_the_tracker_says_nothing_after_its_run_is_not_run_for_ever(dispatch: DispatchRepo) -> None:
    tracker = dispatch.root / ".beads/issues.jsonl"
    dispatch.repo.write_issues({"id": "2", "tags": [dispatch.tags[SERIAL_45]]})
    before = tracker.read_text()

    def forget(line: str) -> None:
        """As where a tracker's own program keeps the state elsewhere."""
        if ": ran " in line:
            tracker.write_text(before)

    report = dispatch.run(forget)
    assert report.runs == 1 and "tracker says nothing" in report.not_run["2"] and not report.is_complete


def test_two_commands_never_work_on_one_repo(dispatch: DispatchRepo) -> None:
    other = dispatch.start("--watch", "--issue", "none")
    try:
        lock = dispatch.root / ".cyntra/planner/run/lock"
        # To ask for the lock could take it from the other.
        until(lambda: lock.exists() and f":{lock.stat().st_ino} " in Path("/proc/locks").read_text(), patience_s=60)
        with pytest.raises(BenchError, match="another `planner run`"):
            dispatch.run(issue_ids=["none"])
    finally:
        other.send_signal(signal.SIGINT)
        assert other.wait(30) == 130
    with pytest.raises(UsageError, match="one after the other"):
        dispatch.run(max_concurrent=2)


def test_a_torn_last_line_of_the_journal_is_no_obstacle(dispatch: DispatchRepo) -> None:
    dispatch.run(issue_ids=["2"], once=True)
    path = dispatch.root / ".cyntra/planner/run/journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"decided","decis')
    assert dispatch.run(issue_ids=["3"], once=True).is_complete
    assert path.read_bytes().startswith(whole) and len(dispatch.journal.entries) == 2


def test_a_project_file_sets_the_defaults(dispatch: DispatchRepo) -> None:
    path = dispatch.root / ".cyntra/planner/planner.yaml"
    path.parent.mkdir(exist_ok=True)
    section = {"planner_enabled": True, "planner_checkpoint": str(dispatch.bundle), "cyntra": KERNEL, "once": True}
    path.write_text(yaml.safe_dump({"run": section}))
    command = [*PLANNER, "run", str(dispatch.root), "--issue", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 runs: 1 as decided" in done.stdout
