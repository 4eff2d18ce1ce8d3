"""What the stand-in kernel would ask a planner, and what its documents say of the plan that it ran."""

from datetime import datetime
from pathlib import Path
from typing import Any

from bench.testbeds.sandbox.plan import Plan
from planner.artifacts.repo import Repo
from planner.context import ContextBuilder
from planner.contracts.kernel import ContextBuilderName, input_hash

_MINUTES_BINS = (15, 30, 45, 60, 120)


def build_context(
    repo_root: Path,
    kernel_dir: Path,
    issue_id: str,
    universe_id: str | None,
    available: list[str],
    now: datetime,
    builder: ContextBuilderName = "kernel",
) -> dict[str, Any]:
    """The planner_input.v1 of an issue, as the kernel builds it or the planner."""
    history = repo_root / ".cyntra"
    repo = Repo(repo_root, history if history.is_dir() else kernel_dir, universe_id)
    return ContextBuilder(repo, builder).build(
        issue_id,
        created_ms=int(now.timestamp() * 1000),
        # The run that is being decided counts as active.
        system_state={
            "active_workcells_bin": "1_2",
            "queue_depth_bin": None,
            "available_toolchains": available,
            "toolchain_health": None,
            "hour_bucket": now.strftime("%H"),
            "budget_remaining_bin": None,
        },
    )


def ruled_section(context: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The documents' planner section of a run that the kernel's own rule decided."""
    seconds = plan.candidates[0].timeout_seconds
    minutes = next((bound for bound in _MINUTES_BINS if seconds <= 60 * bound), _MINUTES_BINS[-1])
    action = {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": context["created_at"],
        "swarm_id": plan.swarm_id,
        "budgets": {
            "max_candidates_bin": len(plan.candidates),
            "max_minutes_bin": minutes,
            "max_iterations_bin": "NA",
        },
        "confidence": 1.0,
        "abstain_to_default": False,
        "reason": None,
        "model": {"checkpoint_id": "baseline_heuristic_v0"},
        "input_hash": input_hash(context),
    }
    return planner_section(context, action, plan, None)


def planner_section(context: dict[str, Any], action: dict[str, Any], plan: Plan, reason: str | None) -> dict[str, Any]:
    """What was predicted beside what is run: the executed plan is read off the plan itself."""
    seconds = plan.candidates[0].timeout_seconds
    return {
        "planner_input": context,
        "planner_action": action,
        "executed_plan": {
            "schema_version": "cyntra.executed_plan.v1",
            "swarm_id_executed": plan.swarm_id,
            "max_candidates_executed": len(plan.candidates),
            "timeout_seconds_executed": int(seconds) if seconds.is_integer() else seconds,
            "max_iterations_executed": None,
            "fallback_applied": reason is not None,
            "fallback_reason": reason,
        },
        "timeout_seconds_override": None,
    }
