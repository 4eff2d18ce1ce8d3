"""The sandbox: its repo, its repair tools, and its stand-in kernel beside what the real kernel wrote."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.testbeds.sandbox.create import MAX_ISSUES, create_sandbox
from bench.testbeds.sandbox.record import ForcedAction, forcing_config, record_history
from bench.testbeds.sandbox.toolchains.launchers import TOOLS, toolchain_dir
from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput, input_hash
from planner.errors import BenchError

REAL = Path(__file__).parents[1] / "fixtures" / "corpus" / ".cyntra"
REPOSITORY = Path(__file__).parents[2]
ISSUES = 6
SEED = 7
"""Its first issue is one that codex repairs at once."""
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


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sandbox nobody changes; a minute lasts a second, so that a loaded machine fixes what an idle one does."""
    return create_sandbox(tmp_path_factory.mktemp("sandbox") / "repo", issues=ISSUES, seed=SEED, seconds_per_minute=1.0)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchain_dir(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def repo(sandbox: Path, tmp_path: Path) -> Path:
    """A copy to run in."""
    target = tmp_path / "repo"
    subprocess.run(["git", "clone", "--quiet", str(sandbox), str(target)], check=True)
    return target


class Run:
    """What one invocation of the stand-in left."""

    def __init__(self, repo: Path, done: "subprocess.CompletedProcess[str]") -> None:
        self.exit_code, self.output = done.returncode, done.stdout + done.stderr
        folder = repo / ".cyntra"
        self.archives = sorted((folder / "archives").iterdir()) if (folder / "archives").is_dir() else []
        log = folder / "logs" / "events.jsonl"
        self.events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        self.issues = {issue["id"]: issue for issue in read_issues(repo)}

    def document(self, name: str) -> dict[str, Any]:
        return json.loads((self.archives[-1] / name).read_text())

    def files(self) -> set[str]:
        archive = self.archives[-1]
        return {path.relative_to(archive).as_posix() for path in archive.rglob("*") if path.is_file()}


def read_issues(repo: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (repo / ".beads" / "issues.jsonl").read_text().splitlines()]


def set_issue(repo: Path, number: str, **changes: Any) -> None:
    lines = [{**issue, **changes} if issue["id"] == number else issue for issue in read_issues(repo)]
    (repo / ".beads" / "issues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def force(repo: Path, action: ForcedAction, **settings: Any) -> None:
    """Put the forcing config of an action, with other settings over it, beside the repo's config."""
    document = forcing_config(action)
    document["toolchains"] = {
        tool: {**document["toolchains"][tool], **settings.get("toolchains", {}).get(tool, {})} for tool in TOOLS
    }
    document |= {key: value for key, value in settings.items() if key != "toolchains"}
    (repo / ".cyntra" / "forced.yaml").write_text(yaml.safe_dump(document))


def kernel_command(*arguments: str, config: str = "forced.yaml") -> list[str]:
    return [
        sys.executable,
        "-m",
        "bench.testbeds.sandbox.kernel",
        "--config",
        f".cyntra/{config}",
        "run",
        "--once",
        *arguments,
    ]


def kernel_environment(tools: Path) -> dict[str, str]:
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


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


def gate_passes(repo: Path, issue: dict[str, Any]) -> bool:
    command = issue["dk_quality_gates"]["test"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, shell=True, cwd=repo, env=environment, capture_output=True).returncode == 0


def test_the_same_seed_gives_the_same_commit_and_bytes(sandbox: Path, tmp_path: Path) -> None:
    again = create_sandbox(tmp_path / "again", issues=ISSUES, seed=SEED, seconds_per_minute=1.0)
    other = create_sandbox(tmp_path / "other", issues=1, seed=4, seconds_per_minute=1.0)

    def head(repo: Path) -> str:
        return subprocess.run(["git", "rev-parse", "main"], cwd=repo, capture_output=True, text=True).stdout

    assert head(again) == head(sandbox) != head(other)
    files = [path.relative_to(sandbox) for path in sandbox.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 30
    assert all((again / path).read_bytes() == (sandbox / path).read_bytes() for path in files)


def test_too_many_issues_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=str(MAX_ISSUES)):
        create_sandbox(tmp_path / "repo", issues=MAX_ISSUES + 1)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="not empty"):
        create_sandbox(tmp_path)


def test_every_gate_fails_in_a_new_sandbox(sandbox: Path) -> None:
    issues = read_issues(sandbox)
    assert len(issues) == ISSUES
    assert not [issue["id"] for issue in issues if gate_passes(sandbox, issue)]


def test_issues_have_the_fields_of_real_ones(sandbox: Path) -> None:
    lines = (REAL.parent / ".beads" / "issues.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines if line.endswith("}")]
    real = {key: type(value) for issue in parsed for key, value in issue.items()}
    for issue in read_issues(sandbox):
        assert {"id", "title", "dk_risk", "dk_size", "dk_quality_gates", "context_files"} <= issue.keys()
        assert issue.keys() <= real.keys() | {"dk_speculate"}
    created = [issue["created"] for issue in read_issues(sandbox)]
    assert created == sorted(created)


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


def processes_with(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


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
    repo: Path, run_kernel: Callable[..., Run], fake_tool: Callable[[str], str]
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
    repo: Path, tools: Path, fake_tool: Callable[[str], str], whole_group: bool
) -> None:
    seconds = f"32.{os.getpid()}{int(whole_group)}"
    tool = fake_tool(f"sh -c 'sleep {seconds}' & sleep {seconds}")
    force(repo, ForcedAction("speculate_vote", 2, 15), toolchains={name: {"path": tool} for name in TOOLS})
    kernel = subprocess.Popen(
        kernel_command("--issue", "1"), cwd=repo, env=kernel_environment(tools), start_new_session=True
    )
    deadline = time.monotonic() + 20
    while len(processes_with(f"sleep {seconds}".replace(" ", "\0"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    if whole_group:
        os.killpg(kernel.pid, signal.SIGKILL)
    else:
        kernel.terminate()
    assert kernel.wait(10) == (-signal.SIGKILL if whole_group else 1)
    time.sleep(0.1)
    assert processes_with(seconds) == []


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("codex", []),
        ("codex", ["exec", "-", "--sandbox", "workspace-write"]),
        ("codex", ["exec", "-", "--full-auto", "--surprise"]),
        ("claude", ["--print", "prompt.md", "--model", "m", "--dangerously-skip-permissions"]),
        ("claude", ["--print", "@/nowhere/prompt.md", "--model", "m", "--dangerously-skip-permissions"]),
        ("opencode", ["run", "--format", "json", "--file"]),
        ("crush", ["run", "--quiet"]),
    ],
)
def test_tools_reject_other_arguments(tools: Path, tmp_path: Path, tool: str, arguments: list[str]) -> None:
    done = subprocess.run([tools / tool, *arguments], cwd=tmp_path, input="", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tool}: ") and "Traceback" not in done.stderr


def test_a_tool_works_out_of_a_copied_package(tmp_path: Path, sandbox: Path) -> None:
    """As from an installed wheel: nothing but the package's own files is there."""
    site = tmp_path / "site"
    shutil.copytree(REPOSITORY / "bench", site / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir; from pathlib import Path; "
    code += f"print(toolchain_dir(Path({str(tmp_path / 'bin')!r})))"
    subprocess.run([sys.executable, "-c", code], cwd=site, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "bin" / "crush"], cwd=sandbox, input="", capture_output=True, text=True)
    assert done.returncode == 2


@pytest.mark.parametrize("workers", [1, 4])
def test_history_is_recorded_in_order_and_failures_are_reopened(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[tuple[int, int]] = []
    text = (repo / ".cyntra" / "config.yaml").read_text().replace("seconds_per_minute: 1", "seconds_per_minute: 0.02")
    (repo / ".cyntra" / "config.yaml").write_text(text)
    done = record_history(
        repo, runs=4, seed=1, workers=workers, issues=["2", "1"], progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [name.split("-")[1] for name in done] == ["2", "1", "2", "1"]
    assert {path.name for path in (repo / ".cyntra" / "archives").iterdir()} == set(done)
    assert {issue["status"] for issue in read_issues(repo)} <= {"open", "done"}
    assert not list((repo / ".workcells").iterdir())
    assert not list((repo / ".cyntra").glob("history*"))


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
