"""The run_summary.v1 that kernel 0.1.0 itself makes of a workcell archive, for the contexts that it builds.

It holds less than ours (planner.artifacts.summaries): where there is a rollout no gates and no timeout, where there is
neither rollout nor proof nothing at all. docs/kernel-contract.md, section 7.
"""

from collections.abc import Sequence
from typing import Any

from planner.artifacts.lenient import moment, number, section, string, strings

ROLLOUT_VERSION = "cyntra.rollout.v1"


def kernel_summary(
    run_id: str,
    *,
    manifest: dict[str, Any] | None,
    proof: dict[str, Any] | None,
    rollout: dict[str, Any] | None,
    plan: dict[str, Any] | None,
    tags: list[str],
    issue_id: str | None,
    job_type: str,
    archived_ms: int,
) -> dict[str, Any] | None:
    """What the kernel makes of the archive; None where it makes nothing of it.

    ``plan`` is the executed_plan.v1, ``archived_ms`` when the archive was written: to the kernel that is the start of
    a run with a rollout.
    """
    if rollout is not None:
        if rollout.get("schema_version") != ROLLOUT_VERSION:
            return None
        verification = section(rollout, "outcomes", "verification")
        started_ms, status = archived_ms, "success" if verification.get("all_passed") else "failed"
        gates: list[dict[str, Any]] = []
        codes = _distinct(strings(verification.get("blocking_failures")), once=False)
        spent, cost = section(rollout, "scores").get("duration_ms"), number(section(rollout, "scores"), "cost_usd")
        spent = spent if isinstance(spent, int) else 0
    elif proof is not None:
        metadata, verification = section(proof, "metadata"), section(proof, "verification")
        started_ms = next(
            (ms for key in ("started_at", "completed_at") if (ms := moment(metadata, key)) is not None), archived_ms
        )
        status = _status(proof, verification)
        gates, gate_codes = _gates(verification)
        codes = _distinct(gate_codes + strings(verification.get("blocking_failures")), once=True)
        spent, cost = number(metadata, "duration_ms") or 0, number(metadata, "cost_usd")
    else:
        return None
    summary: dict[str, Any] = {
        "run_id": run_id,
        "started_ms": started_ms,
        "job_type": job_type,
        "domain": _domain_of(job_type, tags),
        "action_executed": _action(manifest, plan),
        "outcome": {"status": status, "fail_codes": codes, "gates": gates},
        "runtime": {"duration_ms": max(0, int(spent))},
    }
    if tags:
        summary["tags"] = tags
    if issue_id:
        summary["issue_id"] = issue_id
    if cost is not None:
        summary["cost_usd_est"] = float(cost)
    used = section(proof, "metadata").get("tokens_used")
    if rollout is None and isinstance(used, int) and used >= 0:
        summary |= {"tokens_in": used, "tokens_out": None}  # it knows their sum alone
    return summary


def _status(proof: dict[str, Any], verification: dict[str, Any]) -> str:
    found = string(proof, "status")
    if found == "timeout":
        return found
    return "success" if verification.get("all_passed") and found in ("success", "partial") else "failed"


def _gates(verification: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The gates, and the fail codes that they list themselves."""
    gates: list[dict[str, Any]] = []
    codes: list[str] = []
    for name, result in section(verification, "gates").items():
        if name and isinstance(result, dict):
            gates.append({"name": name, "passed": bool(result.get("passed")), "score": number(result, "score")})
            codes += strings(result.get("fail_codes"))
    return gates, codes


def _distinct(codes: list[str], *, once: bool) -> list[str]:
    """The codes that are not empty, in their order; with ``once`` each one only where it comes first."""
    found = [code for code in codes if code]
    return list(dict.fromkeys(found)) if once else found


def _domain_of(job_type: str, tags: Sequence[str]) -> str:
    of_code = "fab_asset" if any(tag.startswith("asset:") for tag in tags) else "code"
    return "fab_world" if job_type == "fab-world" else of_code


def _action(manifest: dict[str, Any] | None, plan: dict[str, Any] | None) -> dict[str, Any]:
    """What was executed: by the plan, else as far as the manifest says; minutes are whole ones, cut."""
    if plan is not None:
        seconds = plan["timeout_seconds_executed"]
        return {
            "swarm_id": plan["swarm_id_executed"],
            "max_candidates": plan["max_candidates_executed"],
            "max_minutes": None if seconds is None else seconds // 60,
            "max_iterations": plan["max_iterations_executed"],
        }
    speculates = bool((manifest or {}).get("speculate_mode"))
    candidates = number(section(manifest, "control"), "speculate_parallelism") if speculates else 1
    return {
        "swarm_id": "speculate_vote" if speculates else "serial_handoff",
        "max_candidates": int(candidates) if candidates else None,
        "max_minutes": None,
        "max_iterations": None,
    }
