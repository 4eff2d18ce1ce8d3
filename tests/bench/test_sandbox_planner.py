"""A bundle in the stand-in kernel: what it decides is what is run, and the documents tell both."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.testbeds.sandbox.create import create_sandbox
from planner.actions import Action
from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput
from planner.dataset.storage import load_dataset
from planner.export.bundle import export_bundle
from planner.runs.checkpoint import checkpoint_path
from tests.bench.sandbox_runs import REPOSITORY, kernel_command, kernel_environment
from tests.trained_runs import trained


@pytest.fixture(scope="module")
def run_of_one_epoch(corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ("model.d_model=32", "model.layers=1", "model.loops=2", "model.backprop_loops=1")
    return trained(corpus_dataset, tmp_path_factory.mktemp("policy") / "run", *small, arch="urm_planner")


@pytest.fixture
def bundle_for(run_of_one_epoch: Path, corpus_dataset: Path, tmp_path: Path) -> Callable[[Action], Path]:
    """A bundle of a policy that is sure of one action, whatever the context."""

    def make(action: Action) -> Path:
        run = tmp_path / "run"
        shutil.copytree(run_of_one_epoch, run)
        file = checkpoint_path(run) / "model.safetensors"
        weights = load_file(file)
        space = load_dataset(corpus_dataset).space
        bias = torch.zeros_like(weights["heads.linear.bias"])
        offset = 0
        for width, position in zip(space.widths, space.index(action), strict=True):
            bias[offset + position] = 20.0
            offset += width
        weights["heads.linear.bias"] = bias
        weights["heads.linear.weight"] = torch.zeros_like(weights["heads.linear.weight"])
        save_file(weights, file)
        export_bundle(run, tmp_path / "bundle")
        return tmp_path / "bundle"

    return make


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A sandbox whose rule runs issue 1 alone, and whose minutes are short."""
    repo = create_sandbox(tmp_path / "repo", issues=2, seed=7, seconds_per_minute=0.05)
    lines = [orjson.loads(line) for line in (repo / ".beads" / "issues.jsonl").read_bytes().splitlines()]
    issues = [{**issue, "dk_risk": "low"} for issue in lines]
    (repo / ".beads" / "issues.jsonl").write_bytes(b"".join(orjson.dumps(issue) + b"\n" for issue in issues))
    return repo


@pytest.fixture
def run_kernel(repo: Path, tools: Path) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    def run(*arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The one archive's planner section (the same in manifest and rollout), and the events."""
        command = kernel_command("--issue", "1", *arguments, config="config.yaml")
        done = subprocess.run(command, cwd=repo, env=kernel_environment(tools), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (archive,) = (repo / ".cyntra" / "archives").iterdir()
        section = orjson.loads((archive / "manifest.json").read_bytes())["planner"]
        if (archive / "rollout.json").exists():
            assert orjson.loads((archive / "rollout.json").read_bytes())["planner"] == section
        for name, model in (
            ("planner_input", PlannerInput),
            ("planner_action", PlannerAction),
            ("executed_plan", ExecutedPlan),
        ):
            validate(model, section[name], name)
        events = (repo / ".cyntra" / "logs" / "events.jsonl").read_bytes().splitlines()
        return section, [orjson.loads(line) for line in events]

    return run


def executed(section: dict[str, Any]) -> tuple[Any, ...]:
    plan = section["executed_plan"]
    names = ("swarm_id_executed", "max_candidates_executed", "timeout_seconds_executed", "fallback_reason")
    return tuple(plan[name] for name in names)


def test_the_decided_swarm_candidates_and_minutes_are_run(
    bundle_for: Callable[[Action], Path], run_kernel: Callable[..., Any]
) -> None:
    bundle = bundle_for(Action("speculate_vote", 3, 15, "NA"))
    section, events = run_kernel("--planner-enabled", "--planner-checkpoint", str(bundle))
    action = section["planner_action"]
    assert (action["swarm_id"], action["budgets"]["max_candidates_bin"]) == ("speculate_vote", 3)
    assert action["model"]["checkpoint_id"].startswith("URMPlanner-")
    assert executed(section) == ("speculate_vote", 3, 900, None)
    voting = next(event for event in events if event["type"] == "speculate.voting")
    assert voting["data"]["count"] == 3


def test_more_candidates_than_tools_may_run_are_a_fallback_that_keeps_the_prediction(
    bundle_for: Callable[[Action], Path], run_kernel: Callable[..., Any], repo: Path
) -> None:
    config = repo / ".cyntra" / "config.yaml"
    config.write_text(config.read_text().replace("max_parallelism: 3", "max_parallelism: 2"))
    bundle = bundle_for(Action("speculate_vote", 3, 15, "NA"))
    section, events = run_kernel("--planner-enabled", "--planner-checkpoint", str(bundle))
    assert section["planner_action"]["budgets"]["max_candidates_bin"] == 3
    assert section["planner_action"]["abstain_to_default"] is True
    assert executed(section) == ("serial_handoff", 1, 3600, "max_candidates_exceeds_cap")
    assert not [event for event in events if event["type"] == "speculate.voting"]


def test_what_the_planner_leaves_open_stays_with_the_rule(
    bundle_for: Callable[[Action], Path], run_kernel: Callable[..., Any]
) -> None:
    bundle = bundle_for(Action("speculate_vote", "NA", "NA", "NA"))
    section, _ = run_kernel("--planner-enabled", "--planner-checkpoint", str(bundle))
    assert executed(section) == ("speculate_vote", 2, 3600, None)


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_without_a_usable_bundle_the_run_goes_on_and_says_why(
    run_kernel: Callable[..., Any], tmp_path: Path, damage: str
) -> None:
    if damage == "broken":
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "metadata.json").write_text("{")
    section, events = run_kernel("--planner-enabled", "--planner-checkpoint", str(tmp_path / "bundle"))
    assert section["executed_plan"]["fallback_reason"].startswith("bundle_load_failed: ")
    assert executed(section)[:3] == ("serial_handoff", 1, 3600)
    assert events[-1]["type"] in ("issue.completed", "issue.failed")


def test_an_issue_that_is_forced_by_its_id_runs_as_the_rule_says(
    bundle_for: Callable[[Action], Path], run_kernel: Callable[..., Any], repo: Path
) -> None:
    issues = repo / ".beads" / "issues.jsonl"
    issues.write_bytes(issues.read_bytes().replace(b'"status":"open"', b'"status":"blocked"'))
    bundle = bundle_for(Action("speculate_vote", 2, 15, "NA"))
    section, _ = run_kernel("--planner-enabled", "--planner-checkpoint", str(bundle))
    assert section["planner_action"]["swarm_id"] == "speculate_vote"
    assert executed(section) == ("serial_handoff", 1, 3600, "issue_not_schedulable")


def test_a_planner_without_a_bundle_is_a_wrong_command_line(repo: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.testbeds.sandbox.kernel",
        "run",
        "--once",
        "--issue",
        "1",
        "--planner-enabled",
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--planner-checkpoint" in done.stderr
