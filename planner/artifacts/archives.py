"""Workcell archives (``<kernel dir>/archives/*``): manifest, proof and rollout together make one run.

Start, finish and decision time are those of docs/kernel-contract.md, section 3; modification times are never read.
"""

import time
from pathlib import Path
from typing import Any

import orjson

from planner.artifacts.beads import words_of
from planner.artifacts.events import WorkcellEvents
from planner.artifacts.kernel_summaries import kernel_summary
from planner.artifacts.lenient import moment, number, section, strings
from planner.artifacts.recorded_context import KnownRuns, PackedContext, parse_rollout
from planner.artifacts.records import Quarantine, RunRecord
from planner.artifacts.summaries import run_summary
from planner.artifacts.versions import read, upgraded
from planner.contracts.document import canonical_json, ms_to_timestamp
from planner.errors import ActionError, ContractError

ARTIFACTS = ("manifest.json", "proof.json", "rollout.json")
"""All that is read of an archive."""
MAX_REASON = 1000
"""Characters of a fallback's reason that are kept."""
DAY_MS = 24 * 3600 * 1000
DOMAIN_OF_JOB_TYPE = {"code": "code", "fab-world": "fab_world"}


def read_archive(
    directory: Path,
    events: WorkcellEvents | None,
    quarantine: Quarantine,
    known: KnownRuns | None = None,
) -> RunRecord | None:
    """The run in ``directory``, or None when its outcome or its times are not known (then it is in quarantine).

    ``known`` are the runs in the planner_inputs of archives read before.
    """
    known = known or KnownRuns()
    manifest = quarantine.read_json(f"{directory}/manifest.json", known.parse_manifest)
    proof = quarantine.read_json(f"{directory}/proof.json")
    decided = section(manifest, "planner")
    whole = bool(section(decided, "planner_input")) and bool(section(decided, "executed_plan"))
    # What a manifest holds of the decision, its rollout repeats: that is nearly all of it.
    rollout = quarantine.read_json(f"{directory}/rollout.json", parse_rollout if whole else orjson.loads)
    if manifest is None and proof is None and rollout is None:
        found = "no readable manifest, proof or rollout" if directory.is_dir() else "stray file among the archives"
        quarantine.dropped(directory, found)
        return None
    outcome = _outcome(proof, rollout, events)
    if outcome is None:
        quarantine.dropped(directory, "interrupted: neither a proof, a rollout nor the event log has an outcome")
        return None
    source = directory / "manifest.json"
    repeated = section(rollout, "planner")
    plan = recorded_plan(
        section(decided, "executed_plan") or section(repeated, "executed_plan") or None, source, quarantine
    )
    planner_input, packed = recorded_input(
        section(decided, "planner_input") or section(repeated, "planner_input") or None, known, source, quarantine
    )
    decided_ms = moment(planner_input, "created_at") if planner_input else None
    times = _times(directory, proof, rollout, events, decided_ms, quarantine)
    if times is None:
        return None
    started_ms, ended_ms = times
    status, fail_codes = outcome
    issue = section(manifest, "issue") or section(planner_input, "issue")
    issue_id = _first_string(
        issue.get("id"), issue.get("issue_id"), *((d or {}).get("issue_id") for d in (proof, rollout))
    )
    job_type = _first_string(*((d or {}).get("job_type") for d in (manifest, rollout, planner_input))) or "code"
    duration = number(section(proof, "metadata"), "duration_ms") or number(section(rollout, "scores"), "duration_ms")
    cost = number(section(proof, "metadata"), "cost_usd")
    tags = strings(issue.get("tags"))
    archived_ms = max(ended_ms, events.ended_ms or 0) if events else ended_ms
    of_kernel = kernel_summary(
        directory.name,
        manifest=manifest,
        proof=proof,
        rollout=rollout,
        plan=plan,
        tags=[tag for tag in tags if tag],
        issue_id=issue_id,
        job_type=job_type,
        archived_ms=archived_ms,
    )
    return RunRecord(
        run_id=directory.name,
        kind="archive",
        summary_text=canonical_json(
            run_summary(
                run_id=directory.name,
                started_ms=started_ms,
                job_type=job_type,
                domain=DOMAIN_OF_JOB_TYPE.get(job_type, "code"),
                plan=plan,
                status=status,
                fail_codes=fail_codes,
                gates=_gates(proof),
                duration_ms=int(duration) if duration is not None else ended_ms - started_ms,
                tags=tags,
                issue_id=issue_id,
                cost_usd=cost if cost is not None else number(section(rollout, "scores"), "cost_usd"),
            )
        ),
        status=status,
        issue_id=issue_id,
        started_ms=started_ms,
        ended_ms=ended_ms,
        decided_ms=decided_ms if decided_ms is not None else started_ms,
        executed_plan=plan,
        planner_input=packed,
        universe_id=planner_input["universe_id"] if planner_input else None,
        objective_id=section(planner_input, "universe_defaults").get("objective_id"),
        toolchain=_first_string(
            (manifest or {}).get("toolchain"), section(proof, "metadata").get("toolchain"), events and events.toolchain
        ),
        agent_ms=int(duration) if duration is not None else None,
        archived_ms=archived_ms,
        kernel_summary_text=None if of_kernel is None else canonical_json(of_kernel),
        words=words_of(section(manifest, "issue")) if section(manifest, "issue") else None,
    )


def _outcome(
    proof: dict[str, Any] | None, rollout: dict[str, Any] | None, events: WorkcellEvents | None
) -> tuple[str, list[str]] | None:
    """Status and fail codes (docs/kernel-contract.md, table of section 1), None when nobody recorded an outcome."""
    if proof is None and rollout is None:
        if events is None or events.ended_ms is None:
            return None
        if events.completed:
            return "success", []
        return ("timeout" if "timeout" in events.fail_codes else "failed"), events.fail_codes
    verification = section(proof, "verification") or section(rollout, "outcomes", "verification")
    codes = strings(verification.get("blocking_failures"))
    status = (proof or {}).get("status")
    if status == "timeout" or (proof is None and "status:timeout" in codes):
        return "timeout", codes or ["timeout"]
    if verification.get("all_passed") is True and status in (None, "success", "partial"):
        return "success", []
    if section(proof, "patch").get("forbidden_path_violations"):
        codes.append("forbidden_path")
    return "failed", codes or [f"status:{status}"]


def recorded_plan(document: Any, source: Path, quarantine: Quarantine) -> dict[str, Any] | None:
    """An executed_plan that ``source`` records; an invalid one counts as absent."""
    if document is None:
        return None
    try:
        document, unknown_keys = read("executed_plan", document)
    except ContractError as error:
        quarantine.repaired(source, str(error))
        return None
    reason = document["fallback_reason"]
    if reason is not None and len(reason) > MAX_REASON:
        document = {**document, "fallback_reason": reason[:MAX_REASON]}
    quarantine.unknown_keys.update(unknown_keys)
    return document


def recorded_input(
    document: dict[str, Any] | None, known: KnownRuns, source: Path, quarantine: Quarantine
) -> tuple[dict[str, Any] | None, PackedContext | None]:
    """A recorded context, and the same as text; None, noted of ``source``, for one that is invalid or useless."""
    if document is None:
        return None, None
    try:
        planner_input: dict[str, Any] = upgraded("planner_input", document)
        packed = known.pack(planner_input, "planner_input", quarantine.unknown_keys)
        packed.space.valid_actions(packed.job_type)
    except ContractError as error:
        defect = str(error)
    except (ActionError, TypeError) as error:  # orjson's own error, for instance for deep nesting, is a TypeError
        defect = f"planner_input: {error}"
    else:
        if moment(planner_input, "created_at") is not None:
            return planner_input, packed
        defect = f"planner_input: $.created_at: no such moment, found {planner_input['created_at']!r}"
    quarantine.repaired(source, defect)
    return None, None


def _times(
    directory: Path,
    proof: dict[str, Any] | None,
    rollout: dict[str, Any] | None,
    events: WorkcellEvents | None,
    decided_ms: int | None,
    quarantine: Quarantine,
) -> tuple[int, int] | None:
    """Start and finish; from the event log where the proof's own clock contradicts itself."""
    metadata = section(proof, "metadata")
    started_ms, completed_ms = moment(metadata, "started_at"), moment(metadata, "completed_at")
    values = ((metadata, "started_at"), (metadata, "completed_at"), (rollout or {}, "generated_at"))
    useless = [f"{key} {value[key]!r:.60}" for value, key in values if value.get(key) and moment(value, key) is None]
    if started_ms is not None and completed_ms is not None and completed_ms < started_ms:
        quarantine.repaired(directory / "proof.json", "clock skew: started_at is after completed_at; event log used")
        started_ms = completed_ms = None
    if started_ms is None:
        started_ms = events.started_ms if events and events.started_ms is not None else decided_ms
    ended_ms = moment(rollout, "generated_at") if rollout else None
    if ended_ms is None:
        ended_ms = completed_ms
    if ended_ms is None and events is not None:
        ended_ms = events.ended_ms
    if started_ms is None or ended_ms is None:
        reason = f"no such moment: {', '.join(useless)}" if useless else "no artifact has it"
        quarantine.dropped(directory, f"when the run started or ended is not known: {reason}")
        return None
    if useless:
        quarantine.repaired(directory, f"no such moment, others are used: {', '.join(useless)}")
    if ended_ms < started_ms:
        quarantine.dropped(directory, "clock skew: the run ended before it started")
        return None
    if ended_ms > 1000 * time.time() + DAY_MS:
        quarantine.repaired(directory, f"from the future: ended at {ms_to_timestamp(ended_ms)}; counts as it stands")
    return started_ms, ended_ms


def _gates(proof: dict[str, Any] | None) -> list[dict[str, Any]]:
    gates = []
    for name, result in section(proof, "verification", "gates").items():
        if name and isinstance(result, dict) and isinstance(result.get("passed"), bool):
            gates.append({"name": name, "passed": result["passed"]})
    return gates


def _first_string(*values: Any) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)
