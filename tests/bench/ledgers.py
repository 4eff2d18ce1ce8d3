"""Ledgers whose outcomes are made by hand, and what is made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.judging.judge_runs import score_runs
from bench.ledger import Ledger
from planner.actions import Action, ActionSpace
from planner.contracts.bench import BenchCase, BenchOutcome
from tests.bench.test_ledger import ACTIONS, bench_case
from tests.bench.test_objective import outcome

SERIAL, VOTE = ACTIONS
LIMIT_MS = 120 * 60_000
REPLAY = {"replay": "tables", "minute_seconds": 60.0}


def write_ledger(path: Path, cases: Sequence[tuple[BenchCase, dict[Action, BenchOutcome]]]) -> Path:
    """A ledger of these cases with their outcomes."""
    with Ledger.open(path) as ledger:
        ledger.add_cases([case for case, _ in cases])
        outcomes = {case.case_id: by_action for case, by_action in cases}
        for execution in ledger.planned():
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcomes[execution.case_id][execution.action]})
    return path


def ten_cases() -> list[tuple[BenchCase, dict[Action, BenchOutcome]]]:
    """The vote passes everywhere; the serial plan, in the first five cases only and ten times as fast."""
    slow = outcome(True, 600_000)
    fast, failed = outcome(True, 60_000), outcome(False, 60_000)
    return [(bench_case(str(i)), {SERIAL: fast if i <= 5 else failed, VOTE: slow}) for i in range(1, 11)]


def told(
    issue_id: str,
    outcomes: dict[Action, BenchOutcome],
    *,
    day: int = 0,
    hint: str | None = None,
    toolchains: Sequence[str] | None = None,
    commit: str = "0" * 40,
    swarms: Sequence[str] = ("serial_handoff", "speculate_vote"),
) -> tuple[BenchCase, dict[Action, BenchOutcome]]:
    """A case of that day with what came of its actions."""
    document = bench_case(issue_id).model_dump()
    document["context"] |= {"created_at": f"2026-11-{day + 1:02d}T00:00:00Z"}
    document["context"]["issue"]["dk_tool_hint"] = hint
    document["context"]["action_space"] = ActionSpace.default(swarms).to_document()
    if toolchains is not None:
        document["context"]["system_state"] = {"available_toolchains": list(toolchains)}
    actions = [action._asdict() for action in outcomes]
    return BenchCase.model_validate(document | {"base_commit": commit, "actions": actions}), outcomes


def bound(path: Path, **settings: Any) -> Path:
    """The ledger at ``path``, told with what it was made."""
    with Ledger.open(path) as ledger:
        ledger.bind(settings)
    return path


def rows_of(report: dict[str, Any], table: str = "policies") -> dict[str, dict[str, Any]]:
    """A table of a regret report, by policy."""
    return {row["policy"]: row for row in report[table]}


def judged(ledger: Path, runs: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """The regret report as JSON."""
    return score_runs(ledger, runs, **settings).to_json()
