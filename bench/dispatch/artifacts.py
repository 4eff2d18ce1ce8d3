"""What a run left in the kernel's artifacts, and the decision written into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch.journal import Entry
from bench.executors.cyntra.overlay import PLAN_SECONDS_PER_MINUTE, forced_fields
from bench.executors.cyntra.world_jobs import forced_evolution
from bench.executors.outcome import plan_difference
from planner.actions import Action, action_from_document
from planner.artifacts.lenient import section
from planner.artifacts.record_decision import record
from planner.artifacts.records import load_json_object
from planner.artifacts.worlds import EVOLUTION as EVOLUTION_FILE
from planner.artifacts.worlds import evolution_plan
from planner.contracts.document import timestamp_to_ms
from planner.errors import PlannerError

RUN, EVOLUTION = "run", "evolution"
"""The kinds of what is dispatched."""
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
MAX_REASON = 300


@dataclass(frozen=True)
class Recorded:
    """One run whose documents are complete."""

    archive: str
    """The name of its directory."""
    executed_plan: dict[str, Any]
    as_decided: bool
    """Whether it ran what the decision forced; True where it forced nothing."""


def left_since(directory: Path, prefix: str, started_ms: int) -> list[Path]:
    """The directories called ``prefix`` and a time that is the second of ``started_ms`` or later, oldest first."""
    found = []
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    for path in entries:
        stamp = _STAMP.match(path.name.removeprefix(prefix)) if path.name.startswith(prefix) else None
        if stamp is not None and path.is_dir():
            year, month, day, hour, minute, second = stamp.groups()
            made_ms = timestamp_to_ms(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
            if made_ms >= started_ms - started_ms % 1000:
                found.append(path)
    return found


def record_run(kernel_dir: Path, entry: Entry, n_launches: int | None = None) -> Recorded | None:
    """Write the journalled decision into what its run left; None when that is nothing.

    The executed plan is what the kernel says it ran, with why the decision was not followed. ``n_launches``, where it
    is known, is how many tools were really started: a candidate without a workcell never was. PlannerError when the
    artifacts are incomplete, or are of more than one run.
    """
    decided, is_evolution = entry.decided, entry.decided["kind"] == EVOLUTION
    place, prefix = ("runs", f"evolve_world_{decided['world_id']}_") if is_evolution else ("archives", "")
    found = left_since(kernel_dir / place, prefix or f"wc-{decided['issue_id']}-", entry.started_ms)
    if is_evolution:  # one that was ended before its time has a directory, and no result
        found = [path for path in found if (path / EVOLUTION_FILE).exists()]
    if not found:
        return None
    if len(found) > 1:
        raise PlannerError(f"{len(found)} runs where one was dispatched: {', '.join(path.name for path in found)}")
    manifest = found[0] / (EVOLUTION_FILE if is_evolution else "manifest.json")
    forced = None if decided["forced"] is None else action_from_document(decided["forced"])
    plan = _plan(manifest, is_evolution, forced, n_launches)
    fields = {} if forced is None else forced_evolution(forced) if is_evolution else forced_fields(forced)
    difference = plan_difference(fields, plan) if fields else None
    reason = f"kernel_ran_another_plan: {difference}"[:MAX_REASON] if difference else decided["reason"]
    executed = {**plan, "fallback_applied": reason is not None, "fallback_reason": reason}
    if decided["mode"] != "off":
        record(
            manifest,
            planner_input=decided["planner_input"],
            planner_action=decided["planner_action"],
            executed_plan=executed,
        )
    return Recorded(found[0].name, executed, difference is None)


def _plan(manifest: Path, is_evolution: bool, forced: Action | None, n_launches: int | None) -> dict[str, Any]:
    """What was executed, as the artifacts say; of an evolution's minutes, which are ours, they say nothing."""
    document = load_json_object(manifest)
    if is_evolution:
        plan = evolution_plan(document)
        if plan is None:
            raise PlannerError(f"{manifest}: does not say with which swarm, population and generations it ran")
        minutes = "NA" if forced is None else forced.max_minutes_bin
        return {
            **plan,
            "timeout_seconds_executed": None if minutes == "NA" else PLAN_SECONDS_PER_MINUTE * minutes,
        }
    plan = section(document, "planner", "executed_plan")
    if not plan:
        raise PlannerError(f"{manifest}: says nothing of the executed plan")
    return _measured(plan, n_launches)


def _measured(plan: Mapping[str, Any], n_launches: int | None) -> dict[str, Any]:
    """The plan with the candidates that were there, where fewer were started than it says."""
    planned = plan.get("max_candidates_executed")
    fewer = n_launches is not None and isinstance(planned, int) and 0 < n_launches < planned
    return {**plan, **({"max_candidates_executed": n_launches} if fewer else {})}
