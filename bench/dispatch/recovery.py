"""What an earlier ``planner run`` left open when it died, completed where its run is whole and marked where not."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from bench.containment.strays import kill_strays
from bench.containment.workdirs import is_in_use
from bench.dispatch.artifacts import record_run
from bench.dispatch.journal import ENDED, INTERRUPTED, RECORDED, Entry, Journal
from bench.dispatch.kernel_run import Places
from bench.dispatch.overlay import PREFIX
from bench.executors.cyntra.toolchains import read_launches
from bench.executors.outcome import total_cost
from planner.artifacts.beads import ISSUES_FILE
from planner.errors import ContractError, PlannerError
from planner.files import write_atomically

PATIENCE_S = 30.0
"""How long a dead command's supervisor may take until all of its run is ended."""
Say = Callable[[str], None]


def recover(root: Path, kernel_dir: Path, directory: Path, journal: Journal, say: Say) -> int:
    """Close every open decision of ``journal``; returns how many could not be completed.

    A supervisor ends the kernel when its command dies, whatever kills that; what is still there is waited for.
    """
    interrupted = 0
    for entry in journal.open_entries():
        places = Places(directory, entry.decision_id)
        _await_end(places.work_dir)
        if ENDED not in entry.later:
            _account(journal, entry, places)
        interrupted += not close(root, kernel_dir, journal, entry, say, cause="planner run was killed")
    # Of a command that was killed before its decision was in the journal.
    for work_dir in directory.glob("work/*"):
        _await_end(work_dir)
    for path in kernel_dir.glob(f"{PREFIX}*.yaml"):
        path.unlink(missing_ok=True)
    return interrupted


def close(root: Path, kernel_dir: Path, journal: Journal, entry: Entry, say: Say, cause: str) -> bool:
    """Record a run that was stopped, if it had come to its end by then; else mark it, and give its issue back."""
    issue_id, now_ms = entry.decided["issue_id"], _now_ms()
    try:
        recorded = record_run(kernel_dir, entry)
        reason = cause
    except (PlannerError, OSError) as error:
        recorded, reason = None, f"{cause}; {error}"
    if recorded is not None:
        journal.write(
            RECORDED, entry.decision_id, now_ms, archive=recorded.archive, executed_plan=recorded.executed_plan
        )
        say(f"issue {issue_id}: its run was over when {cause}: recorded in {recorded.archive}")
        return True
    given_back = _give_back(root, issue_id, entry.decided["status"])
    journal.write(INTERRUPTED, entry.decision_id, now_ms, reason=reason, issue=given_back)
    say(f"issue {issue_id}: interrupted ({reason}); {given_back}")
    return False


def _await_end(work_dir: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while work_dir.exists() and is_in_use(work_dir) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_strays(work_dir)
    shutil.rmtree(work_dir, ignore_errors=True)


def _account(journal: Journal, entry: Entry, places: Places) -> None:
    """What the killed run took, as far as its tools' launches say; a tool whose end is not known counts until now."""
    now_ms = _now_ms()
    try:
        launches = read_launches(places.launches, now_ms)
    except (PlannerError, ContractError):
        launches = []
    ends = [launch.started_ms + launch.duration_ms for launch in launches]
    wall_ms = max(0, max(ends, default=entry.started_ms) - entry.started_ms)
    journal.write(
        ENDED, entry.decision_id, now_ms, wall_ms=wall_ms, cost_usd=total_cost(launches), launches=len(launches)
    )


def _give_back(root: Path, issue_id: str, status: str) -> str:
    """Set an issue that the killed kernel left ``running`` back to what it was; says what was done."""
    path = root / ISSUES_FILE
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return "the tracker cannot be read"
    for number, line in enumerate(lines):
        try:
            issue = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(issue, dict) and issue.get("id") == issue_id and issue.get("status") == "running":
            if shutil.which("bd") is not None:
                return f"the tracker says running: bd update {issue_id} --status {status}"
            lines[number] = orjson.dumps({**issue, "status": status}) + b"\n"
            write_atomically(path, b"".join(lines))
            return f"given back as {status}"
    return "the tracker was not changed"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
