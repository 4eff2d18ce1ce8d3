"""Tests of the simulated world, the repo that it writes, and the bench on it."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

from bench.containment.limits import Deadline
from bench.engine.run import run_bench
from bench.judging.relabel import relabel
from bench.judging.results import read_results
from bench.ledger import Ledger
from bench.options import BenchOptions
from bench.testbeds.simulation.executor import SimulateExecutor
from bench.testbeds.simulation.operator import EXPLORES, Operator
from bench.testbeds.simulation.repo import simulate_repo
from bench.testbeds.simulation.world import DAY_MS, START_MS, TOOLS, Lane, SimulatedRun, World, tool_order
from planner.actions import Action, action_from_document
from planner.artifacts.repo import Repo
from planner.artifacts.universe import load_kernel_config
from planner.context import ContextBuilder
from planner.contracts.bench import BenchCase
from planner.contracts.document import timestamp_to_ms, validate
from planner.contracts.kernel import PlannerInput
from planner.dataset.build import build_dataset
from planner.errors import BenchError
from planner.policies.heuristic import HeuristicPolicy

WORLD = World(seed=0, days=30)
SERIAL = Action("serial_handoff", 1, 60, "NA")
WIDE = Action("speculate_vote", 3, 120, "NA")


def runs_of(action: Action, issues: int = 300, world: World = WORLD) -> list[SimulatedRun]:
    return [world.run(world.issue(str(i)), action, 0, START_MS + i * DAY_MS // 10) for i in range(issues)]


def pass_rate(action: Action) -> float:
    return float(np.mean([run.passed for run in runs_of(action)]))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 runs of 60 issues over 8 days, and 12 open issues. Tests must not change it."""
    root = tmp_path_factory.mktemp("simulated") / "repo"
    made = simulate_repo(root, runs=300, issues=60, open_issues=12, seed=1)
    assert (made.runs, made.issues + made.open_issues) == (300, 72)
    return root


def test_an_outcome_depends_on_seed_issue_action_trial_and_time_alone() -> None:
    issue, at_ms = WORLD.issue("7"), START_MS + DAY_MS
    same = [World(0, 30).run(World(0, 30).issue("7"), SERIAL, trial, at_ms) for trial in range(20)]
    assert same == [WORLD.run(issue, SERIAL, trial, at_ms) for trial in range(20)]
    assert len({run.duration_ms for run in same}) > 15
    # Serial, and speculation with one candidate, are the same plan: only the draws differ.
    other = [WORLD.run(issue, SERIAL._replace(swarm_id="speculate_vote"), trial, at_ms) for trial in range(20)]
    assert not {run.duration_ms for run in other if run.passed} & {run.duration_ms for run in same if run.passed}
    assert sum(run.passed for run in other) > 3
    assert World(1, 30).issue("7") != issue
    # A longer world is the same world, as long as both last.
    assert World(0, 60).run(issue, SERIAL, 3, at_ms) == WORLD.run(issue, SERIAL, 3, at_ms)


def test_more_candidates_and_more_minutes_and_more_iterations_pass_more_often_and_cost_more_agent_time() -> None:
    ladders = [
        [SERIAL, Action("speculate_vote", 2, 60, "NA"), Action("speculate_vote", 3, 60, "NA")],
        [SERIAL._replace(max_minutes_bin=minutes) for minutes in (5, 15, 120)],
        [SERIAL._replace(max_iterations_bin=iterations) for iterations in (1, 2, 5)],
    ]
    for ladder in ladders:
        rates = [pass_rate(action) for action in ladder]
        agent = [sum(run.agent_ms for run in runs_of(action)) for action in ladder]
        assert rates == sorted(rates) and rates[-1] - rates[0] > 0.03, ladder
        assert agent == sorted(agent), ladder


def test_no_lane_outlasts_its_minutes_and_a_run_lasts_as_long_as_its_slowest_lane() -> None:
    for run in runs_of(Action("speculate_vote", 3, 15, 2)):
        assert all(lane.duration_ms <= 15 * 60_000 for lane in run.lanes)
        assert run.duration_ms >= max(lane.duration_ms for lane in run.lanes)
        assert run.passed == any(lane.status == "success" for lane in run.lanes)
        assert all(lane.duration_ms == 15 * 60_000 for lane in run.lanes if lane.status == "timeout")


def test_about_a_quarter_of_the_cells_is_flaky_and_tools_agree_on_what_is_hard() -> None:
    """The facts copied from recorded runs: .25 to .34 flaky, correlation of two tools .47, spread of log time .46."""
    rates: dict[str, list[float]] = {tool: [] for tool in TOOLS[:2]}
    spreads = []
    for number in range(400):
        issue = WORLD.issue(str(number))
        for tool in rates:
            hinted = type(issue)(**{**vars(issue), "document": {**issue.document, "dk_tool_hint": tool}})
            runs = [
                WORLD.run(hinted, SERIAL._replace(max_minutes_bin=120), trial, START_MS + number * DAY_MS // 20)
                for trial in range(5)
            ]
            rates[tool].append(float(np.mean([run.passed for run in runs])))
            times = [np.log(run.kept.duration_ms) for run in runs if run.passed]
            if len(times) > 1:
                spreads.append(np.var(times, ddof=1))
    cells = np.array(list(rates.values()))
    assert 0.2 < np.mean((cells > 0) & (cells < 1)) < 0.36
    assert 0.3 < np.corrcoef(cells)[0, 1] < 0.65
    assert 0.4 < np.sqrt(np.mean(spreads)) < 0.52


def test_strengths_drift_over_days_and_hardly_within_hours() -> None:
    world = World(seed=5, days=200)
    issues = [world.issue(str(number)) for number in range(200)]

    def change(days: float) -> float:
        odds = [
            [np.log(p / (1 - p)) for p in (world.solve_probability(issue, "codex", at) for at in (START_MS, later))]
            for issue in issues
            for later in [START_MS + round(days * DAY_MS)]
        ]
        return float(np.mean([abs(before - after) for before, after in odds]))

    assert change(0.1) == 0
    assert 0 < change(1) < change(40)


def test_a_hinted_tool_goes_first_and_an_unknown_one_is_ignored() -> None:
    assert tool_order("opencode") == ["opencode", "codex", "claude", "crush"]
    assert tool_order("nobody") == tool_order(None) == list(TOOLS)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        text = b"".join(str(path.relative_to(root)).encode() + path.read_bytes() for path in files)
        return hashlib.sha256(text).hexdigest()

    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        simulate_repo(tmp_path / name, runs=50, issues=20, open_issues=4, seed=seed)
    assert digest(tmp_path / "one") == digest(tmp_path / "again") != digest(tmp_path / "other")


def files_of(action: Action, status: str) -> set[str]:
    """What the kernel archives (docs/kernel-contract.md, table of section 1)."""
    if action.swarm_id == "speculate_vote" or status in ("success", "gates"):
        return {"manifest", "proof", "rollout"}
    return {"manifest"} if status == "timeout" else {"manifest", "proof"}


def test_every_run_is_read_back_with_its_plan_and_the_outcome_that_was_drawn(repo: Path) -> None:
    """Among them the archives without a proof: serial timeouts, whose end the event log alone tells."""
    artifacts = Repo(repo).read_all()
    assert artifacts.quarantine.entries == [] and len(artifacts.runs) == 300
    world = SimulateExecutor.prepare(Repo(repo)).world
    trials: Counter[str | None] = Counter()
    shapes = set()
    for run in artifacts.runs:
        plan = run.executed_plan
        assert plan is not None
        action = Action(
            plan["swarm_id_executed"], plan["max_candidates_executed"], plan["timeout_seconds_executed"] // 60, "NA"
        )
        issue = world.issue(str(run.issue_id))
        drawn = world.run(issue, action, trials[run.issue_id], run.started_ms)
        trials[run.issue_id] += 1
        expected = {"success": "success", "timeout": "timeout"}.get(drawn.kept.status, "failed")
        assert run.summary["outcome"]["status"] == expected
        assert run.ended_ms - run.started_ms == drawn.duration_ms
        assert {gate["name"]: gate["passed"] for gate in run.summary["outcome"]["gates"]} == drawn.gates
        assert {path.stem for path in (repo / ".cyntra" / "archives" / run.run_id).iterdir()} == files_of(
            action, drawn.kept.status
        )
        shapes.add((action.swarm_id, drawn.kept.status))
    assert len(shapes) == 8  # both swarms, all four ways of ending


def test_the_event_log_names_every_candidate_of_a_speculation(repo: Path) -> None:
    """As the kernel's does: of those that were not chosen it is all that is left."""
    artifacts = Repo(repo).read_all()
    started = Counter((cell.issue_id, cell.started_ms) for cell in artifacts.events.values())
    for run in artifacts.runs:
        assert run.executed_plan is not None
        assert started[run.issue_id, run.started_ms] == run.executed_plan["max_candidates_executed"]


def test_a_recorded_context_is_what_the_repo_gives_at_that_moment_and_holds_only_runs_that_had_ended(
    repo: Path,
) -> None:
    artifacts = Repo(repo).read_all()
    ended = {run.run_id: run.ended_ms for run in artifacts.runs}
    builder = ContextBuilder(Repo(repo), "kernel")
    recorded = 0
    for run in sorted(artifacts.runs, key=lambda run: (run.decided_ms, run.run_id)):
        if run.planner_input is None:
            continue
        recorded += 1
        context = orjson.loads(run.planner_input.text)
        validate(PlannerInput, context, run.run_id)
        neighbours = context["history"]["last_n_similar_runs"]
        assert all(ended[neighbour["run_id"]] <= run.decided_ms for neighbour in neighbours)
        rebuilt = builder.build(str(run.issue_id), created_ms=run.decided_ms, system_state=context["system_state"])
        assert context == rebuilt
    assert 0.7 < recorded / len(artifacts.runs) < 0.9


def test_the_operator_follows_the_rule_raises_failed_plans_and_explores(repo: Path) -> None:
    context = ContextBuilder(Repo(repo)).build("1", created_ms=START_MS)
    rule = HeuristicPolicy(load_kernel_config(repo / ".cyntra" / "config.yaml"))
    default = rule.decide(context)
    operator = Operator(rule, random.Random(0))

    def usual(last: tuple[Action, str] | None, area_is_failing: bool = False) -> tuple[Action, float]:
        run = None if last is None else (last[0], SimulatedRun((Lane("codex", last[1], 1, 0.0),), 0, 1))
        chosen = Counter(operator.choose(context, run, area_is_failing) for _ in range(400))
        (action, times), *others = chosen.most_common()
        assert len(others) > 10 and all(count < 20 for _, count in others)
        return action, times / 400

    assert usual(None) == (default, pytest.approx(1 - EXPLORES, abs=0.06))
    assert usual((WIDE, "success"))[0] == default
    wider = Action("speculate_vote", 2, 60, "NA")
    assert usual((SERIAL, "gates"))[0] == usual((SERIAL, "broken"))[0] == wider
    assert usual((SERIAL, "timeout"))[0] == SERIAL._replace(max_minutes_bin=120)
    assert usual((WIDE._replace(max_minutes_bin=60), "gates"))[0] == usual((WIDE, "timeout"))[0] == WIDE
    assert default == Action("speculate_vote", 2, 60, "NA")
    assert usual(None, area_is_failing=True)[0] == default._replace(max_candidates_bin=3)


def test_a_simulated_repo_goes_from_dataset_to_bench_to_winners(repo: Path, ray_cluster: Any, tmp_path: Path) -> None:
    info = build_dataset(repo, tmp_path / "dataset")
    assert (info.counts["examples"], info.counts["quarantined"], info.contexts["neighbours_withdrawn"]) == (300, 0, 0)
    ledger = tmp_path / "ledger.sqlite"
    options = BenchOptions(executor="simulate", ledger=ledger, n_actions=4, repeats=2, limit=10, full=True)
    report = run_bench(repo, options)
    assert (report.run, report.faults, len(report.cases)) == (80, 0, 10)
    results = read_results(ledger)
    artifacts = Repo(repo).read_all()
    created = {key: timestamp_to_ms(issue["created"]) for key, issue in artifacts.issues.items()}
    decided = [result.decided_ms for result in results]
    assert decided == [created[result.case.issue_id] for result in results] and len(set(decided)) == 10
    assert {artifacts.issues[result.case.issue_id]["status"] for result in results} == {"open"}
    assert not {run.issue_id for run in artifacts.runs} & {result.case.issue_id for result in results}
    executor = SimulateExecutor.prepare(Repo(repo))
    for result in results:
        for action, outcomes in result.outcomes.items():
            assert outcomes == [
                executor.execute(result.case, action, tmp_path, repeat, Deadline()) for repeat in (0, 1)
            ]
            issue = executor.world.issue(result.case.issue_id)
            drawn = [executor.world.run(issue, action, repeat, result.decided_ms) for repeat in (0, 1)]
            assert [outcome.duration_ms for outcome in outcomes] == [run.duration_ms for run in drawn]
    winners = relabel(ledger, tmp_path / "dataset", tmp_path / "winners")
    assert winners.counts["cases"] == 10
    again = run_bench(repo, options)
    assert (again.run, again.resumed) == (0, 80)


def test_a_ledger_of_another_world_or_executor_is_refused(repo: Path, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.bind({"command": ["cyntra"], "universe_id": "simulated"})
    with pytest.raises(BenchError, match="made with simulation None"):
        run_bench(repo, BenchOptions(executor="simulate", ledger=tmp_path / "ledger.sqlite"))


def test_an_outcome_counts_the_losers_too(repo: Path, tmp_path: Path) -> None:
    executor = SimulateExecutor.prepare(Repo(repo))
    context = ContextBuilder(Repo(repo)).build("1", created_ms=START_MS + 5 * DAY_MS)
    case = validate(
        BenchCase,
        {
            "schema_version": "cyntra.bench_case.v1",
            "case_id": "case-1",
            "issue_id": "1",
            "base_commit": "x",
            "context": context,
            "actions": [WIDE._asdict()],
        },
        "case",
    )
    outcome = executor.execute(case, WIDE, tmp_path, 0, Deadline())
    assert len(outcome.launches) == 3
    assert outcome.agent_ms == sum(launch.duration_ms for launch in outcome.launches)
    assert outcome.cost_usd == pytest.approx(sum(launch.cost_usd or 0 for launch in outcome.launches))
    assert action_from_document(case.actions[0].model_dump()) == WIDE


def test_a_repo_that_is_not_simulated_is_named(tmp_path: Path) -> None:
    (tmp_path / ".cyntra").mkdir()
    (tmp_path / ".cyntra" / "config.yaml").write_text(yaml.safe_dump({"simulation": {"seed": "x"}}))
    with pytest.raises(BenchError, match="make a simulated repo with `planner simulate`"):
        run_bench(tmp_path, BenchOptions(executor="simulate"))


def test_a_directory_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(BenchError, match="not an empty directory"):
        simulate_repo(tmp_path, runs=10, issues=2, open_issues=1)
    with pytest.raises(BenchError, match="at least one run per issue"):
        simulate_repo(tmp_path / "new", runs=1, issues=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_the_command_line_writes_a_repo_and_refuses_an_unknown_executor(tmp_path: Path) -> None:
    program = "from planner.cli import main; main()"
    command = [sys.executable, "-c", program, "simulate", str(tmp_path / "repo"), "--runs", "40", "--issues", "10"]
    done = subprocess.run([*command, "--open", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "40 runs" in done.stdout and len(Repo(tmp_path / "repo").read_all().runs) == 40
    command = [sys.executable, "-c", program, "bench", str(tmp_path / "repo"), "--executor", "magic"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "choose cyntra or replay or simulate" in done.stderr
