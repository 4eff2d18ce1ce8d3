"""A stand-in for ``cyntra run`` that is just large enough for the bench's tests: it obeys the config and archives.

Unlike the sandbox's kernel it knows nothing of git, prompts or retries; what tools do is up to the scripts on PATH.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml


def main() -> None:
    """``small_kernel.py --config PATH run --once --issue ID``; ``sandbox.seconds_per_minute`` shortens the timeouts."""
    arguments = sys.argv[1:]
    config_path = Path(arguments[arguments.index("--config") + 1])
    issue_id = arguments[arguments.index("--issue") + 1]
    overlay = yaml.safe_load(config_path.read_text())
    base = yaml.safe_load((config_path.parent / overlay.pop("include")).read_text())
    config = merge(base, overlay)
    if config.get("test_crash"):
        sys.exit(1)
    issues = [json.loads(line) for line in Path(".beads/issues.jsonl").read_text().splitlines()]
    assert [issue["id"] for issue in issues] == [issue_id], "the clone must hold the case's issue alone"
    assert issues[0]["status"] == "open"
    assert subprocess.run(["git", "rev-parse", "--verify", "-q", "main"], stdout=subprocess.DEVNULL).returncode == 0
    run_issue(config_path.parent, config, issues[0])


def run_issue(kernel_dir: Path, config: dict, issue: dict) -> None:
    """Launch the planned candidates side by side, run the gates on the first that ended well, archive."""
    speculate = config["speculation"]["enabled"]
    names = config["routing"]["rules"][0]["use"] if speculate else config["toolchain_priority"]
    tools = [name for name in names if shutil.which(executable(config, name))]
    n = config["routing"]["rules"][0]["parallelism"] if speculate else 1
    plan_seconds = config["toolchains"][tools[0]]["timeout_seconds"]
    plan = {
        "schema_version": "cyntra.executed_plan.v1",
        "swarm_id_executed": "speculate_vote" if speculate else "serial_handoff",
        "max_candidates_executed": n + config.get("test_extra_candidates", 0),
        "timeout_seconds_executed": plan_seconds,
        "max_iterations_executed": None,
        "fallback_applied": False,
        "fallback_reason": None,
    }
    started = now()
    timeout_s = plan_seconds / 60 * config["sandbox"]["seconds_per_minute"]
    cells = {}
    for name in tools[:n]:
        cells[name] = Path(f".workcells/wc-{name}")
        cells[name].mkdir(parents=True)
    candidates = {
        name: subprocess.Popen(
            [executable(config, name), "exec", "-"], cwd=cell, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name, cell in cells.items()
    }
    deadline = time.monotonic() + timeout_s
    codes: dict[str, int | None] = {}
    for name, candidate in candidates.items():
        try:
            candidate.communicate(b"the prompt", timeout=max(0.0, deadline - time.monotonic()))
            codes[name] = candidate.returncode
        except subprocess.TimeoutExpired:
            candidate.kill()
            codes[name] = None
    chosen = next((name for name, code in codes.items() if code == 0), tools[0])
    gates = {
        gate: {"passed": subprocess.run(["sh", "-c", command], cwd=cells[chosen]).returncode == 0}
        for gate, command in (issue["dk_quality_gates"] if codes[chosen] == 0 else {}).items()
    }
    status = {None: "timeout", 0: "success"}.get(codes[chosen], "failed")
    passed = status == "success" and all(gate["passed"] for gate in gates.values())
    blocking = [name for name, gate in gates.items() if not gate["passed"]] or ([] if passed else [f"status:{status}"])
    archive = kernel_dir / "archives" / f"wc-{issue['id']}"
    documents = {
        "manifest": {"issue": {"id": issue["id"]}, "job_type": "code", "planner": {"executed_plan": plan}},
        "proof": {
            "status": status,
            "verification": {"gates": gates, "all_passed": passed, "blocking_failures": blocking},
            "metadata": {"started_at": started, "completed_at": now()},
        },
        "rollout": {"issue_id": issue["id"], "job_type": "code", "generated_at": now()},
    }
    archive.mkdir(parents=True)
    for name, document in documents.items():
        (archive / f"{name}.json").write_text(json.dumps(document))
    # What the real kernel also leaves behind: a moved HEAD, a changed tracker.
    os.truncate(".beads/issues.jsonl", 0)


def executable(config: dict, name: str) -> str:
    """What the config calls the tool by."""
    return config["toolchains"][name]["path"]


def merge(base: dict, over: dict) -> dict:
    """``over`` laid over ``base``: mappings deeply, everything else replaced."""
    nested = {key: merge(base.get(key, {}), value) for key, value in over.items() if isinstance(value, dict)}
    return {**base, **over, **nested}


def now() -> str:
    """This moment as Cyntra writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    main()
