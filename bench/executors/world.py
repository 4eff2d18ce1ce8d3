"""Executes actions on world jobs: one evolution by ``cyntra evolve``, and its outcome read from the evolution's files.

Candidates are forced as the population and iterations as the generations. Cyntra's evolve has no limit on time, so the
minutes are the supervisor's wall limit: an evolution that is stopped there leaves no result, and has timed out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.executors.clone import make_clone
from bench.executors.outcome import censored, excessive_artifacts, fault, log_tail, read_runs
from bench.executors.overlay import PLAN_SECONDS_PER_MINUTE
from bench.limits import Leash, Limits
from bench.supervised import RunReport, run_supervised
from planner.actions import Action
from planner.artifacts.beads import world_of
from planner.artifacts.records import RunRecord
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.errors import BenchError

WORLD_JOB_TYPE = "fab-world"
START_S = 1.0
"""What an evolution may take beyond its minutes: the time until Cyntra has begun."""
PLAN_FIELDS = {
    "swarm_id": "swarm_id_executed",
    "max_candidates_bin": "max_candidates_executed",
    "max_iterations_bin": "max_iterations_executed",
}


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
    leash: Leash | None = None,
) -> BenchOutcome:
    """Evolve the issue's world in a clone of ``repo`` in ``work_dir``; BenchError when that cannot be done.

    ``config`` is the repo's own, as YAML: everything that is forced is on the command line.
    """
    arguments = evolve_arguments(case, action, issue, repeat)
    clone, temporary, log_path = work_dir / "clone", work_dir / "tmp", work_dir / "kernel.log"
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
        leash=leash,
    )
    return read_world_outcome(clone, action, report, log_path)


def evolve_arguments(case: BenchCase, action: Action, issue: Mapping[str, Any], repeat: int) -> list[str]:
    """What follows the group's options; "NA" is left to Cyntra. BenchError when the issue names no world."""
    world_id = world_of(issue)
    if world_id is None:
        raise BenchError(f"issue {case.issue_id!r} is a world job without a world: give it a tag world:<world id>")
    arguments = ["evolve", f"--universe={case.context.universe_id}", f"--world={world_id}"]
    arguments += [f"--swarm={action.swarm_id}", f"--seed={evolution_seed(case.case_id, repeat)}"]
    if case.context.universe_defaults.objective_id:
        arguments.append(f"--objective={case.context.universe_defaults.objective_id}")
    if action.max_candidates_bin != "NA":
        arguments.append(f"--population={action.max_candidates_bin}")
    if action.max_iterations_bin != "NA":
        arguments.append(f"--generations={action.max_iterations_bin}")
    return arguments


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
        return censored(**measured | {"score": None})
    reason = excess or _fault_reason(run, len(evolutions), action, report)
    if reason is not None:
        return fault(f"{reason}{log_tail(log_path)}", **measured)
    if run is None:
        status, code = ("timeout", "timeout") if report.stopped_by == "walltime" else ("failed", report.stopped_by)
        nothing = {"passed": False, "status": status, "gates": [], "fail_codes": [code], "executed_plan": None}
        return BenchOutcome.model_validate(measured | nothing | {"fault": None})
    outcome = run.summary["outcome"]
    return BenchOutcome.model_validate(
        measured
        | {
            "passed": run.passed,
            "status": outcome["status"],
            "fault": None,
            "gates": outcome["gates"],
            "fail_codes": outcome["fail_codes"],
            "executed_plan": _executed_plan(run, action),
        }
    )


def _executed_plan(run: RunRecord, action: Action) -> dict[str, Any]:
    """The evolution's plan with the minutes that we enforced: its files cannot tell them."""
    minutes = action.max_minutes_bin
    seconds = None if minutes == "NA" else minutes * PLAN_SECONDS_PER_MINUTE
    return {**(run.executed_plan or {}), "timeout_seconds_executed": seconds}


def _fault_reason(run: RunRecord | None, n_runs: int, action: Action, report: RunReport) -> str | None:
    """Why the outcome cannot be used, or None."""
    if report.left:
        return f"{report.left} processes of the evolution could not be killed"
    if report.stopped_by == "disk":
        return "no space was left on the disk of the work directory"
    if report.stopped_by is None and report.exit_code != 0:
        return f"Cyntra ended with exit code {report.exit_code}"
    if run is None:
        return "Cyntra wrote no evolution" if report.stopped_by is None else None
    if n_runs > 1:
        return f"{n_runs} evolutions were written where one was forced"
    return _plan_difference(action, run.executed_plan)


def _plan_difference(action: Action, plan: Mapping[str, Any] | None) -> str | None:
    """In what the evolution differs from the forced action; "NA" was not forced."""
    if plan is None:
        return "the evolution does not tell its swarm"
    ran = {field: plan[name] for field, name in PLAN_FIELDS.items()}
    forced = {field: getattr(action, field) for field in PLAN_FIELDS}
    if all(value in ("NA", ran[field]) for field, value in forced.items()):
        return None
    return f"forced {_plan_text(forced)}, ran {_plan_text(ran)}"


def _plan_text(plan: Mapping[str, Any]) -> str:
    return (
        f"{plan['swarm_id']} with population {plan['max_candidates_bin']} for {plan['max_iterations_bin']} generations"
    )
