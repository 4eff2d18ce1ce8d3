"""Synthetic archives in Cyntra's own file formats and sizes, for measurements and for tests of scale."""

import random
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from planner.actions import ActionSpace
from planner.contracts.document import canonical_json, ms_to_timestamp
from planner.contracts.kernel import input_hash
from planner.dataset.build import build_dataset
from planner.dataset.storage import Dataset, load_dataset

FIRST_MS = 1_780_000_000_000
TAGS = tuple(f"{area}-{kind}" for area in ("auth", "billing", "search", "ui", "api", "jobs") for kind in "abcdefgh")
WORDS = ("invoice", "parser", "session", "cache", "export", "report", "login", "redirect", "webhook", "signer", "token")
TOOLS = ("codex", "claude", "opencode", "crush")
GATES = ("test", "lint", "typecheck")
RECENT = 256
"""How many of the latest runs a recorded planner_input draws its eight similar runs from."""


def write_repo(root: Path, archives: int, seed: int = 0, recorded: bool = True) -> None:
    """Write a Cyntra repo with ``archives`` archived runs of issues to ``root``; the same for the same arguments.

    Three quarters of them record their planner_input, or none of them; where it is missing, a context must be rebuilt
    through the history index.
    """
    draw = random.Random(seed)
    issues = [_issue(number, draw) for number in range(1, max(2, archives // 8) + 1)]
    (root / ".beads").mkdir(parents=True)
    (root / ".beads" / "issues.jsonl").write_bytes(b"".join(_line(issue) for issue in issues))
    (root / ".cyntra" / "logs").mkdir(parents=True)
    directory = root / ".cyntra" / "archives"
    directory.mkdir()
    space = ActionSpace.default(("serial_handoff", "speculate_vote"))
    recent: deque[tuple[int, dict[str, Any]]] = deque(maxlen=RECENT)
    events: list[bytes] = []
    started_ms = FIRST_MS
    for number in range(archives):
        started_ms += draw.randrange(1_000, 600_000)
        records = recorded and number % 4 != 0
        events += _write_run(directory, number, draw.choice(issues), started_ms, space, recent, draw, records)
    (root / ".cyntra" / "logs" / "events.jsonl").write_bytes(b"".join(events))


def make_dataset(directory: Path, archives: int) -> Dataset:
    """The dataset of such a repo, both made in ``directory``."""
    write_repo(directory / "repo", archives)
    build_dataset(directory / "repo", directory / "dataset")
    return load_dataset(directory / "dataset")


def _issue(number: int, draw: random.Random) -> dict[str, Any]:
    title = " ".join(draw.sample(WORDS, 3))
    return {
        "id": str(number),
        "title": title,
        "status": "done",
        "description": f"The {title} misbehaves when {draw.choice(WORDS)} is empty.",
        "tags": draw.sample(TAGS, draw.randrange(1, 5)),
        "dk_priority": draw.choice(("P0", "P1", "P2", "P3")),
        "dk_risk": draw.choice(("low", "medium", "high", "critical")),
        "dk_size": draw.choice(("XS", "S", "M", "L", "XL")),
        "dk_attempts": "2",
    }


def _write_run(
    archives: Path,
    number: int,
    issue: dict[str, Any],
    started_ms: int,
    space: ActionSpace,
    recent: deque[tuple[int, dict[str, Any]]],
    draw: random.Random,
    records: bool,
) -> list[bytes]:
    """Write one archive, remember its summary in ``recent``, and return its lines of the event log."""
    swarm = draw.choice(space.swarm_ids)
    candidates = 1 if swarm == "serial_handoff" else draw.randrange(1, 4)
    seconds = 60 * draw.choice((15, 30, 45, 60, 120)) if draw.random() < 0.9 else draw.randrange(1, 4)
    outcome = draw.choices(("success", "gates", "tool", "timeout"), (0.6, 0.25, 0.08, 0.07))[0]
    duration_ms = draw.randrange(1_000, 2_400_000)
    ended_ms = started_ms + duration_ms
    failing = draw.sample(GATES, draw.randrange(1, 3)) if outcome == "gates" else []
    cost = round(draw.uniform(0.01, 0.5), 6)
    run_id = f"wc-{issue['id']}-{number:06d}"
    plan = {
        "schema_version": "cyntra.executed_plan.v1",
        "swarm_id_executed": swarm,
        "max_candidates_executed": candidates,
        "timeout_seconds_executed": seconds,
        "max_iterations_executed": None,
        "fallback_applied": False,
        "fallback_reason": None,
    }
    planner = {"executed_plan": plan, "timeout_seconds_override": None}
    if records:
        known = [run for ended, run in recent if ended <= started_ms]
        context = _context(issue, started_ms, known, space, draw)
        planner = {"planner_input": context, "planner_action": _decision(context, swarm, candidates), **planner}
    directory = archives / run_id
    directory.mkdir()
    _write(directory / "manifest.json", _manifest(run_id, issue, planner, draw))
    if outcome != "timeout":
        proof = _proof(run_id, issue, outcome, failing, started_ms, duration_ms, cost, draw)
        _write(directory / "proof.json", proof)
        if outcome != "tool":
            _write(directory / "rollout.json", _rollout(run_id, issue, failing, ended_ms, duration_ms, cost, planner))
    codes = failing or ([] if outcome == "success" else ["timeout" if outcome == "timeout" else "status:failed"])
    recent.append((ended_ms, _summary(run_id, issue, plan, outcome, codes, failing, ended_ms, duration_ms, cost)))
    end = {"type": "workcell.completed", "data": {"toolchain": "codex", "duration_ms": duration_ms}}
    if outcome != "success":
        end = {"type": "workcell.failed", "data": {"error": f"Gate failures: {', '.join(codes)}"}}
    common = {"issue_id": issue["id"], "workcell_id": run_id}
    return [
        _line({"type": "workcell.started", "timestamp": ms_to_timestamp(started_ms), "data": {}, **common}),
        _line({**end, "timestamp": ms_to_timestamp(ended_ms), **common}),
    ]


def _context(
    issue: dict[str, Any], created_ms: int, known: list[dict[str, Any]], space: ActionSpace, draw: random.Random
) -> dict[str, Any]:
    return {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": ms_to_timestamp(created_ms),
        "universe_id": "unknown",
        "job_type": "code",
        "universe_defaults": {"swarm_id": None, "objective_id": None},
        "issue": {
            "issue_id": issue["id"],
            **{key: issue[key] for key in ("dk_priority", "dk_risk", "dk_size", "tags", "title")},
            "dk_tool_hint": None,
            "dk_attempts": draw.randrange(4),
            "keywords": sorted(set(issue["title"].split())),
        },
        "history": {"last_n_similar_runs": draw.sample(known, min(8, len(known)))},
        "action_space": space.to_document(),
        "system_state": {
            "active_workcells_bin": "1_2",
            "queue_depth_bin": None,
            "available_toolchains": list(TOOLS),
            "toolchain_health": None,
            "hour_bucket": str(draw.randrange(24)),
            "budget_remaining_bin": None,
        },
    }


def _decision(context: dict[str, Any], swarm: str, candidates: int) -> dict[str, Any]:
    return {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": context["created_at"],
        "swarm_id": swarm,
        "budgets": {"max_candidates_bin": candidates, "max_minutes_bin": 60, "max_iterations_bin": "NA"},
        "confidence": 1.0,
        "abstain_to_default": False,
        "model": {"checkpoint_id": "baseline_heuristic_v0"},
        "input_hash": input_hash(context),
    }


def _manifest(run_id: str, issue: dict[str, Any], planner: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    return {
        "schema_version": "1.0.0",
        "workcell_id": run_id,
        "branch_name": f"wc/{issue['id']}/{run_id}",
        "issue": {
            **{key: issue[key] for key in ("id", "title", "description", "tags")},
            "acceptance_criteria": ["tests pass"],
            "context_files": ["src/pkg/module.py"],
            "forbidden_paths": [],
            "dk_estimated_tokens": 8000,
        },
        "job_type": "code",
        "toolchain": draw.choice(TOOLS),
        "toolchain_config": {"model": "a-model"},
        "quality_gates": {gate: f"python -m {gate} src/pkg/module.py" for gate in GATES},
        "speculate_mode": False,
        "speculate_tag": None,
        "memory_context": {"memory_available": True, "patterns": [f"Gate '{gate}' passed" for gate in GATES] * 4},
        "planner": planner,
    }


def _proof(
    run_id: str,
    issue: dict[str, Any],
    outcome: str,
    failing: list[str],
    started_ms: int,
    duration_ms: int,
    cost: float,
    draw: random.Random,
) -> dict[str, Any]:
    gates = {
        gate: {
            "passed": gate not in failing,
            "exit_code": int(gate in failing),
            "duration_ms": draw.randrange(100, 9_000),
            "output": "F [100%] AssertionError in tests/test_module.py:6\n" * 6 if gate in failing else None,
            "error": None,
        }
        for gate in GATES
    }
    return {
        "schema_version": "1.0.0",
        "workcell_id": run_id,
        "issue_id": issue["id"],
        "status": "failed" if outcome == "tool" else "success",
        "patch": {
            "branch": f"wc/{issue['id']}/{run_id}",
            "base_commit": f"{draw.getrandbits(160):040x}",
            "head_commit": f"{draw.getrandbits(160):040x}",
            "diff_stats": {"files_changed": 1, "insertions": 4, "deletions": 1},
            "files_modified": ["src/pkg/module.py"],
            "forbidden_path_violations": [],
        },
        "verification": {
            "gates": {} if outcome == "tool" else gates,
            "all_passed": outcome == "success",
            "blocking_failures": failing or (["status:failed"] if outcome == "tool" else []),
        },
        "metadata": {
            "toolchain": "codex",
            "model": "a-model",
            "started_at": ms_to_timestamp(started_ms),
            "completed_at": ms_to_timestamp(started_ms + duration_ms),
            "duration_ms": duration_ms,
            "exit_code": 0,
            "tokens_used": draw.randrange(1_000, 90_000),
            "cost_usd": cost,
        },
        "commands_executed": [{"command": "codex exec", "exit_code": 0, "duration_ms": duration_ms}],
        "confidence": 0.8,
        "risk_classification": "low",
    }


def _rollout(
    run_id: str,
    issue: dict[str, Any],
    failing: list[str],
    ended_ms: int,
    duration_ms: int,
    cost: float,
    planner: dict[str, Any],
) -> dict[str, Any]:
    return {
        "schema_version": "cyntra.rollout.v1",
        "rollout_id": f"ro_{run_id}",
        "workcell_id": run_id,
        "issue_id": issue["id"],
        "job_type": "code",
        "policy": {"toolchain": "codex", "speculate": {"enabled": False, "parallelism": None, "tag": None}},
        "trajectory": {"file_changes": [{"path": "src/pkg/module.py", "kind": "modified"}]},
        "outcomes": {"verification": {"all_passed": not failing, "blocking_failures": failing}},
        "scores": {"risk": "low", "diff_lines": 5, "cost_usd": cost, "duration_ms": duration_ms},
        "generated_at": ms_to_timestamp(ended_ms),
        "planner": planner,
    }


def _summary(
    run_id: str,
    issue: dict[str, Any],
    plan: dict[str, Any],
    outcome: str,
    codes: list[str],
    failing: list[str],
    ended_ms: int,
    duration_ms: int,
    cost: float,
) -> dict[str, Any]:
    """A run as the kernel itself sums it up; it takes the finish for the start (docs/kernel-contract.md, section 5)."""
    return {
        "run_id": run_id,
        "started_ms": ended_ms,
        "job_type": "code",
        "domain": "code",
        "action_executed": {
            "swarm_id": plan["swarm_id_executed"],
            "max_candidates": plan["max_candidates_executed"],
            "max_minutes": plan["timeout_seconds_executed"] // 60,
            "max_iterations": None,
        },
        "outcome": {
            "status": outcome if outcome in ("success", "timeout") else "failed",
            "fail_codes": codes,
            "gates": [{"name": gate, "passed": False} for gate in failing],
        },
        "runtime": {"duration_ms": duration_ms},
        "tags": issue["tags"],
        "issue_id": issue["id"],
        "cost_usd_est": cost,
    }


def _line(document: dict[str, Any]) -> bytes:
    return canonical_json(document) + b"\n"


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
