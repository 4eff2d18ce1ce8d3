"""The files that Cyntra leaves about a run, as the stand-in kernel writes them (docs/kernel-contract.md, section 3)."""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

DEFAULT_CONFIDENCE = {"codex": 0.8, "claude": 0.8, "opencode": 0.7, "crush": 0.8}
TELEMETRY_TOOLS = ("codex", "claude")
_COMMANDS = {"opencode": "opencode run"}


class Cell(NamedTuple):
    """One workcell: a candidate's worktree and what it is for."""

    workcell_id: str
    path: Path
    issue: dict[str, Any]
    toolchain: str
    model: str
    base_commit: str
    speculate_tag: str | None
    planner: dict[str, Any]
    """planner_input, planner_action, executed_plan and timeout_seconds_override."""

    @property
    def branch_name(self) -> str:
        """The branch that the documents name (not the one that git has)."""
        return f"wc/{self.issue['id']}/{self.workcell_id}"


class ToolRun(NamedTuple):
    """How a tool ended in a cell; times as Cyntra writes them."""

    exit_code: int | None
    """None after a timeout."""
    milliseconds: int
    started_at: str
    completed_at: str
    report: dict[str, Any]
    """The last JSON line of the tool's output."""


class Patch(NamedTuple):
    """What the tool committed."""

    head_commit: str
    files: tuple[str, ...]
    insertions: int
    deletions: int


def write_json(path: Path, document: dict[str, Any]) -> None:
    """One indented JSON document, as Cyntra writes it."""
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def manifest_document(cell: Cell, gates: dict[str, str]) -> dict[str, Any]:
    """manifest.json."""
    issue = cell.issue
    return {
        "schema_version": "1.0.0",
        "workcell_id": cell.workcell_id,
        "branch_name": cell.branch_name,
        "apply_patch": True,
        "issue": {
            "id": str(issue["id"]),
            "title": issue.get("title", ""),
            "description": issue.get("description", ""),
            "acceptance_criteria": issue.get("acceptance_criteria") or [],
            "context_files": issue.get("context_files") or [],
            "forbidden_paths": issue.get("dk_forbidden_paths") or [],
            "dk_estimated_tokens": issue.get("dk_estimated_tokens"),
            "tags": issue.get("tags") or [],
        },
        "job_type": "code",
        "toolchain": cell.toolchain,
        "toolchain_config": {"model": cell.model},
        "quality_gates": gates,
        "speculate_mode": cell.speculate_tag is not None,
        "speculate_tag": cell.speculate_tag,
        "control": {
            "mode": "disabled",
            "reason": "no_dynamics_report",
            "action_rate": None,
            "speculate_parallelism": None,
            "sampling": None,
        },
        "planner": cell.planner,
    }


def prompt_text(cell: Cell, gates: dict[str, str]) -> str:
    """prompt.md."""
    issue = cell.issue
    context = [f"Issue: {issue['id']}", f"Workcell: {cell.workcell_id}", f"Branch: {cell.branch_name}"]
    context += [f"Toolchain: {cell.toolchain}", *([f"Model: {cell.model}"] if cell.model else [])]
    context += [f"Tags: {', '.join(issue.get('tags') or [])}"]
    guidelines = [
        "Satisfy the acceptance criteria and keep changes minimal.",
        "Respect forbidden paths exactly (do not modify them).",
        "Run the listed quality gates before finishing.",
    ]
    sections = [
        ("Context", _bullets(context)),
        ("Execution Guidelines", _bullets(guidelines)),
        ("Description", str(issue.get("description", ""))),
        ("Acceptance Criteria", _bullets(issue.get("acceptance_criteria") or [])),
        ("⚠️ Forbidden Paths (DO NOT MODIFY)", _bullets(issue.get("dk_forbidden_paths") or [])),
        ("Relevant Files", _bullets(issue.get("context_files") or [])),
        ("Quality Gates (must all pass)", _bullets([f"{name}: `{command}`" for name, command in gates.items()])),
    ]
    body = "\n\n".join(f"## {title}\n{text}" for title, text in sections if text)
    prefix = "ultrathink\n\n" if cell.toolchain == "claude" else ""
    return f"{prefix}# Task: {issue.get('title', '')}\n\n{body}\n"


def proof_document(cell: Cell, run: ToolRun, patch: Patch) -> dict[str, Any]:
    """proof.json before verification."""
    timed_out = run.exit_code is None
    violations = [
        file
        for file in patch.files
        if any(_lies_under(file, path) for path in cell.issue.get("dk_forbidden_paths") or [])
    ]
    return {
        "schema_version": "1.0.0",
        "workcell_id": cell.workcell_id,
        "issue_id": str(cell.issue["id"]),
        "status": _status(run),
        "patch": {
            "branch": cell.branch_name,
            "base_commit": "" if timed_out else cell.base_commit,
            "head_commit": patch.head_commit,
            "diff_stats": {
                "files_changed": len(patch.files),
                "insertions": patch.insertions,
                "deletions": patch.deletions,
            },
            "files_modified": list(patch.files),
            "forbidden_path_violations": violations,
        },
        "verification": {"gates": {}, "all_passed": False, "blocking_failures": ["timeout"] if timed_out else []},
        "metadata": _metadata(cell, run),
        "commands_executed": None if timed_out else [_command(cell, run)],
        "artifacts": None,
        "confidence": 0 if timed_out else run.report.get("confidence", DEFAULT_CONFIDENCE.get(cell.toolchain, 0.8)),
        "risk_classification": "high" if timed_out else "low",
        "risk_factors": None,
        "beads_mutations": None,
        "follow_ups": None,
        "review": None,
    }


def missing_tool_proof(cell: Cell, now: str) -> dict[str, Any]:
    """proof.json of a speculative candidate whose tool is not installed."""
    proof = proof_document(cell, ToolRun(None, 0, now, now, {}), Patch("", (), 0, 0))
    proof["status"] = "error"
    proof["verification"]["blocking_failures"] = ["status:error"]
    proof["metadata"]["error"] = f"Toolchain not available: {cell.toolchain}"
    return proof


def rollout_document(cell: Cell, proof: dict[str, Any], generated_at: str) -> dict[str, Any]:
    """rollout.json of a verified proof."""
    patch, metadata = proof["patch"], proof["metadata"]
    scores = {"risk": proof["risk_classification"], "diff_lines": _diff_lines(patch)}
    if metadata.get("cost_usd") is not None:
        scores["cost_usd"] = metadata["cost_usd"]
    if "duration_ms" in metadata:
        scores["duration_ms"] = metadata["duration_ms"]
    heads = {"repo_commit_head": patch["head_commit"]} if patch["head_commit"] else {}
    return {
        "schema_version": "cyntra.rollout.v1",
        "rollout_id": f"ro_{cell.workcell_id}",
        "workcell_id": cell.workcell_id,
        "issue_id": str(cell.issue["id"]),
        "job_type": "code",
        "policy": {
            "toolchain": cell.toolchain,
            "prompt_genome_id": None,
            "sampling": {"temperature": None, "top_p": None},
            "speculate": {
                "enabled": cell.speculate_tag is not None,
                "parallelism": None,
                "tag": cell.speculate_tag,
            },
            **({"model": cell.model} if cell.model else {}),
        },
        "inputs": {"manifest_path": "manifest.json", "repo_commit_base": patch["base_commit"], **heads},
        "trajectory": _trajectory(cell, proof),
        "outcomes": {
            "verification": {key: proof["verification"][key] for key in ("all_passed", "blocking_failures")},
        },
        "scores": scores,
        "generated_at": generated_at,
        "planner": cell.planner,
    }


def telemetry_lines(cell: Cell, prompt: str, run: ToolRun, stdout: str) -> bytes:
    """telemetry.jsonl of codex and claude; the other tools write none."""
    common = {
        "issue_id": str(cell.issue["id"]),
        "workcell_id": cell.workcell_id,
        "toolchain": cell.toolchain,
        "model": cell.model,
    }

    def line(kind: str, at: str, fields: dict[str, Any]) -> bytes:
        return orjson.dumps({"type": kind, "timestamp": at, **common, **fields}) + b"\n"

    lines = [line("started", run.started_at, {"prompt_genome_id": None, "sampling": None})]
    lines.append(line("prompt_sent", run.started_at, {"prompt": prompt, "tokens": None}))
    for text in stdout.splitlines():
        lines.append(line("response_chunk", run.completed_at, {"content": text, "role": "assistant"}))
    if run.exit_code is None:
        lines.append(line("error", run.completed_at, {"error": "Execution timed out"}))
    else:
        ended = {"status": _status(run), "exit_code": run.exit_code, "duration_ms": run.milliseconds}
        lines.append(line("completed", run.completed_at, ended))
    return b"".join(lines)


def last_json_line(text: str) -> dict[str, Any]:
    """The last line of a tool's output that is a JSON object; empty without one."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(document, dict):
                return document
    return {}


def _status(run: ToolRun) -> str:
    if run.exit_code is None:
        return "timeout"
    return {0: "success", 1: "partial"}.get(run.exit_code, "failed")


def _metadata(cell: Cell, run: ToolRun) -> dict[str, Any]:
    if run.exit_code is None:
        times = {"started_at": run.started_at, "completed_at": run.completed_at}
        return {"toolchain": cell.toolchain, **times, "error": "Execution timed out"}
    metadata: dict[str, Any] = {
        "toolchain": cell.toolchain,
        "toolchain_version": run.report.get("version", "unknown"),
        "model": cell.model,
        "prompt_genome_id": None,
        "sampling": None,
    }
    if cell.toolchain == "crush":
        metadata["provider"] = "anthropic"
    metadata |= {"started_at": run.started_at, "completed_at": run.completed_at}
    metadata |= {"duration_ms": run.milliseconds, "exit_code": run.exit_code}
    if cell.toolchain != "opencode":
        metadata |= {"tokens_used": run.report.get("tokens_used"), "cost_usd": run.report.get("cost")}
    return metadata


def _command(cell: Cell, run: ToolRun) -> dict[str, Any]:
    logs = cell.path / "logs"
    return {
        "command": _COMMANDS.get(cell.toolchain, cell.toolchain),
        "exit_code": run.exit_code,
        "duration_ms": run.milliseconds,
        "stdout_path": str(logs / f"{cell.toolchain}-stdout.log"),
        "stderr_path": str(logs / f"{cell.toolchain}-stderr.log"),
    }


def _trajectory(cell: Cell, proof: dict[str, Any]) -> dict[str, Any]:
    trajectory: dict[str, Any] = {
        "telemetry_path": "telemetry.jsonl",
        "tool_summary": {"Read": 0, "Write": 0, "Bash": 0, "Blender": 0},
        "file_changes": [{"path": file, "kind": "modified"} for file in proof["patch"]["files_modified"]],
    }
    if cell.toolchain not in TELEMETRY_TOOLS:
        trajectory["telemetry_missing_reason"] = "missing"
    if proof["commands_executed"]:
        trajectory["commands_executed"] = proof["commands_executed"]
    return trajectory


def _diff_lines(patch: dict[str, Any]) -> int:
    return int(patch["diff_stats"]["insertions"]) + int(patch["diff_stats"]["deletions"])


def _lies_under(file: str, path: str) -> bool:
    return file == path or file.startswith(path.rstrip("/") + "/")


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
