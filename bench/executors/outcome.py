"""What an execution yielded, read from the artifacts in its clone; never from exit code or stdout alone."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.containment.run_supervised import RunReport
from bench.executors.cyntra.overlay import forced_fields
from planner.actions import Action
from planner.artifacts.events import read_events
from planner.artifacts.files import open_regular
from planner.artifacts.records import Quarantine, RunRecord
from planner.artifacts.repo import KERNEL_DIR, list_archives, read_archives
from planner.artifacts.worlds import read_world_runs
from planner.contracts.bench import BenchOutcome, Launch
from planner.errors import ContractError

UNITS = {
    "max_candidates_executed": "candidates",
    "timeout_seconds_executed": "s",
    "max_iterations_executed": "iterations",
}
LOG_TAIL_CHARACTERS = 300
MAX_ARTIFACT_BYTES = 64 * 2**20
MAX_ENTRIES = 20_000
"""A run archives a handful of files of some kilobytes; an evolution of a world some hundreds."""
_NOTHING: dict[str, Any] = {
    "stopped_by": None,
    "duration_ms": 0,
    "agent_ms": 0,
    "cost_usd": None,
    "exit_code": None,
    "launches": [],
}
"""Measured of an execution that never began."""
_NO_VERDICT: dict[str, Any] = {"passed": False, "fault": None, "gates": [], "fail_codes": [], "executed_plan": None}


def read_outcome(
    clone: Path, action: Action, report: RunReport, launches: Sequence[Launch], log_path: Path
) -> BenchOutcome:
    """The outcome of a run that was forced to execute ``action``.

    Duration is the run's wall time, agent time and cost are sums over all launches, losers of a speculation included.
    """
    excess = excessive_artifacts(clone)
    runs = read_runs(clone) if excess is None else []
    run = runs[-1] if runs else None
    measured: dict[str, Any] = {
        "stopped_by": report.stopped_by,
        "duration_ms": report.wall_ms,
        "agent_ms": sum(launch.duration_ms for launch in launches),
        "cost_usd": total_cost(launches),
        "cpu_ms": report.cpu_ms,
        "exit_code": report.exit_code,
        "launches": list(launches),
    }
    if report.stopped_by in ("capped", "cancelled") and not report.left:
        # Whatever it had written by then: it was not allowed to finish.
        return stopped_early(**measured)
    reason = (
        excess
        or machine_fault(report)
        or (None if launches else "no agent tool was started")
        or wrong_run_count(runs, report, "run")
        or (run and plan_difference(forced_fields(action), run.executed_plan))
    )
    if reason:
        return fault(f"{reason}{log_tail(log_path)}", **measured)
    return outcome_from_artifacts(run, None if run is None else run.executed_plan, **measured)


def outcome_from_artifacts(
    run: RunRecord | None, executed_plan: Mapping[str, Any] | None, **measured: Any
) -> BenchOutcome:
    """The outcome that follows from the run's artifacts; None = we stopped it before it left any."""
    if run is None:
        late = measured["stopped_by"] == "walltime"
        status, code = ("timeout", "timeout") if late else ("failed", measured["stopped_by"])
        return BenchOutcome.model_validate({**_NO_VERDICT, "status": status, "fail_codes": [code], **measured})
    outcome = run.summary["outcome"]
    return BenchOutcome.model_validate(
        {
            **_NO_VERDICT,
            "passed": run.passed,
            "status": outcome["status"],
            "gates": outcome["gates"],
            "fail_codes": outcome["fail_codes"],
            "executed_plan": executed_plan,
            **measured,
        }
    )


def machine_fault(report: RunReport) -> str | None:
    """What the machine did to a run, so that its outcome cannot be used; None = nothing."""
    if report.left:
        return f"{report.left} processes of the run could not be killed"
    if report.stopped_by == "disk":
        return "no space was left on the disk of the work directory"
    if report.stopped_by is None and report.exit_code != 0:
        return f"Cyntra ended with exit code {report.exit_code}"
    return None


def wrong_run_count(runs: Sequence[RunRecord], report: RunReport, noun: str) -> str | None:
    """Why what a run left behind is not the one ``noun`` that was forced; one that we stopped may have left none."""
    if len(runs) > 1:
        return f"{len(runs)} {noun}s were archived where one was forced"
    return f"Cyntra archived no {noun}" if not runs and report.stopped_by is None else None


def plan_difference(forced: Mapping[str, Any], executed_plan: Mapping[str, Any] | None) -> str | None:
    """In what an executed_plan differs from the fields that were forced; "NA" was not."""
    if executed_plan is None:
        return "no artifact records which plan was executed"
    if all(value in ("NA", executed_plan[field]) for field, value in forced.items()):
        return None
    return f"forced {_plan_text(forced, forced)}, ran {_plan_text(forced, executed_plan)}"


def _plan_text(fields: Iterable[str], plan: Mapping[str, Any]) -> str:
    budgets = [f"{plan[field]} {UNITS[field]}" for field in fields if field in UNITS]
    return f"{plan['swarm_id_executed']} with {' and '.join(budgets)}"


def read_runs(clone: Path) -> list[RunRecord]:
    """The runs archived in a clone, by start; nothing else of it is read, for the run may have written it."""
    kernel, quarantine = clone / KERNEL_DIR, Quarantine(clone)
    events = read_events(kernel / "logs" / "events.jsonl", quarantine).cells
    runs = read_archives(list_archives(kernel, quarantine), events, quarantine)
    runs += read_world_runs(kernel / "runs", quarantine, {})
    return sorted(runs, key=lambda run: (run.started_ms, run.run_id))


def excessive_artifacts(clone: Path) -> str | None:
    """Why the artifacts in a clone are not to be read, or None: a run that writes without end must end nobody else."""
    kernel = clone / KERNEL_DIR
    if kernel.is_symlink() or not kernel.is_dir():
        return f"the run has replaced its {KERNEL_DIR} directory"
    n_entries = n_bytes = 0
    directories = [kernel / name for name in ("archives", "logs", "runs")]
    while directories:
        directory = directories.pop()
        if directory.is_symlink() or not directory.is_dir():
            continue
        with os.scandir(directory) as entries:
            for entry in entries:
                n_entries += 1
                if entry.name.endswith((".json", ".jsonl")):
                    n_bytes += entry.stat(follow_symlinks=False).st_size
                elif entry.is_dir(follow_symlinks=False):
                    directories.append(Path(entry.path))
                if n_entries > MAX_ENTRIES or n_bytes > MAX_ARTIFACT_BYTES:
                    return (
                        f"the run wrote more artifacts than are read: {MAX_ENTRIES} files "
                        f"or {MAX_ARTIFACT_BYTES // 2**20} MiB of JSON"
                    )
    return None


def fault(reason: str, **measured: Any) -> BenchOutcome:
    """The outcome of an execution that the machine spoiled: it says nothing about the action."""
    return BenchOutcome.model_validate({**_NOTHING, **_NO_VERDICT, "status": "fault", "fault": reason, **measured})


def stopped_early(**measured: Any) -> BenchOutcome:
    """The outcome of an execution that was stopped from outside before its end."""
    return BenchOutcome.model_validate({**_NOTHING, **_NO_VERDICT, "status": "stopped_early", **measured})


def cut(outcome: BenchOutcome, cap_s: float | None) -> BenchOutcome:
    """What is known of a recorded or drawn outcome when its execution is stopped after ``cap_s`` seconds.

    The launches of an outcome start when they say so; one that would have gone on costs its share of the time.
    """
    if cap_s is None or outcome.duration_ms <= (limit := round(1000 * cap_s)):
        return outcome
    launches = cut_launches(outcome.launches, limit)
    return stopped_early(
        stopped_by="capped",
        duration_ms=limit,
        agent_ms=sum(launch.duration_ms for launch in launches),
        cost_usd=total_cost(launches),
        launches=launches,
    )


def cut_launches(launches: Sequence[Launch], limit_ms: int) -> list[Launch]:
    """The launches of a run that is over ``limit_ms`` after its first launch."""
    end_ms = min((launch.started_ms for launch in launches), default=0) + limit_ms
    return [_cut_launch(launch, end_ms) for launch in launches if launch.started_ms < end_ms]


def total_cost(launches: Sequence[Launch]) -> float | None:
    """What launches cost together, US dollars, as far as their tools reported; None when none did."""
    costs = [launch.cost_usd for launch in launches if launch.cost_usd is not None]
    return sum(costs) if costs else None


def _cut_launch(launch: Launch, end_ms: int) -> Launch:
    duration_ms = min(launch.duration_ms, end_ms - launch.started_ms)
    if duration_ms == launch.duration_ms:
        return launch
    cost = None if launch.cost_usd is None else launch.cost_usd * duration_ms / launch.duration_ms
    return launch.model_copy(update={"duration_ms": duration_ms, "exit_code": None, "cost_usd": cost})


def log_tail(log_path: Path) -> str:
    """The last of what the run printed, as the end of a sentence; empty when it printed nothing."""
    text = " ".join(last_bytes(log_path, 4 * LOG_TAIL_CHARACTERS).decode("utf-8", "replace").split())
    return f"; its output ends: {text[-LOG_TAIL_CHARACTERS:]}" if text else ""


def last_bytes(path: Path, n_bytes: int) -> bytes:
    """The end of what a run wrote to a file; nothing where it wrote none."""
    try:
        with open_regular(path, sys.maxsize) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - n_bytes))
            return file.read(n_bytes)
    except (OSError, ContractError):
        # There is none, or the run has put something else in its place.
        return b""
