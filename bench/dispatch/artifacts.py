"""What a run left in the kernel's artifacts, and the decision written into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch.journal import Entry
from bench.executors.cyntra.overlay import forced_fields
from bench.executors.outcome import plan_difference
from planner.actions import action_from_document
from planner.artifacts.lenient import section
from planner.artifacts.record_decision import record
from planner.artifacts.records import load_json_object
from planner.contracts.document import timestamp_to_ms
from planner.errors import PlannerError

_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
MAX_REASON = 300


@dataclass(frozen=True)
class Recorded:
    """One archive whose documents are complete."""

    archive: str
    executed_plan: dict[str, Any]
    as_decided: bool
    """Whether it ran what the decision forced; True where it forced nothing."""


def archives_since(kernel_dir: Path, issue_id: str, started_ms: int) -> list[Path]:
    """The issue's archives whose workcells were made in the second of ``started_ms`` or later, oldest first."""
    prefix = f"wc-{issue_id}-"
    found = []
    try:
        entries = sorted((kernel_dir / "archives").iterdir())
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
    """Write the journalled decision into the archive of its run; None when the kernel archived none.

    The executed plan is what the kernel says it ran, with why the decision was not followed. ``n_launches``, where it
    is known, is how many tools were really started: a candidate without a workcell never was. PlannerError when the
    archive is incomplete, or is not one.
    """
    archives = archives_since(kernel_dir, entry.decided["issue_id"], entry.started_ms)
    if not archives:
        return None
    if len(archives) > 1:
        names = ", ".join(path.name for path in archives)
        raise PlannerError(f"{len(archives)} archives where one run was dispatched: {names}")
    archive, decided = archives[0], entry.decided
    manifest = load_json_object(archive / "manifest.json")
    plan = section(manifest, "planner", "executed_plan")
    if not plan:
        raise PlannerError(f"{archive}: its manifest says of no executed plan")
    plan = _measured(plan, n_launches)
    forced = None if decided["forced"] is None else action_from_document(decided["forced"])
    difference = None if forced is None else plan_difference(forced_fields(forced), plan)
    reason = f"kernel_ran_another_plan: {difference}"[:MAX_REASON] if difference else decided["reason"]
    executed = {**plan, "fallback_applied": reason is not None, "fallback_reason": reason}
    if decided["mode"] != "off":
        record(
            archive / "manifest.json",
            planner_input=decided["planner_input"],
            planner_action=decided["planner_action"],
            executed_plan=executed,
        )
    return Recorded(archive.name, executed, difference is None)


def _measured(plan: Mapping[str, Any], n_launches: int | None) -> dict[str, Any]:
    """The plan with the candidates that were there, where fewer were started than it says."""
    planned = plan.get("max_candidates_executed")
    fewer = n_launches is not None and isinstance(planned, int) and 0 < n_launches < planned
    return {**plan, **({"max_candidates_executed": n_launches} if fewer else {})}
