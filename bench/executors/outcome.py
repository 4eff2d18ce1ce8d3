"""What an execution yielded, read from the artifacts in its clone; never from exit code or stdout alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.executors.overlay import PLAN_SECONDS_PER_MINUTE
from bench.supervised import RunReport
from planner.actions import Action
from planner.artifacts.records import RunRecord
from planner.artifacts.repo import read_repo
from planner.contracts import BenchOutcome, Launch

PLAN_FIELDS = {
    "swarm_id": "swarm_id_executed",
    "max_candidates_bin": "max_candidates_executed",
    "max_minutes_bin": "timeout_seconds_executed",
}
LOG_TAIL_CHARACTERS = 300


def read_outcome(
    clone: Path, action: Action, report: RunReport, launches: Sequence[Launch], log_path: Path
) -> BenchOutcome:
    """The outcome of a run that was forced to execute ``action``.

    Duration is the run's wall time, agent time and cost are sums over all launches, losers of a speculation included.
    """
    artifacts = read_repo(clone)
    run = artifacts.runs[-1] if artifacts.runs else None
    measured: dict[str, Any] = {
        "stopped_by": report.stopped_by,
        "duration_ms": report.wall_ms,
        "agent_ms": sum(launch.duration_ms for launch in launches),
        "cost_usd": _total_cost(launches),
        "exit_code": report.exit_code,
        "launches": list(launches),
    }
    reason = _fault_reason(run, len(artifacts.runs), action, report, launches)
    if reason is not None:
        return fault(f"{reason}{log_tail(log_path)}", **measured)
    if run is None:
        # Stopped by us before the kernel archived anything.
        return BenchOutcome.model_validate(
            {"passed": False, "status": "timeout", "fault": None, "gates": [], "fail_codes": ["timeout"], **measured}
            | {"executed_plan": None}
        )
    outcome = run.summary["outcome"]
    return BenchOutcome.model_validate(
        {
            "passed": run.passed,
            "status": outcome["status"],
            "fault": None,
            "gates": outcome["gates"],
            "fail_codes": outcome["fail_codes"],
            "executed_plan": run.executed_plan,
            **measured,
        }
    )


def fault(reason: str, **measured: Any) -> BenchOutcome:
    """The outcome of an execution that the machine spoiled: it says nothing about the action."""
    nothing: dict[str, Any] = {
        "stopped_by": None,
        "duration_ms": 0,
        "agent_ms": 0,
        "cost_usd": None,
        "exit_code": None,
        "launches": [],
    }
    return BenchOutcome.model_validate(
        nothing
        | measured
        | {"passed": False, "status": "fault", "fault": reason, "gates": [], "fail_codes": [], "executed_plan": None}
    )


def _fault_reason(
    run: RunRecord | None, n_runs: int, action: Action, report: RunReport, launches: Sequence[Launch]
) -> str | None:
    """Why the outcome cannot be used, or None."""
    if report.left:
        return f"{report.left} processes of the run could not be killed"
    if report.stopped_by is None and report.exit_code != 0:
        return f"Cyntra ended with exit code {report.exit_code}"
    if not launches:
        return "no agent tool was started"
    if run is None:
        return None if report.stopped_by == "walltime" else "Cyntra archived no run"
    if n_runs > 1:
        return f"{n_runs} runs were archived where one was forced"
    return _plan_difference(action, run.executed_plan)


def _plan_difference(action: Action, plan: Mapping[str, Any] | None) -> str | None:
    """In what the executed plan differs from the forced action; "NA" was not forced."""
    if plan is None:
        return "no artifact tells which plan was executed"
    ran = {field: plan[name] for field, name in PLAN_FIELDS.items()}
    forced = {field: getattr(action, field) for field in PLAN_FIELDS}
    if forced["max_minutes_bin"] != "NA":
        forced["max_minutes_bin"] *= PLAN_SECONDS_PER_MINUTE
    if all(value in ("NA", ran[field]) for field, value in forced.items()):
        return None
    return f"forced {_plan_text(forced)}, ran {_plan_text(ran)}"


def _plan_text(plan: Mapping[str, Any]) -> str:
    return f"{plan['swarm_id']} with {plan['max_candidates_bin']} candidates and {plan['max_minutes_bin']} s"


def _total_cost(launches: Sequence[Launch]) -> float | None:
    costs = [launch.cost_usd for launch in launches if launch.cost_usd is not None]
    return sum(costs) if costs else None


def log_tail(log_path: Path) -> str:
    """The last of what the run printed, as the end of a sentence; empty when it printed nothing."""
    text = " ".join(log_path.read_text("utf-8", errors="replace").split()) if log_path.exists() else ""
    return f"; its output ends: {text[-LOG_TAIL_CHARACTERS:]}" if text else ""
