"""`planner run` with the real kernel, where it is installed: on PATH, or at the path in the variable CYNTRA."""

import io
import json
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bench.dispatch.evolutions import evolve_worlds
from bench.dispatch.options import EvolveOptions
from bench.testbeds.sandbox.create import create_sandbox
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.dataset.build import build_dataset
from planner.dataset.examples import make_examples
from planner.encoding.profiles import token_segments
from planner.serve import decide_issue
from tests.bench.conftest import SOLVES, KernelRepo
from tests.bench.dispatch_repo import SERIAL_45, SPECULATE_3_30, DispatchRepo, killing
from tests.bench.scripted_bundle import CODE_ACTIONS, write_kernel_bundle, write_scripted_bundle
from tests.bench.test_real_kernel import put_blender_on_path, write_world
from tests.rule.pairs import KERNEL

REAL = str(KERNEL)
pytestmark = pytest.mark.skipif(
    KERNEL is None, reason="the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA"
)


@pytest.fixture
def dispatch(kernel_repo: KernelRepo) -> DispatchRepo:
    """Agents that solve at once, and a config with control, routing and speculation of its own."""
    for name in ("codex", "claude", "opencode"):
        kernel_repo.write_tool(name, SOLVES.format(sleep=0, cost=0.25))
    kernel_repo.write_config(
        routing={
            "rules": [{"match": {"tags_any": ["ui"]}, "use": ["claude", "codex"], "speculate": True, "parallelism": 2}]
        },
        control={"enabled": True, "temperature_base": 0.3},
    )
    return DispatchRepo(kernel_repo)


def test_forty_decisions_over_all_swarms_and_budgets_reach_the_kernel_whole(
    dispatch: DispatchRepo, ray_cluster: Any, tmp_path: Path
) -> None:
    tags = dispatch.tags
    issues = [{"id": str(n), "tags": [tags[n % len(tags)]], "title": f"Issue {n}"} for n in range(40)]
    dispatch.repo.write_issues(*issues)
    report = dispatch.run(cyntra=REAL)
    assert report.is_complete and (report.as_decided, report.runs) == (40, 40)
    entries = {entry.later["recorded"]["archive"]: entry for entry in dispatch.journal.entries.values()}
    for number in range(40):
        section, action = dispatch.documents(str(number)), CODE_ACTIONS[number % len(CODE_ACTIONS)]
        executed = section["executed_plan"]
        assert executed["swarm_id_executed"] == action.swarm_id and not executed["fallback_applied"]
        assert action.max_candidates_bin in ("NA", executed["max_candidates_executed"])
        assert action.max_minutes_bin in ("NA", executed["timeout_seconds_executed"] / 60)
        assert not section["planner_action"]["abstain_to_default"]
    for entry in entries.values():
        assert entry.later["ended"]["launches"] == entry.later["recorded"]["executed_plan"]["max_candidates_executed"]
    info = build_dataset(dispatch.root, tmp_path / "dataset")
    assert sum(split.examples for split in info.splits.values()) == 40
    repo = Repo(dispatch.root).read_all()
    found = make_examples(repo.runs, repo.issues, repo.universes, "planner", repo.start_failures)
    assert found.contexts["checked"] == found.contexts["same_tokens"] == 40
    for example in found.examples:
        served = entries[example.example_id].decided["planner_input"]
        assert token_segments(example.context, "planner") == token_segments(served, "planner")
    assert not dispatch.leftovers()


def test_log_off_and_abstention_leave_the_run_to_the_kernel(dispatch: DispatchRepo) -> None:
    tag = dispatch.tags[SERIAL_45]
    dispatch.repo.write_issues(*({"id": str(n), "tags": [tag, "ui"]} for n in (1, 2)), {"id": "3", "tags": ["ui"]})
    plan = ("speculate_vote", 2, 3600)
    assert dispatch.run(cyntra=REAL, mode="log", issue_ids=["1"]).by_itself == {"log_only": 1}
    assert dispatch.run(cyntra=REAL, mode="off", issue_ids=["2"]).by_itself == {"mode_off": 1}
    assert dispatch.run(cyntra=REAL, issue_ids=["3"]).by_itself == {"low_confidence": 1}
    for issue_id, reason in (("1", "log_only"), ("2", None), ("3", "low_confidence")):
        executed = dispatch.documents(issue_id)["executed_plan"]
        assert tuple(executed.values())[1:4] == plan and executed["fallback_reason"] == reason
    assert dispatch.documents("1")["planner_action"]["swarm_id"] == "serial_handoff"


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_the_users_control_goes_on_where_the_candidates_are_forced(dispatch: DispatchRepo, rate: float) -> None:
    """A dynamics report gives the controller a say in parallelism and temperature: only the latter is left to it."""
    path = dispatch.root / ".cyntra/dynamics/dynamics_report.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"action_summary": {"global_action_rate": rate}}))
    dispatch.repo.write_issues({"id": "1", "tags": [dispatch.tags[SPECULATE_3_30]]})
    assert dispatch.run(cyntra=REAL).as_decided == 1
    (archive,) = (dispatch.root / ".cyntra/archives").glob("wc-1-*")
    control = orjson.loads((archive / "manifest.json").read_bytes())["control"]
    assert control["sampling"]["temperature"] == pytest.approx({0.05: 0.4, 0.3: 0.3, 0.9: 0.2}[rate])


def test_a_universe_whose_routing_goes_first_is_said_to_be_in_the_way(dispatch: DispatchRepo) -> None:
    directory = dispatch.root / "universes" / "u"
    directory.mkdir(parents=True)
    rule = {"match": {}, "use": ["codex", "claude"], "speculate": True, "parallelism": 2}
    universe = {
        "schema_version": "1.0",
        "universe_id": "u",
        "name": "U",
        "worlds": [{"world_id": "w", "world_kind": "codebase", "path": "."}],
        "policies": {"budgets": {"max_run_minutes": 50}, "routing_overrides": [rule]},
    }
    (directory / "universe.yaml").write_text(yaml.safe_dump(universe))
    tags = dispatch.tags
    dispatch.repo.write_issues({"id": "1", "tags": [tags[SPECULATE_3_30]]}, {"id": "2", "tags": [tags[SERIAL_45]]})
    report = dispatch.run(cyntra=REAL)
    assert (report.as_decided, report.by_itself) == (1, {"cannot_be_forced": 1})
    assert dispatch.documents("1")["executed_plan"]["max_candidates_executed"] == 2


def test_a_killed_command_is_completed_by_the_next_one(dispatch: DispatchRepo) -> None:
    dispatch.repo.write_issues({"id": "1", "tags": [dispatch.tags[SPECULATE_3_30]]})
    for moment in ("before", "after"):
        assert dispatch.start("--once", kernel=killing(moment, REAL)).wait(60) == -signal.SIGKILL
    first, second = dispatch.journal.entries.values()
    assert "interrupted" in first.later and second.is_open
    assert dispatch.run(cyntra=REAL).runs == 0
    executed = dispatch.documents("1")["executed_plan"]
    assert tuple(executed.values())[1:4] == ("speculate_vote", 3, 1800)
    assert dispatch.documents("1")["planner_action"]["model"]["checkpoint_id"] == "scripted"
    assert not dispatch.journal.open_entries() and not dispatch.leftovers()


def test_an_evolution_runs_with_the_swarm_population_and_generations_that_are_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = create_sandbox(tmp_path / "repo", issues=1, seed=0)
    write_world(root)
    put_blender_on_path(tmp_path / "tools", monkeypatch)
    space = Repo(root).universe.action_space
    tags = write_scripted_bundle(tmp_path / "bundle", space, job_type="fab-world")
    wanted = [Action("speculate_vote", 2, 15, 2), Action("serial_handoff", 1, "NA", 3)]
    tracker = root / ".beads/issues.jsonl"
    world = json.loads(tracker.read_text().splitlines()[-1])
    with tracker.open("a") as file:
        for number, action in enumerate(wanted):
            tag = tags[space.valid_actions("fab-world").index(action)]
            file.write(json.dumps({**world, "id": f"w{number}", "tags": [*world["tags"], tag]}) + "\n")
    options = EvolveOptions(
        planner_enabled=True, planner_checkpoint=tmp_path / "bundle", cyntra=REAL, issue_ids=["w0", "w1"], seed=7
    )
    report = evolve_worlds(root, options, print)
    assert report.is_complete and report.as_decided == 2
    repo = Repo(root).read_all()
    found = make_examples(repo.runs, repo.issues, repo.universes, "planner", repo.start_failures)
    assert [tuple(example.label) for example in found.examples] == [tuple(action) for action in wanted]
    assert found.contexts["checked"] == found.contexts["same_tokens"] == 2


def test_what_decide_says_of_a_kernels_bundle_is_what_the_kernel_makes_of_it(kernel_repo: KernelRepo) -> None:
    """Most decisions are dropped: the kernel keeps to the swarm that its rule chose, and only reduces."""
    bundle = kernel_repo.root.parent / "bundle"
    tags = write_kernel_bundle(bundle)
    for name in ("codex", "claude", "opencode"):
        kernel_repo.write_tool(name, SOLVES.format(sleep=0, cost=0.25))
    kernel_repo.write_config(
        planner={"mode": "enforce", "bundle_dir": str(bundle)},
        toolchains={name: {"path": name, "timeout_minutes": 45} for name in ("codex", "claude", "opencode")},
        routing={"rules": [{"match": {"dk_risk": ["high"]}, "speculate": True, "parallelism": 2}]},
    )
    risks = ("high", "low")
    kernel_repo.write_issues(
        *({"id": str(n), "tags": [tags[n * 5 % 30 if n < 6 else n]], "dk_risk": risks[n % 2]} for n in range(24))
    )
    reasons = Counter[str | None]()
    for number in range(24):
        answer = io.BytesIO()
        decide_issue(bundle, Repo(kernel_repo.root), str(number), answer, "enforce", (None, None, None))
        predicted = orjson.loads(answer.getvalue())["executed_plan"]
        command = [REAL, "run", "--once", "--issue", str(number)]
        subprocess.run(command, cwd=kernel_repo.root, capture_output=True, check=True, timeout=60)
        (archive,) = (kernel_repo.root / ".cyntra/archives").glob(f"wc-{number}-*")
        found = orjson.loads((archive / "manifest.json").read_bytes())["planner"]
        assert found["executed_plan"] == predicted, (number, found["planner_action"], answer.getvalue()[-900:])
        reasons[predicted["fallback_reason"]] += 1
    assert reasons["swarm_mismatch"] >= 5 and reasons[None] >= 2 and len(reasons) == 4, reasons
