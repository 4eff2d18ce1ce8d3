"""The real kernel on the bench, where it is installed: on PATH, or at the path in the environment variable CYNTRA."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.doctor.kernel import KernelSetting, kernel_checks
from bench.executors.kernel_start import FILE
from bench.ledger import Ledger
from bench.testbeds.sandbox.create import create_sandbox
from planner.actions import action_from_document
from planner.artifacts.repo import Repo
from planner.context import ContextBuilder
from planner.dataset.examples import make_examples
from planner.encoding.profiles import token_segments
from tests.bench.benches import bench_repo, cyntra
from tests.bench.conftest import SOLVES, KernelRepo

BLENDER = """#!/bin/sh
exec python3 -c '
import sys, types
sys.modules["bpy"] = types.SimpleNamespace(ops=types.SimpleNamespace(wm=types.SimpleNamespace(quit_blender=sys.exit)))
exec(open(sys.argv[-1]).read())' "$@"
"""
"""Runs a stage's script as Blender would, for a world that is drawn by nothing but Python."""
WORLD = {
    "schema_version": "1.0",
    "world_id": "shell",
    "world_config_id": "shell_v001",
    "world_type": "props",
    "version": "0.1.0",
    "generator": {"name": "Shell", "author": "Tester"},
    "build": {"template_blend": "none.blend", "determinism": {"seed": 42}},
    "parameters": {"defaults": {"shell": {"turns": 1}}},
    "stages": [{"id": "build", "type": "blender", "script": "build.py"}],
}
GENOME = {
    "schema_version": "1.0",
    "genome_id": "shell_genome_v1",
    "world_id": "shell",
    "world_config_id": "shell_v001",
    "genes": [{"key": "shell.turns", "kind": "enum", "values": list(range(1, 100))}],
    "mutation": {"per_candidate": 1},
}
BUILD = """
import json

def execute(run_dir, stage_dir, inputs, params, manifest):
    turns = params["shell"]["turns"]
    (run_dir / "verdict").mkdir()
    verdict = {"verdict": "pass", "scores": {"overall": turns / 100}, "timing": {"duration_ms": turns}}
    (run_dir / "verdict" / "gate_verdict.json").write_text(json.dumps(verdict))
    return {"success": True, "outputs": [], "metadata": {}, "errors": []}
"""
KERNEL = shutil.which(os.environ.get("CYNTRA", "cyntra"))
pytestmark = pytest.mark.skipif(
    KERNEL is None, reason="the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA"
)


def test_the_real_kernel_runs_what_is_forced_and_what_cannot_win_is_capped(
    kernel_repo: KernelRepo, ray_cluster: Any
) -> None:
    # Serial runs go to codex: it solves at once, so a speculation that waits for opencode's half minute cannot win.
    kernel_repo.write_tool("codex", SOLVES.format(sleep=0, cost=0.2))
    kernel_repo.write_tool("opencode", SOLVES.format(sleep=30, cost=0.3))
    before = kernel_repo.state()
    work = kernel_repo.root.parent / "work"
    report = bench_repo(kernel_repo.root, [str(KERNEL)], n_actions=4, issue_ids=["1"], workers=1, work_dir=work)
    assert kernel_repo.state() == before and list(work.iterdir()) == []
    with Ledger.read(report.ledger_path) as ledger:
        executions = ledger.executions()
    assert len(executions) == 4 and report.faults == 0
    for execution in executions:
        action, outcome = action_from_document(execution.action.model_dump()), execution.outcome
        if outcome.status == "stopped_early":
            assert outcome.stopped_by == "capped" and outcome.duration_ms < 30_000
            continue
        plan = outcome.executed_plan
        assert outcome.passed and plan is not None
        assert plan.swarm_id_executed == action.swarm_id
        assert plan.max_candidates_executed == action.max_candidates_bin == len(outcome.launches)
        assert plan.timeout_seconds_executed == 60 * int(action.max_minutes_bin)
    assert any(e.outcome.status == "stopped_early" and e.action.max_candidates_bin == 3 for e in executions)


def test_a_config_elsewhere_drives_the_real_kernel(kernel_repo: KernelRepo, ray_cluster: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(kernel_repo.root / ".cyntra", elsewhere)
    (kernel_repo.root / ".cyntra").mkdir()
    report = bench_repo(
        kernel_repo.root,
        [str(KERNEL)],
        kernel_dir=elsewhere,
        n_actions=1,
        issue_ids=["1"],
        full=True,
        work_dir=kernel_repo.root.parent / "work",
    )
    assert (report.run, report.faults) == (1, 0)


def test_the_real_kernel_finds_a_sandboxs_universe_and_worlds_valid(tmp_path: Path) -> None:
    repo = create_sandbox(tmp_path / "repo", issues=1, worlds=3, seed=0)
    command = [str(KERNEL), "--config", ".cyntra/config.yaml", "universe", "validate", "sandbox"]
    validated = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert validated.returncode == 0, validated.stderr


def test_the_doctor_starts_the_real_kernel_and_says_what_it_does_not_accept(tmp_path: Path) -> None:
    repo = create_sandbox(tmp_path / "repo", issues=1, seed=0)
    swarms = repo / "universes" / "sandbox" / "swarms.yaml"
    for text, ok in ((swarms.read_text(), True), (swarms.read_text().replace("swarms:", "swarmz:"), False)):
        swarms.write_text(text)
        place = tmp_path / str(ok)
        place.mkdir()
        found = {check.name: check for check in kernel_checks(place, KernelSetting(repo, cyntra([str(KERNEL)])), place)}
        assert found["kernel version"].finding == "cyntra, version 0.1.0"
        assert (found["universe"].ok, found["trivial run, serial_handoff"].ok) == (ok, ok)
        assert ((place / FILE).exists(), "kernel start-up" in found) == (ok, ok)


def test_the_real_kernel_evolves_a_world_with_the_population_and_generations_that_are_forced(
    tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = create_sandbox(tmp_path / "repo", issues=1, seed=0)
    write_world(repo)
    put_blender_on_path(tmp_path / "tools", monkeypatch)
    report = bench_repo(
        repo,
        [str(KERNEL)],
        n_actions=5,
        issue_ids=["world"],
        full=True,
        work_dir=tmp_path / "work",
    )
    assert report.faults == 0 and list((tmp_path / "work").iterdir()) == []
    with Ledger.read(report.ledger_path) as ledger:
        executions = [execution for execution in ledger.executions() if execution.outcome.derived_from is None]
    scores = {}
    for execution in executions:
        action, outcome = action_from_document(execution.action.model_dump()), execution.outcome
        plan = outcome.executed_plan
        assert outcome.passed and plan is not None and outcome.score is not None
        assert plan.swarm_id_executed == action.swarm_id
        assert action.max_candidates_bin in ("NA", plan.max_candidates_executed)
        assert action.max_iterations_bin in ("NA", plan.max_iterations_executed)
        scores[plan.max_candidates_executed or 0, plan.max_iterations_executed or 0] = outcome.score
    assert len(scores) >= 3 and len(set(scores.values())) >= 2


def put_blender_on_path(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Blender, and an agent that does nothing."""
    tools.mkdir()
    for name, text in (("blender", BLENDER), ("codex", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")


def write_world(repo: Path) -> None:
    """Add a world that the real kernel can build, and an issue that asks for it."""
    directory = repo / "fab" / "worlds" / "shell"
    directory.mkdir(parents=True)
    (directory / "world.yaml").write_text(yaml.safe_dump(WORLD))
    (directory / "genome.yaml").write_text(yaml.safe_dump(GENOME))
    (directory / "build.py").write_text(BUILD)
    universe = repo / "universes" / "sandbox" / "universe.yaml"
    entry = {"world_id": "shell", "world_kind": "fab_world", "path": "fab/worlds/shell/world.yaml", "enabled": True}
    document = yaml.safe_load(universe.read_text())
    universe.write_text(yaml.safe_dump({**document, "worlds": [entry]}))
    with (repo / ".beads" / "issues.jsonl").open("a") as issues:
        issue = {"id": "world", "title": "A shell", "status": "open", "tags": ["asset:world", "world:shell"]}
        issues.write(json.dumps(issue) + "\n")
    for command in (["add", "."], ["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "A world"]):
        subprocess.run(["git", *command], cwd=repo, check=True)


def test_contexts_that_the_real_kernel_builds_live_are_ours_with_the_same_tokens(kernel_repo: KernelRepo) -> None:
    """Of both builders: the kernel's own, and what was served beside it and what a later build makes for that run."""
    kernel_repo.write_issues(
        {"id": "1", "title": "Fix the API of the parser", "description": "The parser is slow", "tags": ["api", "slow"]},
        {"id": "2", "title": "Add a UI", "tags": ["ui"], "dk_risk": "high", "dk_speculate": True},
        {"id": "3", "title": "Never ends", "tags": ["slow"], "dk_tool_hint": "opencode"},
    )
    kernel_repo.write_config(
        toolchains={
            name: {"enabled": True, "path": name, "timeout_seconds": seconds}
            for name, seconds in (("codex", 900), ("claude", 900), ("opencode", 1))
        }
    )
    count = kernel_repo.tools / "count"
    every_other = (
        f"#!/bin/sh\necho >> {count}\n[ $(($(wc -l < {count}) % 2)) -eq 0 ] && echo done > solved.txt\nexit 0\n"
    )
    kernel_repo.write_tool("codex", every_other)
    kernel_repo.write_tool("opencode", SOLVES.format(sleep=3, cost=0.2))
    kernel_repo.write_tool("claude", "#!/bin/sh\nexit 3\n")
    served: dict[str, dict[str, Any]] = {}
    for issue_id in ("1", "2", "3", "1", "2", "1", "1", "2", "1", "1"):
        repo = Repo(kernel_repo.root)
        context = ContextBuilder(repo).now(issue_id)
        before = {run.run_id for run in repo.runs}
        command = [str(KERNEL), "run", "--once", "--issue", issue_id]
        subprocess.run(command, cwd=kernel_repo.root, capture_output=True, check=True, timeout=60)
        new = {run.run_id for run in Repo(kernel_repo.root).runs} - before
        served |= dict.fromkeys(new, context)
        reopen(kernel_repo.root)
        time.sleep(1.1)  # the kernel names a workcell by issue and second, and fails where that one was there
    repo = Repo(kernel_repo.root).read_all()
    found = make_examples(repo.runs, repo.issues, repo.universes, "planner", repo.start_failures)
    assert found.contexts["checked"] == found.contexts["same_tokens"] == len(served) >= 10
    for example in found.examples:
        hour = example.context["system_state"]["hour_bucket"]
        context = served[example.example_id]
        context = context | {"system_state": context["system_state"] | {"hour_bucket": hour}}
        assert token_segments(example.context, "planner") == token_segments(context, "planner")
    assert len(found.examples) >= 9
    assert {run.summary["outcome"]["status"] for run in repo.runs} == {"success", "failed", "timeout"}


def reopen(root: Path) -> None:
    """Open every issue again, as a person would."""
    path = root / ".beads" / "issues.jsonl"
    issues = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**i, "status": "open", "dk_attempts": 0}) + "\n" for i in issues))
