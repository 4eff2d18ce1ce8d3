"""One simulated run in Cyntra's own files: archive and event log (docs/kernel-contract.md, sections 1 and 3)."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.testbeds.sandbox.documents import (
    DEFAULT_CONFIDENCE,
    Cell,
    Patch,
    ToolRun,
    manifest_document,
    proof_document,
    rollout_document,
    write_json,
)
from bench.testbeds.simulation.history import HistoryRun
from bench.testbeds.simulation.world import GATE_SECONDS, GATES, Lane, SimulatedRun
from planner.actions import Action, executed_plan
from planner.contracts.document import ms_to_timestamp
from planner.contracts.kernel import input_hash
from planner.policies.heuristic import SPECULATE

TOKENS_PER_DOLLAR = 120_000


def run_id_of(run: HistoryRun) -> str:
    """The workcell's id: issue, second of the decision, and in a speculation the chosen tool."""
    return _cell_id(run, run.outcome.kept)


def write_archive(archives: Path, run: HistoryRun, context: dict[str, Any] | None) -> None:
    """Write the run's archive, with the planner_input it was decided on if that was recorded."""
    directory = archives / run_id_of(run)
    directory.mkdir(exist_ok=True)
    cell = _cell(run, _planner_section(run.action, context))
    write_json(directory / "manifest.json", manifest_document(cell, {gate: f"make {gate}" for gate in GATES}))
    speculative = cell.speculate_tag is not None
    lane = run.outcome.kept
    # A serial run that ended without a verdict leaves less behind.
    if lane.status == "timeout" and not speculative:
        return
    proof = _proof(cell, run)
    write_json(directory / "proof.json", proof)
    if lane.status != "broken" or speculative:
        rollout = rollout_document(cell, proof, ms_to_timestamp(run.ended_ms))
        write_json(directory / "rollout.json", rollout)


def event_lines(run: HistoryRun) -> bytes:
    """The run's lines in the event log. Of the candidates of a speculation that were not chosen, only the start."""
    lane = run.outcome.kept
    end: dict[str, Any] = {"toolchain": lane.tool, "duration_ms": lane.duration_ms}
    if not run.outcome.passed:
        end = {"toolchain": lane.tool, "error": f"Gate failures: {', '.join(failures(run.outcome, run.action))}"}
    kind = "workcell.completed" if run.outcome.passed else "workcell.failed"
    events = [
        {
            "type": "workcell.started",
            "timestamp": ms_to_timestamp(run.started_ms),
            "data": {"toolchain": other.tool, **({"speculate_tag": tag} if (tag := _tag(run, other)) else {})},
            "workcell_id": _cell_id(run, other),
        }
        for other in run.outcome.lanes
    ]
    end_event = {"type": kind, "timestamp": ms_to_timestamp(run.ended_ms), "data": end, "workcell_id": run_id_of(run)}
    return b"".join(orjson.dumps({**event, "issue_id": run.issue.issue_id}) + b"\n" for event in [*events, end_event])


def failures(run: SimulatedRun, action: Action) -> list[str]:
    """What the kernel writes as blocking failures."""
    lane = run.kept
    if lane.status == "timeout":
        return ["timeout", "status:timeout"] if action.swarm_id == SPECULATE else ["timeout"]
    return ["status:failed"] if lane.status == "broken" else list(lane.failing_gates)


def _cell_id(run: HistoryRun, lane: Lane) -> str:
    second = datetime.fromtimestamp(run.decided_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"wc-{run.issue.issue_id}-{second}" + (f"-{tag}" if (tag := _tag(run, lane)) else "")


def _tag(run: HistoryRun, lane: Lane) -> str | None:
    return f"spec-{lane.tool}" if run.action.swarm_id == SPECULATE else None


def _cell(run: HistoryRun, planner: dict[str, Any]) -> Cell:
    run_id = run_id_of(run)
    return Cell(
        workcell_id=run_id,
        path=Path(".workcells") / run_id,
        issue=run.issue.document,
        toolchain=run.outcome.kept.tool,
        model="simulated",
        base_commit=hashlib.sha1(run_id.encode()).hexdigest(),
        speculate_tag=_tag(run, run.outcome.kept),
        planner=planner,
    )


def _proof(cell: Cell, run: HistoryRun) -> dict[str, Any]:
    lane = run.outcome.kept
    completed_at = ms_to_timestamp(run.started_ms + lane.duration_ms)
    report = {
        "confidence": DEFAULT_CONFIDENCE[lane.tool],
        "version": "1.0",
        "cost": lane.cost_usd,
        "tokens_used": round(TOKENS_PER_DOLLAR * lane.cost_usd),
    }
    tool_run = ToolRun(lane.exit_code, lane.duration_ms, ms_to_timestamp(run.started_ms), completed_at, report)
    head = hashlib.sha1(completed_at.encode()).hexdigest()
    committed = lane.status in ("success", "gates")
    patch = Patch(head, tuple(run.issue.document["context_files"]), 12, 3) if committed else Patch("", (), 0, 0)
    proof = proof_document(cell, tool_run, patch)
    blocking = failures(run.outcome, run.action)
    if committed:
        gates = {gate: _gate_result(passed) for gate, passed in run.outcome.gates.items()}
        proof["verification"] = {"gates": gates, "all_passed": run.outcome.passed, "blocking_failures": blocking}
    elif cell.speculate_tag is not None:
        proof["verification"]["blocking_failures"] = blocking
    return proof


def _gate_result(passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "exit_code": int(not passed),
        "duration_ms": round(1000 * GATE_SECONDS / len(GATES)),
        "output": None if passed else "1 check failed",
        "error": None,
    }


def _planner_section(action: Action, context: dict[str, Any] | None) -> dict[str, Any]:
    section: dict[str, Any] = {"executed_plan": executed_plan(action), "timeout_seconds_override": None}
    if context is None:
        return section
    decision = {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": context["created_at"],
        "swarm_id": action.swarm_id,
        "budgets": {key: value for key, value in action._asdict().items() if key != "swarm_id"},
        "confidence": 1.0,
        "abstain_to_default": False,
        "reason": None,
        "model": {"checkpoint_id": "simulated_operator"},
        "input_hash": input_hash(context),
    }
    return {"planner_input": context, "planner_action": decision, **section}
