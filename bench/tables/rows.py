"""From a ledger's cases and executions to the rows of the tables."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.judging.benched_trials import end_of_launch
from bench.logged_execution import LoggedExecution
from bench.tables.identifiers import Identifiers
from planner.actions import action_from_document
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.contracts.document import canonical_json, timestamp_to_ms
from planner.encoding.subject import subject_of

Row = dict[str, Any]
MS = 1000.0
UNKNOWN_TOOL = "unknown"
FAULT, CUT, UNKNOWN = "of a faulty execution", "cut at a limit", "of several that ended well, one of which passed"
"""Why a launch is no trial."""


@dataclass(frozen=True)
class Rows:
    """Those of each table, in the order of the ledger."""

    cases: list[Row]
    executions: list[Row]
    problems: list[Row]
    trials: list[Row]
    left_out: Mapping[str, int]
    """Why launches are no trials -> how many."""


def rows_of(
    cases: Sequence[BenchCase],
    logged: Sequence[LoggedExecution],
    outcomes: Mapping[str, BenchOutcome],
    identifiers: Identifiers,
) -> Rows:
    """The rows; ``outcomes`` by execution id."""
    made = {case.case_id: identifiers.case(case.model_dump(mode="json")) for case in cases}
    of_case: dict[str, list[LoggedExecution]] = defaultdict(list)
    for execution in logged:
        of_case[execution.case_id].append(execution)
    left_out: Counter[str] = Counter()
    trials: dict[tuple[str, str], list[Row]] = defaultdict(list)
    problems: dict[str, Row] = {}
    for case in cases:
        document = made[case.case_id]
        problem = _problem(document)
        problems.setdefault(problem, _problem_row(problem, document))
        ran = _recorded(case) if case.trials else _launched(of_case[case.case_id], outcomes, identifiers, left_out)
        for tool, row in ran:
            trials[problem, identifiers.tool(tool)].append({"issue_id": problem, **row})
    return Rows(
        cases=[_case_row(made[case.case_id], case) for case in cases],
        executions=[_execution_row(one, outcomes.get(one.execution_id), made, identifiers) for one in logged],
        problems=list(problems.values()),
        trials=[
            {**row, "action_id": tool, "trial": number}
            for (_, tool), group in trials.items()
            for number, row in enumerate(sorted(group, key=lambda row: row["run_started_at"]))
        ],
        left_out=left_out,
    )


def _problem(document: Mapping[str, Any]) -> str:
    return document.get("problem_id") or str(document["issue_id"])


def _problem_row(problem: str, document: Mapping[str, Any]) -> Row:
    subject, issue = subject_of(document["context"]), document["context"]["issue"]
    minutes = issue.get("estimated_minutes")
    return {
        "issue_id": problem,
        "issue_group": subject.group or None,
        "text": subject.text.strip() or None,
        "human_minutes": float(minutes) if isinstance(minutes, int | float) else None,
    }


def _recorded(case: BenchCase) -> Iterator[tuple[str, Row]]:
    tool = case.context.issue.dk_tool_hint or UNKNOWN_TOOL
    for trial in case.trials or ():
        yield tool, _trial_row(trial.passed, trial.duration_ms, trial.cost_usd, trial.started_ms, None)


def _launched(
    executions: Sequence[LoggedExecution],
    outcomes: Mapping[str, BenchOutcome],
    identifiers: Identifiers,
    left_out: Counter[str],
) -> Iterator[tuple[str, Row]]:
    for one in executions:
        outcome = outcomes.get(one.execution_id)
        if outcome is None or outcome.derived_from is not None:
            continue
        for launch in outcome.launches:
            cut, passed = end_of_launch(outcome, launch)
            if passed is None or outcome.status == "fault":
                left_out[FAULT if outcome.status == "fault" else CUT if cut else UNKNOWN] += 1
                continue
            key = identifiers.execution(one.execution_id, one.case_id)
            yield launch.tool, _trial_row(passed, launch.duration_ms, launch.cost_usd, launch.started_ms, key)


def _trial_row(passed: bool, duration_ms: int, cost: float | None, started_ms: int, execution: str | None) -> Row:
    return {
        "passed": passed,
        "duration_s": duration_ms / MS,
        "cost_usd": cost,
        "run_started_at": started_ms,
        "execution_id": execution,
    }


def _case_row(document: Mapping[str, Any], case: BenchCase) -> Row:
    context = document["context"]
    issue = context["issue"]
    return {
        "case_id": document["case_id"],
        "issue_id": document["issue_id"],
        "problem_id": _problem(document),
        "base_commit": document["base_commit"],
        "universe_id": context["universe_id"],
        "job_type": context["job_type"],
        "decided_at": timestamp_to_ms(context["created_at"]),
        "priority": issue["dk_priority"],
        "risk": issue["dk_risk"],
        "size": issue["dk_size"],
        "tool_hint": issue["dk_tool_hint"],
        "tags": issue["tags"],
        "default_plan": str(action_from_document(case.actions[0].model_dump())),
        "recorded_trials": len(case.trials or ()),
        "document": canonical_json(document).decode(),
    }


def _execution_row(
    one: LoggedExecution, outcome: BenchOutcome | None, cases: Mapping[str, Mapping[str, Any]], identifiers: Identifiers
) -> Row:
    row: Row = {
        "execution_id": identifiers.execution(one.execution_id, one.case_id),
        "case_id": cases[one.case_id]["case_id"],
        "issue_id": cases[one.case_id]["issue_id"],
        "action": canonical_json(one.action._asdict()).decode(),
        "plan": str(one.action),
        "repeat": one.repeat,
        "state": one.state,
        "attempts": one.attempts,
        "started_at": one.started_ms,
        "finished_at": one.finished_ms,
    }
    if outcome is None:
        return row
    document = identifiers.outcome(outcome.model_dump(mode="json"))
    return {
        **row,
        "passed": outcome.passed,
        "status": outcome.status,
        "stopped_by": outcome.stopped_by,
        "duration_s": outcome.duration_ms / MS,
        "agent_s": outcome.agent_ms / MS,
        "cost_usd": outcome.cost_usd,
        "cpu_s": None if outcome.cpu_ms is None else outcome.cpu_ms / MS,
        "score": outcome.score,
        "derived_from": document["derived_from"],
        "failed_gates": [gate["name"] for gate in document["gates"] if not gate["passed"]],
        "fail_codes": document["fail_codes"],
        "launches": len(outcome.launches),
        "document": canonical_json(document).decode(),
    }
