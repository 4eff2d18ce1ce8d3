"""Finds what an id means in a repo, and says it in lines; without torch and Ray."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.ledger import Ledger
from bench.logged_execution import LoggedExecution
from planner.actions import Action, action_from_document
from planner.commands.repo_state import LEDGER, age
from planner.context import ContextBuilder
from planner.contracts.bench import BenchCase
from planner.errors import ArtifactError, UsageError
from planner.own_places import DATASET, RUNS
from planner.run_directory import run_document


@dataclass(frozen=True)
class Found:
    """One thing, as a person reads it and as programs do."""

    kind: str
    """trained run, case, execution, example, run, or issue."""
    id: str
    where: str
    lines: list[str]
    planner_input: dict[str, Any] | None
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All of it but the lines."""
        document = asdict(self)
        del document["lines"]
        return document


def find_record(what: str, repo: Path, ledger: Path | None, dataset: Path | None) -> Found:
    """The first thing that ``what`` names; UsageError where nothing does, with the places that were looked in."""
    looks: list[tuple[Path, Callable[[], Found | None]]] = [
        (repo / RUNS, lambda: _trained_run(what, repo)),
        (ledger or repo / LEDGER, lambda: _in_ledger(what, ledger or repo / LEDGER)),
        (dataset or repo / DATASET, lambda: _in_dataset(what, dataset or repo / DATASET)),
        (repo / ".cyntra", lambda: _in_repo(what, repo)),
    ]
    for _, look in looks:
        if (found := look()) is not None:
            return found
    places = ", ".join(str(place) for place, _ in looks if place.exists())
    raise UsageError(f"{what}: nothing of that name in {places or repo}: `planner ls` says what is there")


def _trained_run(what: str, repo: Path) -> Found | None:
    run = next((path for path in (Path(what), repo / RUNS / what) if (path / "run.json").is_file()), None)
    document = None if run is None else run_document(run)
    if run is None or document is None:
        return None
    state = "finished" if document.get("finished") else f"stopped after epoch {document.get('epoch', -1) + 1}"
    lines = [
        f"trained run {run}: {state}, written {age((run / 'run.json').stat().st_mtime)}",
        f"dataset     {document.get('dataset')} (hash {str(document.get('dataset_hash'))[:16]})",
    ]
    if document.get("best_metric") is not None:
        lines.append(
            f"best        epoch {document['best_epoch'] + 1}, validation {document['selected_by']} "
            f"{document['best_metric']:.4f}"
        )
    for key in ("init_from", "teacher", "note"):
        if document.get(key):
            lines.append(f"{key:<11} {document[key]}")
    lines += [f"settings    {key}: {value}" for key, value in (document.get("config") or {}).items()]
    return Found("trained run", run.name, str(run), lines, None, document)


def _in_ledger(what: str, path: Path) -> Found | None:
    if not path.is_file():
        return None
    with Ledger.read(path) as ledger:
        cases, executions = ledger.cases(), ledger.logged()
    for one in executions:
        if one.execution_id == what:
            case = next(case for case in cases if case.case_id == one.case_id)
            record = _execution_document(one)
            return Found("execution", what, str(path), _execution_lines(one, case), _context(case), record)
    for case in cases:
        if what in (case.case_id, case.issue_id):
            own = [one for one in executions if one.case_id == case.case_id]
            record = {
                **case.model_dump(mode="json", exclude={"context"}),
                "executions": [_execution_document(o) for o in own],
            }
            return Found("case", case.case_id, str(path), _case_lines(case, own), _context(case), record)
    return None


def _in_dataset(what: str, path: Path) -> Found | None:
    if not (path / "dataset.json").is_file():
        return None
    from planner.dataset.storage import label_of, load_dataset

    for name, split in load_dataset(path).splits.items():
        table = split.table
        if what in table["example_id"]:
            at = table["example_id"].index(what)
            row = {key: column[at] for key, column in table.items()}
            context = split.contexts()[at]
            lines = [
                f"example {what} of {name} in {path}",
                *_context_lines(context),
                f"label       {label_of(row)}",
                f"came to     {row['status']} in {_seconds(row['duration_ms'])}",
            ]
            return Found("example", what, str(path), lines, context, {"split": name, **row})
    return None


def _in_repo(what: str, repo: Path) -> Found | None:
    if not (repo / ".cyntra").is_dir():
        return None
    from planner.artifacts.repo import Repo

    opened = Repo(repo)
    for run in opened.runs:
        if run.run_id == what:
            context = None if run.planner_input is None else orjson.loads(run.planner_input.text)
            came_to = f"{run.summary['outcome']['status']}, {_seconds(run.ended_ms - run.started_ms)}"
            lines = [
                f"run {what} of issue {run.issue_id}: {came_to}",
                *([] if context is None else _context_lines(context)),
                f"plan        {run.executed_plan or 'no artifact says what ran'}",
            ]
            record = {"summary": run.summary, "executed_plan": run.executed_plan, "toolchain": run.toolchain}
            return Found("run", what, str(repo), lines, context, record)
    if what in opened.issues:
        try:
            context = ContextBuilder(opened).now(what)
        except ArtifactError:
            return None
        issue = opened.issues[what]
        lines = [f"issue {what}: {issue.get('status')}", *_context_lines(context)]
        return Found("issue", what, str(repo), lines, context, {"issue": issue})
    return None


def _case_lines(case: BenchCase, executions: list[LoggedExecution]) -> list[str]:
    lines = [f"case {case.case_id} of issue {case.issue_id}", *_context_lines(_context(case))]
    lines += [f"commit      {case.base_commit}"]
    for number, action in enumerate(case.actions):
        mine = action_from_document(action.model_dump())
        rule = " (today's rule)" if number == 0 else ""
        lines.append(f"action      {mine}{rule}")
        lines += [f"  {one.execution_id}  {_fate(one)}" for one in executions if one.action == mine]
    return lines


def _execution_lines(one: LoggedExecution, case: BenchCase) -> list[str]:
    lines = [f"execution {one.execution_id} of case {case.case_id}, issue {case.issue_id}"]
    lines += [f"action      {one.action}, repeat {one.repeat}", f"state       {_fate(one)}"]
    outcome = one.outcome
    if outcome is not None:
        agent = _seconds(outcome.agent_ms)
        cost = "not known" if outcome.cost_usd is None else f"${outcome.cost_usd:.2f}"
        lines.append(f"took        {_seconds(outcome.duration_ms)} of wall time, {agent} of agents, cost {cost}")
        lines += [f"gate        {gate.name}: {'passed' if gate.passed else 'failed'}" for gate in outcome.gates]
        if outcome.fail_codes:
            lines.append(f"fail codes  {', '.join(outcome.fail_codes)}")
        for name in ("stopped_by", "fault", "derived_from"):
            if getattr(outcome, name):
                lines.append(f"{name.replace('_', ' '):<11} {getattr(outcome, name)}")
    if one.trouble:
        lines.append(f"trouble     {one.trouble}")
    return [*lines, *_context_lines(_context(case))]


def _fate(one: LoggedExecution) -> str:
    if one.outcome is None:
        return one.state
    return f"{'passed' if one.outcome.passed else one.outcome.status} in {_seconds(one.outcome.duration_ms)}"


def _context_lines(context: dict[str, Any]) -> Iterator[str]:
    issue = context["issue"]
    yield f"context     {context['job_type']} in {context['universe_id']}, {context['created_at']}"
    if issue.get("title"):
        yield f"title       {issue['title']}"
    facts = {name: issue.get(f"dk_{name}") for name in ("priority", "risk", "size", "tool_hint", "attempts")}
    yield "issue       " + ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    if issue.get("tags"):
        yield f"tags        {', '.join(issue['tags'])}"
    similar = context["history"]["last_n_similar_runs"]
    passed = sum(run["outcome"]["status"] == "success" for run in similar)
    yield f"history     {len(similar)} similar runs, {passed} passed"


def _context(case: BenchCase) -> dict[str, Any]:
    return case.context.model_dump(mode="json")


def _execution_document(one: LoggedExecution) -> dict[str, Any]:
    import msgspec

    document = one._asdict()
    return {**document, "action": _named(one.action), "outcome": msgspec.to_builtins(one.outcome)}


def _named(action: Action) -> dict[str, Any]:
    return dict(action._asdict())


def _seconds(ms: int | None) -> str:
    return "unknown time" if ms is None else f"{ms / 1000:.1f} s"
