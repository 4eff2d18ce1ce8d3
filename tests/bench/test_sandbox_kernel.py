"""The sandbox's stand-in kernel beside what the real kernel wrote, and how it deals with what its tools do."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.testbeds.sandbox.record import ForcedAction
from bench.testbeds.sandbox.toolchains.launchers import TOOLS
from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput, input_hash
from tests.bench.sandbox_runs import (
    ISSUES,
    REAL,
    Run,
    clone_of,
    force,
    kernel_command,
    kernel_environment,
    read_issues,
    set_issue,
)

# The fields of `data` in each type of event that the real kernel writes.
REAL_EVENTS = {
    "issue.started": "speculate",
    "workcell.created": "toolchain speculate_tag",
    "workcell.started": "toolchain",
    "speculate.voting": "candidates count",
    "workcell.completed": "toolchain duration_ms speculate_tag",
    "issue.completed": "toolchain duration_ms speculate_tag",
    "workcell.failed": "toolchain error attempt",
    "issue.failed": "toolchain error attempt",
}


@pytest.fixture
def repo(sandbox: Path, tmp_path: Path) -> Path:
    """A copy to run in."""
    return clone_of(sandbox, tmp_path / "repo")


@pytest.fixture
def run_kernel(repo: Path, tools: Path) -> Callable[..., Run]:
    def run(*arguments: str, config: str = "forced.yaml") -> Run:
        command = kernel_command(*arguments, config=config)
        done = subprocess.run(
            command, cwd=repo, env=kernel_environment(tools), capture_output=True, text=True, timeout=60
        )
        return Run(repo, done)

    return run


@pytest.fixture
def fake_tool(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Make an executable from a shell script and return its path."""

    def make(script: str) -> str:
        path = tmp_path / "fake-tool"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    yield make


def real_proof(status: str, *, speculate: bool, toolchain: str | None = None) -> Path:
    """An archive of the real kernel whose proof has a status."""

    def holds(path: Path) -> bool:
        file = path / "proof.json"
        if not file.is_file() or file.stat().st_size == 0 or ("-spec-" in path.name) != speculate:
            return False
        proof = json.loads(file.read_text())
        fits = toolchain is None or proof["metadata"]["toolchain"] == toolchain
        return fits and proof["status"] == status and whole(path / "manifest.json") and whole(path / "rollout.json")

    def whole(file: Path) -> bool:
        """Some of the real documents are cut or missing."""
        return status == "failed" or (file.is_file() and file.read_text().endswith("}"))

    return next(path for path in sorted((REAL / "archives").glob("wc-*")) if holds(path))


def shape(document: Any) -> Any:
    """The keys of a document, mappings nested; the planner's part is checked against its own schemas."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items() if key not in ("planner", "memory_context")}
    return None


def test_a_tool_repairs_what_a_serial_run_gives_it(repo: Path, run_kernel: Callable[..., Run]) -> None:
    force(repo, ForcedAction("serial_handoff", 1, 15))
    run = run_kernel("--issue", "1", "--universe", "sandbox")
    assert (run.exit_code, run.issues["1"]["status"]) == (0, "done"), run.output

    proof, rollout, manifest = (run.document(f"{name}.json") for name in ("proof", "rollout", "manifest"))
    real = real_proof("success", speculate=False, toolchain="codex")
    assert proof["verification"]["all_passed"] and proof["patch"]["diff_stats"]["files_changed"] == 1
    assert proof["metadata"]["tokens_used"] > 0 and proof["metadata"]["cost_usd"] > 0
    for name, document in (("proof", proof), ("rollout", rollout), ("manifest", manifest)):
        assert shape(document) == shape(json.loads((real / f"{name}.json").read_text())), name
    logs = {"logs/codex-stdout.log", "logs/lint.log", "logs/test.log"}
    documents = {"manifest.json", "prompt.md", "proof.json", "rollout.json", "telemetry.jsonl"}
    assert run.files() == {".workcell", *documents, *logs}

    section = manifest["planner"]
    validate(PlannerInput, section["planner_input"], "manifest")
    validate(PlannerAction, section["planner_action"], "manifest")
    validate(ExecutedPlan, section["executed_plan"], "manifest")
    assert section["planner_action"]["input_hash"] == input_hash(section["planner_input"])
    assert section["executed_plan"]["timeout_seconds_executed"] == 900
    assert section["planner_input"]["universe_id"] == "sandbox"
    assert rollout["planner"] == section
    assert not list((repo / ".workcells").iterdir())
    branches = subprocess.run(["git", "branch", "--list"], cwd=repo, capture_output=True, text=True).stdout
    assert branches.split() == ["*", "main"]


def test_events_have_the_types_and_fields_of_real_ones(repo: Path, run_kernel: Callable[..., Run]) -> None:
    force(repo, ForcedAction("speculate_vote", 2, 15), sandbox={"seconds_per_minute": 0.05})
    run_kernel("--issue", "2")
    force(repo, ForcedAction("serial_handoff", 1, 15), sandbox={"seconds_per_minute": 0.05})
    run = run_kernel("--issue", "3")
    for event in run.events:
        fields = set(REAL_EVENTS[event["type"]].split())
        if event["type"] == "workcell.started" and "-spec-" in event["workcell_id"]:
            fields.add("speculate_tag")
        assert event["data"].keys() == fields
        assert ("workcell_id" in event) == event["type"].startswith("workcell.")
    assert {"issue.started", "workcell.created", "speculate.voting"} <= {event["type"] for event in run.events}


def test_a_gate_failure_leaves_proof_and_rollout(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    tool = fake_tool("echo thinking; exit 1")
    force(repo, ForcedAction("serial_handoff", 1, 15), toolchains={"codex": {"path": tool}})
    run = run_kernel("--issue", "1")
    proof = run.document("proof.json")
    assert (proof["status"], proof["verification"]["blocking_failures"]) == ("partial", ["test"])
    assert run.document("rollout.json")["outcomes"]["verification"]["all_passed"] is False
    assert run.events[-1]["data"] == {"toolchain": "codex", "error": "Gate failures: test", "attempt": 1}
    assert (run.issues["1"]["status"], run.issues["1"]["dk_attempts"]) == ("open", "1")


def test_a_gate_that_is_null_is_no_gate(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    set_issue(repo, "1", dk_quality_gates=None)
    gates = {"test_command": True, "build_command": None, "typecheck_command": None, "lint_command": ""}
    force(repo, ForcedAction("serial_handoff", 1, 15), gates=gates, toolchains={"codex": {"path": fake_tool("exit 0")}})
    run = run_kernel("--issue", "1")
    assert "Traceback" not in run.output
    assert list(run.document("proof.json")["verification"]["gates"]) == ["test"]
    assert run.document("proof.json")["verification"]["all_passed"]


def test_a_failing_tool_leaves_no_rollout_in_a_serial_run(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    force(repo, ForcedAction("serial_handoff", 1, 15), toolchains={"codex": {"path": fake_tool("exit 2")}})
    run = run_kernel("--issue", "1")
    proof = run.document("proof.json")
    assert run.files() >= {"manifest.json", "proof.json"} and "rollout.json" not in run.files()
    assert (proof["status"], proof["verification"]["gates"]) == ("failed", {})
    assert run.events[-1]["data"]["error"] == "Unknown error"
    assert shape(proof) == shape(json.loads((real_proof("failed", speculate=False) / "proof.json").read_text())) | {
        "metadata": shape(proof)["metadata"]
    }


def test_a_failing_tool_is_a_blocking_failure_when_speculating(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    force(repo, ForcedAction("speculate_vote", 1, 15), toolchains={"codex": {"path": fake_tool("exit 2")}})
    run = run_kernel("--issue", "1")
    assert run.document("rollout.json")["outcomes"]["verification"]["blocking_failures"] == ["status:failed"]


def test_a_serial_timeout_leaves_the_manifest_only(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    tool = fake_tool("echo thinking; sleep 30")
    settings = {"toolchains": {"codex": {"path": tool}}, "sandbox": {"seconds_per_minute": 0.02}}
    force(repo, ForcedAction("serial_handoff", 1, 15), **settings)
    began = time.monotonic()
    run = run_kernel("--issue", "1")
    assert time.monotonic() - began < 20
    assert run.files() == {".workcell", "manifest.json", "prompt.md", "telemetry.jsonl"}
    assert run.events[-1]["data"]["error"] == "Gate failures: timeout"
    assert run.document("manifest.json")["planner"]["executed_plan"]["timeout_seconds_executed"] == 900


def test_a_speculate_timeout_leaves_a_bare_proof(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    tool = fake_tool("sleep 30")
    paths = {name: {"path": tool} for name in TOOLS}
    force(repo, ForcedAction("speculate_vote", 2, 15), toolchains=paths, sandbox={"seconds_per_minute": 0.02})
    run = run_kernel("--issue", "1")
    real = real_proof("timeout", speculate=True)
    proof, rollout = run.document("proof.json"), run.document("rollout.json")
    assert len(run.archives) == 1 and run.archives[0].name.endswith("-spec-codex")
    assert shape(proof) == shape(json.loads((real / "proof.json").read_text()))
    assert shape(rollout) == shape(json.loads((real / "rollout.json").read_text()))
    assert proof["metadata"].keys() == {"toolchain", "started_at", "completed_at", "error"}
    assert run.events[-1]["data"]["error"] == "Gate failures: timeout, status:timeout"


def test_a_missing_tool_leaves_the_manifest_only(repo: Path, run_kernel: Callable[..., Run]) -> None:
    paths = {name: {"path": "/nowhere/tool"} for name in TOOLS}
    force(repo, ForcedAction("serial_handoff", 1, 15), toolchains=paths)
    run = run_kernel("--issue", "1")
    assert run.exit_code == 0
    assert run.files() == {".workcell", "manifest.json", "prompt.md"}
    assert run.issues["1"]["status"] == "open"


def test_only_the_winner_of_a_vote_is_archived(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    """codex is sure of a wrong answer; the repairing claude wins because its gates pass."""
    wrong = fake_tool("""echo '{"confidence": 0.99}'; exit 0""")
    issue = read_issues(repo)[0]
    repair = Path(wrong).with_name("repair")
    test = issue["dk_quality_gates"]["test"].split()[-1]
    commit = "git -c user.name=t -c user.email=t@t.invalid commit -qam empty-test"
    repair.write_text(f"""#!/bin/sh\necho pass > {test}\n: > {test}\n{commit}\necho '{{"confidence": 0.4}}'\n""")
    repair.chmod(0o755)
    force(
        repo,
        ForcedAction("speculate_vote", 2, 15),
        toolchains={"codex": {"path": wrong}, "claude": {"path": str(repair)}},
    )
    run = run_kernel("--issue", issue["id"])
    assert [path.name.partition("-spec-")[2] for path in run.archives] == ["claude"]
    assert run.issues[issue["id"]]["status"] == "done"
    voting = next(event for event in run.events if event["type"] == "speculate.voting")
    assert voting["data"] == {"candidates": ["codex", "claude"], "count": 2}


def test_the_third_failure_escalates(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    set_issue(repo, "1", dk_attempts="2")
    force(repo, ForcedAction("serial_handoff", 1, 15), toolchains={"codex": {"path": fake_tool("exit 1")}})
    run = run_kernel("--issue", "1")
    assert (run.issues["1"]["status"], run.issues["1"]["dk_attempts"]) == ("escalated", "3")
    created = run.issues[str(ISSUES + 1)]
    assert created["title"].startswith("[ESCALATION]") and created["dk_parent"] == "1"
    assert {"escalation", "needs-human"} <= set(created["tags"])


def test_unknown_issue_and_missing_main_end_with_zero(repo: Path, run_kernel: Callable[..., Run]) -> None:
    run = run_kernel("--issue", "999", config="config.yaml")
    assert (run.exit_code, run.archives) == (0, [])
    subprocess.run(["git", "branch", "-m", "main", "trunk"], cwd=repo, check=True)
    run = run_kernel("--issue", "1", config="config.yaml")
    assert (run.exit_code, run.archives) == (0, [])
    assert "named main" in run.output


def test_a_bad_config_is_one_line_and_exit_one(repo: Path, run_kernel: Callable[..., Run]) -> None:
    run = run_kernel("--issue", "1", config="absent.yaml")
    assert run.exit_code == 1
    assert "--config" in run.output and "Traceback" not in run.output


def test_dry_run_does_nothing(repo: Path, run_kernel: Callable[..., Run]) -> None:
    run = run_kernel("--issue", "1", "--dry-run", config="config.yaml")
    assert (run.exit_code, run.archives, run.events) == (0, [], [])


def test_a_tool_killed_while_it_commits_is_a_timeout_like_any_other(
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
) -> None:
    # What git leaves of a commit that was killed: the lock on the branch.
    tool = fake_tool('touch "$(git rev-parse --git-common-dir)/$(git symbolic-ref HEAD).lock"; sleep 30')
    settings = {"toolchains": {"codex": {"path": tool}}, "sandbox": {"seconds_per_minute": 0.02}}
    force(repo, ForcedAction("serial_handoff", 1, 15), **settings)
    run = run_kernel("--issue", "1")
    assert (run.exit_code, run.events[-1]["data"]["error"]) == (0, "Gate failures: timeout")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_nothing_survives_a_timeout(
    repo: Path,
    run_kernel: Callable[..., Run],
    fake_tool: Callable[[str], str],
    processes_with: Callable[[str], list[str]],
) -> None:
    seconds = f"31.{os.getpid()}"
    tool = fake_tool(f"sh -c 'sleep {seconds} & sleep {seconds}' & sleep {seconds}")
    settings = {"toolchains": {"codex": {"path": tool}}, "sandbox": {"seconds_per_minute": 0.03}}
    force(repo, ForcedAction("serial_handoff", 1, 15), **settings)
    run_kernel("--issue", "1")
    assert processes_with(seconds) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("whole_group", [False, True], ids=["SIGTERM to the kernel", "SIGKILL to its group"])
def test_nothing_survives_the_kernels_end(
    repo: Path,
    tools: Path,
    fake_tool: Callable[[str], str],
    processes_with: Callable[[str], list[str]],
    whole_group: bool,
) -> None:
    seconds = f"32.{os.getpid()}{int(whole_group)}"
    tool = fake_tool(f"sh -c 'sleep {seconds}' & sleep {seconds}")
    force(repo, ForcedAction("speculate_vote", 2, 15), toolchains={name: {"path": tool} for name in TOOLS})
    kernel = subprocess.Popen(
        kernel_command("--issue", "1"), cwd=repo, env=kernel_environment(tools), start_new_session=True
    )
    deadline = time.monotonic() + 20
    while len(processes_with(f"sleep {seconds}")) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    if whole_group:
        os.killpg(kernel.pid, signal.SIGKILL)
    else:
        kernel.terminate()
    assert kernel.wait(10) == (-signal.SIGKILL if whole_group else 1)
    time.sleep(0.1)
    assert processes_with(seconds) == []
