"""Executes actions on world jobs: one evolution by ``cyntra evolve``, and its outcome read from the evolution's files.

Candidates are forced as the population and iterations as the generations. Cyntra's evolve has no limit on time, so the
minutes are the supervisor's wall limit: an evolution that is stopped there leaves no result, and has timed out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.containment.limits import Deadline, Limits
from bench.containment.namespaces import Namespaces
from bench.containment.run_supervised import RunReport, run_supervised
from bench.executors.cyntra.clone import make_clone
from bench.executors.cyntra.overlay import PLAN_SECONDS_PER_MINUTE
from bench.executors.outcome import (
    excessive_artifacts,
    fault,
    log_tail,
    machine_fault,
    outcome_from_artifacts,
    plan_difference,
    read_runs,
    stopped_early,
    wrong_run_count,
)
from bench.executors.protocol import LOG
from planner.actions import Action
from planner.artifacts.beads import world_of
from planner.artifacts.records import RunRecord
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.errors import BenchError

WORLD_JOB_TYPE = "fab-world"
START_S = 1.0
"""What an evolution may take beyond its minutes: the time until Cyntra has begun."""


def execute_world(
    case: BenchCase,
    action: Action,
    work_dir: Path,
    repeat: int,
    *,
    repo: Path,
    issue: Mapping[str, Any],
    command: Sequence[str],
    config: str,
    environment: Mapping[str, str],
    limits: Limits,
    deadline: Deadline | None = None,
    namespaces: Namespaces | None = None,
    cgroups: Path | None = None,
) -> BenchOutcome:
    """Evolve the issue's world in a clone of ``repo`` in ``work_dir``; BenchError when that cannot be done.

    ``config`` is the repo's own, as YAML: everything that is forced is on the command line.
    """
    arguments = evolve_arguments(
        universe_id=case.context.universe_id,
        world_id=world_of_job(case.issue_id, issue),
        objective_id=case.context.universe_defaults.objective_id,
        action=action,
        seed=evolution_seed(case.case_id, repeat),
    )
    clone, temporary, log_path = work_dir / "clone", work_dir / "tmp", work_dir / LOG
    temporary.mkdir()
    make_clone(repo, case, issue, clone, copy_universes=True)
    (clone / ".cyntra" / "config.yaml").write_text(config, "utf-8")
    report = run_supervised(
        [*command, "--config", ".cyntra/config.yaml", *arguments],
        run_dir=clone,
        work_dir=work_dir,
        environment={**environment, "TMPDIR": str(temporary)},
        log_path=log_path,
        limits=limits,
        deadline=deadline,
        namespaces=namespaces,
        cgroups=cgroups,
    )
    return read_world_outcome(clone, action, report, log_path)


def evolve_arguments(
    *, universe_id: str, world_id: str, objective_id: str | None, action: Action | None, seed: int | None
) -> list[str]:
    """What follows the group's options. What is None or "NA" is left to Cyntra."""
    forced = action or Action("", "NA", "NA", "NA")
    given = {
        "universe": universe_id,
        "world": world_id,
        "swarm": forced.swarm_id or None,
        "seed": seed,
        "objective": objective_id or None,
        "population": None if forced.max_candidates_bin == "NA" else forced.max_candidates_bin,
        "generations": None if forced.max_iterations_bin == "NA" else forced.max_iterations_bin,
    }
    return ["evolve", *(f"--{name}={value}" for name, value in given.items() if value is not None)]


def world_of_job(issue_id: str, issue: Mapping[str, Any]) -> str:
    """The world of a world job; BenchError when the issue names none."""
    world_id = world_of(issue)
    if world_id is None:
        raise BenchError(f"issue {issue_id!r} is a world job without a world: give it a tag world:<world id>")
    return world_id


def evolution_seed(case_id: str, repeat: int) -> int:
    """The seed of every action's evolution in this case and repeat: actions are compared on the same draws."""
    return int(hashlib.sha256(f"{case_id}/{repeat}".encode()).hexdigest()[:7], 16)


def read_world_outcome(clone: Path, action: Action, report: RunReport, log_path: Path) -> BenchOutcome:
    """The outcome of an evolution that was forced to execute ``action``; agent time is its candidates' time."""
    excess = excessive_artifacts(clone)
    evolutions = [] if excess else [run for run in read_runs(clone) if run.kind == "evolution"]
    run = evolutions[-1] if evolutions else None
    measured: dict[str, Any] = {
        "stopped_by": report.stopped_by,
        "duration_ms": report.wall_ms,
        # Candidates are built one after another.
        "agent_ms": report.wall_ms if run is None else run.summary["runtime"]["duration_ms"],
        "cost_usd": None,
        "cpu_ms": report.cpu_ms,
        "score": None if run is None else run.score,
        "exit_code": report.exit_code,
        "launches": [],
    }
    if report.stopped_by in ("capped", "cancelled") and not report.left:
        return stopped_early(**measured | {"score": None})
    reason = (
        excess
        or machine_fault(report)
        or wrong_run_count(evolutions, report, "evolution")
        or (run and plan_difference(forced_evolution(action), run.executed_plan))
    )
    if reason:
        return fault(f"{reason}{log_tail(log_path)}", **measured)
    return outcome_from_artifacts(run, None if run is None else _executed_plan(run, action), **measured)


def forced_evolution(action: Action) -> dict[str, Any]:
    """An action as fields of an executed_plan, as far as Cyntra enforces it: minutes are enforced by us."""
    return {
        "swarm_id_executed": action.swarm_id,
        "max_candidates_executed": action.max_candidates_bin,
        "max_iterations_executed": action.max_iterations_bin,
    }


def _executed_plan(run: RunRecord, action: Action) -> dict[str, Any]:
    """The evolution's plan with the minutes that we enforced: its files do not have them."""
    minutes = action.max_minutes_bin
    seconds = None if minutes == "NA" else minutes * PLAN_SECONDS_PER_MINUTE
    return {**(run.executed_plan or {}), "timeout_seconds_executed": seconds}
