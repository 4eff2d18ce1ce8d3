"""Building run_summary.v1: bounded, in a fixed order, the same for archives and world runs."""

from collections.abc import Iterable, Mapping
from typing import Any

from planner.dimensions import DIMENSIONS

MAX_GATES = 16
MAX_FAIL_CODES = 16
MAX_TAGS = 16
MAX_TEXT = 120
"""Characters kept of one gate name, fail code or tag."""


def run_summary(
    *,
    run_id: str,
    started_ms: int,
    job_type: str,
    domain: str,
    plan: Mapping[str, Any] | None,
    status: str,
    fail_codes: Iterable[str],
    gates: Iterable[Mapping[str, Any]],
    duration_ms: int,
    tags: Iterable[str] = (),
    issue_id: str | None = None,
    cost_usd: float | None = None,
    generation: int | None = None,
) -> dict[str, Any]:
    """One run_summary.v1. ``plan`` is an executed_plan.v1 or None; failing gates are kept first when there are many.

    ``generation`` is that of the candidate which an evolution ended with, counted from 1.
    """
    summary: dict[str, Any] = {
        "run_id": run_id,
        "started_ms": started_ms,
        "job_type": job_type,
        "domain": domain,
        "action_executed": executed_action(plan),
        "outcome": {
            "status": status,
            "fail_codes": sorted({code[:MAX_TEXT] for code in fail_codes})[:MAX_FAIL_CODES],
            "gates": sorted(
                ({**gate, "name": gate["name"][:MAX_TEXT]} for gate in gates),
                key=lambda gate: (gate["passed"], gate["name"]),
            )[:MAX_GATES],
        },
        "runtime": {"duration_ms": duration_ms},
        "tags": [tag[:MAX_TEXT] for tag in tags][:MAX_TAGS],
    }
    if issue_id is not None:
        summary["issue_id"] = issue_id
    if cost_usd is not None:
        summary["cost_usd_est"] = float(cost_usd)
    if generation is not None:
        summary["generation"] = generation
    return summary


def executed_action(plan: Mapping[str, Any] | None) -> dict[str, Any]:
    """``action_executed`` of a summary from an executed plan; every part null when the plan is unknown."""
    if plan is None:
        return dict.fromkeys(dimension.summary_field for dimension in DIMENSIONS)
    return {d.summary_field: d.to_summary(plan.get(d.executed_field, d.default)) for d in DIMENSIONS}
