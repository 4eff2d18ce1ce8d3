"""The planner in the stand-in kernel: what it is asked, what of its answer is run, and what the documents say of both.

What the planner decides here is a run of a code issue, so that iterations, which bound world jobs alone, never apply.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from bench.testbeds.sandbox.plan import SERIAL, SPECULATE, Plan, planned
from planner.artifacts.repo import Repo
from planner.bundle import Bundle, BundleError
from planner.caps import Caps
from planner.context import ContextBuilder
from planner.contracts.kernel import input_hash
from planner.decision import decide
from planner.policies.heuristic import RulePlan

NOT_SCHEDULABLE, UNKNOWN_SWARM = "issue_not_schedulable", "swarm_unknown"
_MINUTES_BINS = (15, 30, 45, 60, 120)


def build_context(
    repo_root: Path,
    kernel_dir: Path,
    issue_id: str,
    universe_id: str | None,
    available: list[str],
    now: datetime,
    bundle: Bundle | BundleError | None,
) -> dict[str, Any]:
    """The planner_input.v1 of an issue: as the kernel builds it, unless the bundle learned from the planner's own."""
    builder = (bundle.context_builder if isinstance(bundle, Bundle) else None) or "kernel"
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
    return _section(context, action, plan, None)


def decided_plan(
    context: dict[str, Any],
    bundle: Bundle | BundleError,
    ruled: Plan,
    config: dict[str, Any],
    issue: dict[str, Any],
    available: dict[str, str],
    minutes_cap: float | None,
) -> tuple[Plan, dict[str, Any]]:
    """The plan that the bundle asks for, and the planner section that records it.

    ``ruled`` is the rule's own plan; it is run where the planner has no say: for an issue forced by its id, and for a
    swarm that the stand-in does not know. What machine and universe allow is a cap that no decision may exceed.
    """
    most = int(config.get("speculation", {}).get("max_parallelism", len(available)))
    caps = Caps(max(1, min(most, len(available))), None if minutes_cap is None else max(1, int(minutes_cap)))
    limits = [int(candidate.timeout_seconds) for candidate in ruled.candidates]
    rule_plan = RulePlan(ruled.swarm_id, len(ruled.candidates), min(limits))
    decision = decide(context, bundle, caps=caps, kernel_config=config, rule_plan=rule_plan)
    executed = decision.executed_plan
    if ruled.one_shot or executed["swarm_id_executed"] not in (SERIAL, SPECULATE):
        reason = NOT_SCHEDULABLE if ruled.one_shot else UNKNOWN_SWARM
        action = {**decision.planner_action, "abstain_to_default": True, "reason": reason}
        return ruled, _section(context, action, ruled, reason)
    plan = planned(
        config,
        issue,
        available,
        executed["swarm_id_executed"],
        executed["max_candidates_executed"],
        executed["timeout_seconds_executed"],
        minutes_cap,
    )
    return plan, _section(context, decision.planner_action, plan, executed["fallback_reason"])


def _section(context: dict[str, Any], action: dict[str, Any], plan: Plan, reason: str | None) -> dict[str, Any]:
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
