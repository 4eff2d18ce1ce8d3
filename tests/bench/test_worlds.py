"""World jobs: what an evolution writes, how search pays, and how such a job flows from the sandbox to an outcome."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bench.containment.limits import Deadline, Limits
from bench.containment.workdirs import make_work_dir, remove_tree
from bench.executors.cyntra.executor import CyntraExecutor
from bench.executors.cyntra.world_jobs import START_S, evolution_seed
from bench.testbeds.sandbox.create import create_sandbox
from bench.testbeds.sandbox.evolve import add_evolve_options, evolve
from bench.testbeds.sandbox.kernel import main
from bench.testbeds.sandbox.record import record_history
from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir
from planner.actions import Action, ActionSpace, action_from_document
from planner.artifacts.records import RunRecord
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchOutcome
from planner.dataset.build import build_dataset
from planner.dataset.storage import load_dataset
from planner.errors import BenchError, ConfigError
from planner.evaluation.decisions import labels_of
from tests.bench.benches import bench_repo, cases_of, executor_of
from tests.bench.sandbox_runs import clone_of

WORLDS = ("cave_1", "cave_2", "cave_3")
GATES = ["connectivity_v001", "difficulty_v001", "openness_v001"]
KERNEL = (sys.executable, "-m", "bench.testbeds.sandbox.kernel")
SECONDS_PER_MINUTE = 0.02


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two code issues and three worlds (issues 3 to 5) whose candidates take a few milliseconds; nobody changes it."""
    directory = tmp_path_factory.mktemp("worlds") / "repo"
    repo = create_sandbox(directory, issues=2, seed=7, seconds_per_minute=SECONDS_PER_MINUTE, worlds=3)
    for world_id in WORLDS:
        change_world(repo, world_id, size=24, maps=3)
    return repo


@pytest.fixture
def repo(sandbox: Path, tmp_path: Path) -> Path:
    """A copy to run in."""
    target = clone_of(sandbox, tmp_path / "repo")
    subprocess.run(["git", "config", "user.name", "Tester"], cwd=target, check=True)
    subprocess.run(["git", "config", "user.email", "tester@example.org"], cwd=target, check=True)
    return target


def change_world(repo: Path, world_id: str, **layout: int) -> None:
    """Commit another layout of a world, so that clones have it too."""
    path = repo / "fab" / "worlds" / world_id / "world.yaml"
    document = yaml.safe_load(path.read_text())
    document["parameters"]["defaults"]["layout"] |= layout
    commit_world(repo, path, document)


def close_gates(repo: Path, world_id: str) -> None:
    """Commit gates that no map can pass."""
    path = repo / "fab" / "worlds" / world_id / "world.yaml"
    document = yaml.safe_load(path.read_text())
    for gate in document["gates"]:
        gate |= {"low": 8.0, "high": 9.0}
    commit_world(repo, path, document)


def commit_world(repo: Path, path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document))
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    # The commit is part of a case's id, and with it of its evolutions' seeds.
    dates = {f"GIT_{role}_DATE": "2025-01-06T08:00:00 +0000" for role in ("AUTHOR", "COMMITTER")}
    command = ["git", *identity, "commit", "--quiet", "--all", "-m", "world"]
    subprocess.run(command, cwd=repo, env={**os.environ, **dates}, check=True)


def evolved(kernel_dir: Path, world_id: str = "cave_1", **options: Any) -> dict[str, Any]:
    """Evolve in this process; evolve_world.json and, under ``directory``, where it is."""
    parser = argparse.ArgumentParser()
    add_evolve_options(parser)
    words = ["--universe", "sandbox", "--world", world_id]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    directory = evolve(kernel_dir, parser.parse_args(words))
    return {**orjson.loads((directory / "evolve_world.json").read_bytes()), "directory": directory}


def the_evolution(repo: Path) -> RunRecord:
    artifacts = Repo(repo).read_all()
    assert artifacts.quarantine.entries == []
    (run,) = artifacts.runs
    return run


def passing_seed(repo: Path, **options: Any) -> dict[str, Any]:
    """The evolution of the first seed whose last generation has a selected candidate; others are removed."""
    for seed in range(30):
        document = evolved(repo / ".cyntra", seed=seed, **options)
        if document["history"][-1]["selected_run_id"]:
            return document
        remove_tree(repo / ".cyntra" / "runs")
    pytest.fail("no seed passes")


def execute(repo: Path, action: Action, issue_id: str = "3", **options: Any) -> BenchOutcome:
    deadline = options.pop("deadline", None)
    executor = prepare(repo, **options)
    (case,) = cases_of(repo, issue_ids=[issue_id], n_actions=1)
    work_dir = repo.parent / "work" / issue_id
    make_work_dir(work_dir)
    outcome = executor.execute(case, action, work_dir, 0, deadline)
    remove_tree(work_dir)
    return outcome


def prepare(repo: Path, command: tuple[str, ...] = KERNEL, **options: Any) -> CyntraExecutor:
    tools = toolchain_dir(repo.parent / "tools")
    return executor_of(repo, command, extra_path=[tools], pass_on=["PYTHONPATH"], **options)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in runs in other directories and must be found there."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_the_reader_finds_the_plan_the_gates_the_time_and_the_score_that_an_evolution_wrote(repo: Path) -> None:
    document = passing_seed(repo, swarm="speculate_vote", population=3, generations=2)
    run = the_evolution(repo)
    assert (run.kind, run.world_id, run.objective_id, run.universe_id) == (
        "evolution",
        "cave_1",
        "fix_fast_v1",
        "sandbox",
    )
    assert run.executed_plan is not None
    assert run.executed_plan["swarm_id_executed"] == "speculate_vote"
    assert run.executed_plan["max_candidates_executed"] == 3
    assert run.executed_plan["max_iterations_executed"] == 2
    assert run.summary["outcome"]["gates"] == [{"name": name, "passed": True} for name in GATES]
    assert run.summary["tags"] == ["grid", "halls"]
    candidates = sorted((repo / ".cyntra" / "runs").glob("evo_*"))
    assert len(candidates) == 6
    manifests = [orjson.loads((path / "manifest.json").read_bytes()) for path in candidates]
    stages = [stage for manifest in manifests for stage in manifest["stages"]]
    assert [stage["id"] for stage in stages[:3]] == ["generate", "measure", "validate"]
    assert run.summary["runtime"]["duration_ms"] == sum(stage["duration_ms"] for stage in stages) > 0
    selected = document["history"][-1]["selected_run_id"]
    verdict = orjson.loads((repo / ".cyntra" / "runs" / selected / "verdict" / "gate_verdict.json").read_bytes())
    assert (run.passed, verdict["verdict"]) == (True, "pass")
    assert run.score == verdict["scores"]["overall"] > 0.5


def test_an_evolution_in_which_nothing_passes_tells_the_gates_that_were_missed(repo: Path) -> None:
    close_gates(repo, "cave_1")
    evolved(repo / ".cyntra", generations=2, population=2)
    run = the_evolution(repo)
    assert (run.passed, run.score) == (False, None)
    assert run.summary["outcome"]["fail_codes"] == GATES


def test_without_options_the_universes_swarm_and_three_generations_run(repo: Path) -> None:
    document = evolved(repo / ".cyntra")
    found = [document[key] for key in ("swarm_id", "population_size", "generations", "objective_id", "seed")]
    assert found == ["serial_handoff", 1, 3, "fix_fast_v1", 42]


def test_the_same_seed_gives_the_same_candidates_and_they_are_built_once(repo: Path) -> None:
    first, again = evolved(repo / ".cyntra", population=2), evolved(repo / ".cyntra", population=2)
    assert first["directory"] != again["directory"]
    built = [candidate for generation in first["history"] for candidate in generation["candidates"]]
    reused = [candidate for generation in again["history"] for candidate in generation["candidates"]]
    assert [candidate | {"reused": True} for candidate in built] == reused
    assert not any(candidate["reused"] for candidate in built)


def test_larger_populations_and_more_generations_find_passing_maps_more_often(repo: Path) -> None:
    def passes(population: int, generations: int) -> int:
        found = 0
        for world_id in WORLDS:
            for seed in range(8):
                kernel_dir = repo / f".p{population}g{generations}"
                options = {"swarm": "speculate_vote", "population": population, "generations": generations}
                document = evolved(kernel_dir, world_id, seed=seed, **options)
                chosen = [generation["selected_run_id"] is not None for generation in document["history"]]
                assert chosen == sorted(chosen), "a map that passed was given up"
                found += chosen[-1]
        return found

    one, wide, deep = passes(1, 1), passes(3, 1), passes(3, 3)
    assert 0 < one < wide < deep < 24
    assert deep >= 2 * one


def test_a_serial_swarm_hands_its_candidates_on_and_a_speculation_draws_anew(repo: Path) -> None:
    close_gates(repo, "cave_2")

    def starts(swarm: str) -> list[dict[str, Any]]:
        """What every candidate's changed genes were before."""
        document = evolved(repo / f".{swarm}", "cave_2", swarm=swarm, population=1, generations=5)
        candidates = [generation["candidates"][0] for generation in document["history"]]
        return [{key: change["from"] for key, change in candidate["delta"].items()} for candidate in candidates]

    world = yaml.safe_load((repo / "fab" / "worlds" / "cave_2" / "world.yaml").read_text())
    cave = world["parameters"]["defaults"]["cave"]
    defaults = {f"cave.{name}": value for name, value in cave.items()}
    assert all(start.items() <= defaults.items() for start in starts("speculate_vote"))
    assert not all(start.items() <= defaults.items() for start in starts("serial_handoff"))


def test_what_an_evolution_needs_and_does_not_find_is_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"no world to evolve 'toolbox'; found \['cave_1'"):
        evolved(repo / ".cyntra", "toolbox")
    with pytest.raises(ConfigError, match="no swarm 'crowd'"):
        evolved(repo / ".cyntra", swarm="crowd")
    with pytest.raises(ConfigError, match="at least 1"):
        evolved(repo / ".cyntra", population=0)
    config = ["--config", str(repo / ".cyntra" / "config.yaml")]
    assert main([*config, "evolve", "--universe", "nowhere", "--world", "cave_1"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert main([*config, "run", "--once", "--issue", "3"]) == 0
    assert "world job" in capsys.readouterr().out
    assert not (repo / ".cyntra" / "archives").exists()


def test_worlds_come_on_top_of_a_sandbox_that_stays_the_same(sandbox: Path, tmp_path: Path) -> None:
    plain = create_sandbox(tmp_path / "plain", issues=2, seed=7, seconds_per_minute=SECONDS_PER_MINUTE)
    added, changed = set(), set()
    for path in sorted(sandbox.rglob("*")):
        name = path.relative_to(sandbox).as_posix()
        if path.is_file() and not name.startswith((".git/", "fab/")):
            if not (plain / name).exists():
                added.add(name)
            elif (plain / name).read_bytes() != path.read_bytes():
                changed.add(name)
    assert (added, changed) == (set(), {".beads/issues.jsonl", "universes/sandbox/universe.yaml"})
    lines = (sandbox / ".beads" / "issues.jsonl").read_text().splitlines()
    assert lines[:2] == (plain / ".beads" / "issues.jsonl").read_text().splitlines()
    assert [json.loads(line)["tags"][:2] for line in lines[2:]] == [["asset:world", f"world:{name}"] for name in WORLDS]


def test_an_execution_forces_population_and_generations_and_reads_the_outcome(repo: Path) -> None:
    outcome = execute(repo, Action("speculate_vote", 2, 120, 5), limits=Limits(60))
    assert (outcome.fault, outcome.stopped_by) == (None, None)
    assert outcome.executed_plan is not None
    plan = outcome.executed_plan
    assert (plan.swarm_id_executed, plan.max_candidates_executed) == ("speculate_vote", 2)
    assert (plan.max_iterations_executed, plan.timeout_seconds_executed) == (5, 7200)
    assert sorted(gate.name for gate in outcome.gates) == GATES
    assert (
        (outcome.score is not None)
        == (outcome.status == "success")
        == outcome.passed
        == all(gate.passed for gate in outcome.gates)
    )
    assert outcome.fail_codes == [gate.name for gate in outcome.gates if not gate.passed]
    assert 0 < outcome.agent_ms < outcome.duration_ms
    assert (outcome.launches, outcome.cost_usd) == ([], None)
    assert not (repo / ".cyntra" / "runs").exists()


def test_repeats_of_a_case_draw_other_maps_and_its_actions_the_same() -> None:
    assert evolution_seed("case-1", 0) == evolution_seed("case-1", 0)
    assert len({evolution_seed("case-1", 0), evolution_seed("case-1", 1), evolution_seed("case-2", 0)}) == 3


def test_an_evolution_of_another_size_than_the_forced_one_is_a_fault(repo: Path) -> None:
    script = repo.parent / "stubborn"
    script.write_text(f'#!/bin/sh\nexec {" ".join(KERNEL)} "$@" --generations=1\n')
    script.chmod(0o755)
    outcome = execute(repo, Action("serial_handoff", 1, 120, 2), command=(str(script),), limits=Limits(60))
    assert outcome.status == "fault"
    assert outcome.fault is not None and "2 iterations, ran" in outcome.fault


def test_an_evolution_that_cannot_begin_is_a_fault_that_says_why(repo: Path) -> None:
    (repo / "universes" / "sandbox" / "swarms.yaml").unlink()
    outcome = execute(repo, Action("serial_handoff", 1, 120, 2), limits=Limits(60))
    assert outcome.fault is not None
    assert "exit code 1" in outcome.fault and "swarms.yaml" in outcome.fault


def test_the_minutes_end_a_long_evolution_and_leave_no_process(
    repo: Path, processes_with: Callable[[str], list[str]]
) -> None:
    change_world(repo, "cave_1", size=60, maps=100_000)
    action = Action("serial_handoff", 1, 15, 2)
    assert prepare(repo).wall_limit(action, START_S) == 15 * SECONDS_PER_MINUTE + START_S
    outcome = execute(repo, action)
    assert (outcome.status, outcome.stopped_by, outcome.fault) == ("timeout", "walltime", None)
    assert (outcome.passed, outcome.fail_codes, outcome.executed_plan) == (False, ["timeout"], None)
    assert outcome.agent_ms == outcome.duration_ms
    assert processes_with(str(repo.parent)) == []


def test_an_evolution_that_cannot_win_any_more_is_stopped_early(repo: Path) -> None:
    change_world(repo, "cave_1", size=60, maps=100_000)
    outcome = execute(repo, Action("serial_handoff", 1, 120, 2), limits=Limits(60), deadline=Deadline(0.3))
    assert (outcome.status, outcome.stopped_by, outcome.passed, outcome.score) == (
        "stopped_early",
        "capped",
        False,
        None,
    )


def test_a_bench_of_worlds_alone_needs_no_agents_tool_and_one_with_code_names_what_is_missing(
    repo: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    report = bench_repo(repo, KERNEL, issue_ids=["3"], n_actions=2)
    assert (report.run, report.faults) == (2, 0)
    with pytest.raises(BenchError, match="none of the config's toolchains is on PATH"):
        bench_repo(repo, KERNEL, n_actions=2)


def test_a_world_job_flows_from_the_sandbox_by_way_of_the_dataset_to_an_outcome(
    repo: Path, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recorded = record_history(repo, runs=6, seed=3, issues=["1", "2", "3", "4"])
    kinds = ["evolution" if name.startswith("evolve_world_") else "code" for name in recorded]
    assert kinds == ["code", "code", "evolution"] * 2

    info = build_dataset(repo, tmp_path / "dataset")
    assert info.counts["examples"] == 6 and info.quarantine == []
    labels = []
    for split in load_dataset(tmp_path / "dataset").splits.values():
        for label, context in zip(labels_of(split), split.contexts(), strict=True):
            space = ActionSpace.from_document(context["action_space"])
            assert space.is_valid(label, context["job_type"])
            if context["job_type"] == "fab-world":
                labels.append(label)
    assert len(labels) == 2
    assert all("NA" not in (label.max_candidates_bin, label.max_iterations_bin) for label in labels)

    first, second = cases_of(repo, issue_ids=["3", "4"], n_actions=6)
    histories = [[run.run_id for run in case.context.history.last_n_similar_runs] for case in (first, second)]
    assert [sorted(names) for names in histories] == [
        sorted(name for name in recorded if f"_{world_id}_" in name) for world_id in WORLDS[:2]
    ]
    assert first.context.job_type == "fab-world"
    space = ActionSpace.from_document(first.context.action_space.model_dump(by_alias=True))
    actions = [action_from_document(action.model_dump()) for action in first.actions]
    assert len(set(actions)) == 6
    assert all(space.is_valid(action, "fab-world") and "NA" not in action for action in actions)
    work_dir = tmp_path / "work"
    make_work_dir(work_dir)
    outcome = prepare(repo, limits=Limits(60)).execute(first, actions[1]._replace(max_minutes_bin=120), work_dir)
    assert (outcome.fault, outcome.stopped_by) == (None, None)
