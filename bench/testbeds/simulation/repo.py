"""`planner simulate`: a Cyntra repo's artifacts, written from a simulated history; no git, no kernel, no agents.

DIR/.beads/issues.jsonl        issues that were worked on, and open ones that nobody has run yet
DIR/.cyntra/config.yaml        the kernel's settings, and under `simulation` what the world can be made from again
DIR/.cyntra/archives/*         one per run; RECORDED of them hold the planner_input they were decided on
DIR/.cyntra/logs/events.jsonl
DIR/universes/simulated/*
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from bench.testbeds.simulation.archive import event_lines, write_archive
from bench.testbeds.simulation.history import History, HistoryRun, make_history
from bench.testbeds.simulation.issues import SimulatedIssue
from bench.testbeds.simulation.operator import Operator
from bench.testbeds.simulation.world import DAY_MS, START_MS, TOOLS, World
from planner.artifacts.beads import issue_context
from planner.artifacts.repo import Repo
from planner.context import ContextBuilder, planner_input, system_state
from planner.contracts.document import ms_to_timestamp
from planner.errors import BenchError
from planner.files import staged_directory
from planner.policies.heuristic import HeuristicPolicy

RUNS_PER_DAY = 40
"""How busy the simulated people are: it decides over how many days of drift the history stretches."""
RECORDED = 0.8
"""Share of runs whose kernel recorded its planner_input; the contexts of the others have to be rebuilt."""
WORKED_UNTIL = 0.9
"""Issues of the history are filed in this first part of it."""
OPEN_FROM = 0.4
"""Open issues are filed from here to the end: each is put on the bench at the moment when it was filed."""
UNIVERSE_ID = "simulated"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SimulatedRepo:
    """What was written."""

    runs: int
    passed: int
    issues: int
    open_issues: int
    """Never run."""
    days: int


def simulate_repo(
    root: Path,
    *,
    runs: int = 5000,
    issues: int = 800,
    open_issues: int = 400,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> SimulatedRepo:
    """Write the artifacts whole or not at all; the same arguments give the same bytes.

    BenchError when ``root`` holds something, or for numbers that make no history.
    """
    if runs < 1 or not 1 <= issues <= runs or open_issues < 0:
        raise BenchError(
            f"{runs} runs of {issues} issues with {open_issues} open: at least one run per issue is needed"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BenchError(f"{root} is not an empty directory: name a new one")
    days = math.ceil(runs / RUNS_PER_DAY)
    world = World(seed, days)
    created_ms = _created(world, issues, open_issues)
    with staged_directory(root, durable=False) as staging:
        _write_frame(staging, world)
        _write_tracker(staging, world, {**created_ms.worked, **created_ms.open}, None)
        history = make_history(world, created_ms.worked, runs, _operator(staging, seed), _rule_context(staging))
        _write_archives(staging, history.runs, seed, progress)
        _write_tracker(staging, world, {**created_ms.worked, **created_ms.open}, history)
    return SimulatedRepo(
        runs=runs,
        passed=sum(run.outcome.passed for run in history.runs),
        issues=len(history.states),
        open_issues=issues + open_issues - len(history.states),
        days=days,
    )


@dataclass(frozen=True)
class _Created:
    worked: dict[str, int]
    open: dict[str, int]


def _created(world: World, issues: int, open_issues: int) -> _Created:
    """When each issue was filed; ids count in that order."""
    draw = random.Random(f"{world.seed}/created")
    span = world.days * DAY_MS
    filed = [(draw.uniform(0, WORKED_UNTIL), False) for _ in range(issues)]
    filed += [(draw.uniform(OPEN_FROM, 1.0), True) for _ in range(open_issues)]
    created = _Created({}, {})
    for number, (share, is_open) in enumerate(sorted(filed), start=1):
        # Trackers know seconds.
        moment = START_MS + round(share * span) // 1000 * 1000
        (created.open if is_open else created.worked)[str(number)] = moment
    return created


def _write_frame(root: Path, world: World) -> None:
    """Config and universe: typical settings of a kernel (docs/kernel-contract.md, section 6)."""
    toolchains = {
        tool: {"enabled": True, "path": tool, "timeout_minutes": 60 if tool in ("codex", "claude") else 45}
        for tool in TOOLS
    }
    rules = [
        {"match": {"dk_risk": risk}, "use": list(TOOLS[:3]), "speculate": True, "parallelism": parallelism}
        for risk, parallelism in (("critical", 3), ("high", 2))
    ]
    config = {
        "toolchain_priority": list(TOOLS),
        "toolchains": toolchains,
        "speculation": {"enabled": True, "default_parallelism": 2, "max_parallelism": 3},
        "routing": {"rules": rules},
        "control": {"enabled": False},
        "simulation": {"seed": world.seed, "days": world.days},
    }
    swarms = {"serial_handoff": {"type": "serial_handoff"}, "speculate_vote": {"type": "parallel_compete"}}
    universe = {
        "universe_id": UNIVERSE_ID,
        "policies": {"budgets": {"max_run_minutes": 120}},
        "defaults": {"swarm_id": "serial_handoff", "objective_id": "fix_fast_v1"},
    }
    objectives = {"fix_fast_v1": {"metrics": {"overall": "max", "duration_ms": "min"}}}
    _write_yaml(root / ".cyntra" / "config.yaml", config)
    _write_yaml(root / "universes" / UNIVERSE_ID / "universe.yaml", universe)
    _write_yaml(root / "universes" / UNIVERSE_ID / "swarms.yaml", {"swarms": swarms})
    _write_yaml(root / "universes" / UNIVERSE_ID / "objectives.yaml", {"objectives": objectives})


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _write_tracker(root: Path, world: World, created_ms: Mapping[str, int], history: History | None) -> None:
    """issues.jsonl as the history left it, or before it began."""
    failures: dict[str, int] = {}
    updated_ms = dict(created_ms)
    for run in history.runs if history else ():
        failures[run.issue.issue_id] = failures.get(run.issue.issue_id, 0) + (not run.outcome.passed)
        updated_ms[run.issue.issue_id] = run.ended_ms
    lines = []
    for issue_id in sorted(created_ms, key=int):
        attempts = failures.get(issue_id, 0)
        document = {
            **world.issue(issue_id).document,
            "status": history.states.get(issue_id, "open") if history else "open",
            "created": ms_to_timestamp(created_ms[issue_id]),
            "updated": ms_to_timestamp(updated_ms[issue_id]),
            # Cyntra writes a string once it has counted.
            "dk_attempts": str(attempts) if attempts else 0,
        }
        lines.append(orjson.dumps(document) + b"\n")
    (root / ".beads").mkdir(exist_ok=True)
    (root / ".beads" / "issues.jsonl").write_bytes(b"".join(lines))


def _operator(root: Path, seed: int) -> Operator:
    repo = Repo(root)
    rule = HeuristicPolicy(repo.config, max_run_minutes=repo.universe.max_run_minutes)
    return Operator(rule, random.Random(f"{seed}/operator"))


def _rule_context(root: Path) -> Callable[[SimulatedIssue, int, int], dict[str, Any]]:
    """What today's rule looks at: a context without its history."""
    universe = Repo(root).universe

    def context_of(issue: SimulatedIssue, attempts: int, at_ms: int) -> dict[str, Any]:
        part, state = issue_context(issue.document, attempts), system_state(TOOLS, at_ms)
        return planner_input(
            issue=part, universe=universe, job_type="code", similar_runs=[], created_ms=at_ms, system_state=state
        )

    return context_of


def _write_archives(root: Path, runs: list[HistoryRun], seed: int, progress: Progress) -> None:
    """Write every run, then put into most of them the context that the repo itself gives at that moment."""
    archives, log = root / ".cyntra" / "archives", root / ".cyntra" / "logs" / "events.jsonl"
    archives.mkdir()
    log.parent.mkdir()
    for done, run in enumerate(runs):
        write_archive(archives, run, None)
        if done % 100 == 0:
            progress("write runs", done, len(runs))
    progress("write runs", len(runs), len(runs))
    log.write_bytes(b"".join(map(event_lines, sorted(runs, key=lambda run: run.ended_ms))))
    builder = ContextBuilder(Repo(root), "kernel")
    draw = random.Random(f"{seed}/recorded")
    for done, run in enumerate(runs):
        if draw.random() < RECORDED:
            state = system_state(TOOLS, run.decided_ms)
            context = builder.build(run.issue.issue_id, created_ms=run.decided_ms, system_state=state)
            write_archive(archives, run, context)
        if done % 100 == 0:
            progress("record contexts", done, len(runs))
    progress("record contexts", len(runs), len(runs))
