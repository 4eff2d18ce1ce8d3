"""What the stand-in kernel runs when a bundle decides: a run of a code issue, so that iterations never apply.

Apart from ``planning``, since a bundle brings onnxruntime with it: a fifth of the kernel's start,
if every run imported it.
"""

from typing import Any

from bench.testbeds.sandbox.plan import SERIAL, SPECULATE, Plan, planned
from bench.testbeds.sandbox.planning import planner_section
from planner.bundle import Bundle, BundleError
from planner.caps import Caps
from planner.contracts.kernel import ContextBuilderName
from planner.decision import decide
from planner.policies.heuristic import RulePlan

NOT_SCHEDULABLE, UNKNOWN_SWARM = "issue_not_schedulable", "swarm_unknown"


def builder_of(bundle: Bundle | BundleError) -> ContextBuilderName:
    """Whose contexts the bundle learned from."""
    return (bundle.context_builder if isinstance(bundle, Bundle) else None) or "kernel"


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
        return ruled, planner_section(context, action, ruled, reason)
    plan = planned(
        config,
        issue,
        available,
        executed["swarm_id_executed"],
        executed["max_candidates_executed"],
        executed["timeout_seconds_executed"],
        minutes_cap,
    )
    return plan, planner_section(context, decision.planner_action, plan, executed["fallback_reason"])
