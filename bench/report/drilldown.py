"""The data of the page's table of cases, which templates/report.js shows: choices, and what each action came to."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from bench.engine.execution_logs import SUFFIX, logs_of
from bench.logged_execution import LoggedExecution
from bench.report.grid import FATES, Grid, GridCase, fate_of
from bench.report.standing import SINGLE_BEST, Standings
from planner.dataset.outcomes import ActionOutcome

MAX_BYTES = 2_000_000
"""Of more, the details of the cases with the least regret are left out, and the page says so."""
MAX_TEXT = 300
UNSAFE = "<>&\u2028\u2029"
"""What may end a script element, or a line in one."""
CONTEXT = ("dk_priority", "dk_risk", "dk_size", "dk_tool_hint", "dk_attempts", "estimated_minutes")


@dataclass(frozen=True)
class Drilldown:
    """The data as JSON, safe inside a script element."""

    json: str
    cases: int
    without_details: int


@dataclass(frozen=True)
class KeptLogs:
    """The logs of executions, as the page links to them."""

    href: str
    """Their directory, from the page's."""
    execution_ids: frozenset[str]
    """The executions that have one."""

    @classmethod
    def of(cls, ledger: Path, page: Path) -> "KeptLogs":
        """Those that lie beside the ledger, seen from ``page``."""
        directory = logs_of(ledger)
        relative = os.path.relpath(directory.resolve(), page.resolve().parent)
        return cls(quote(Path(relative).as_posix()), frozenset(path.stem for path in directory.glob(f"*{SUFFIX}")))


NO_LOGS = KeptLogs("", frozenset())


def drilldown(grid: Grid, standings: Standings | None, minute_ms: float, logs: KeptLogs = NO_LOGS) -> Drilldown:
    """All cases of a ledger, those with the largest regret of the policy that the page begins with first."""
    policies = [one for one in standings.policies if one.chosen] if standings is not None else []
    label_of = {action: str(action) for action in {action for case in grid.cases for action in case.executions}}
    labels = sorted(label_of.values())
    index = {label: at for at, label in enumerate(labels)}
    index_of = {action: index[label] for action, label in label_of.items()}
    lead = _lead([one.name for one in policies], {one.name: one.kind for one in policies})
    regret_of = {one.name: one.regrets for one in policies}.get(lead, {})
    cases = sorted(grid.cases, key=lambda case: -regret_of.get(case.case.case_id, -1.0))
    rows = []
    for case in cases:
        key = case.case.case_id
        rows.append(
            {
                "id": key,
                "issue": _cut(case.case.issue_id),
                "title": _cut(case.case.context.issue.title or ""),
                "problem": _cut(case.problem),
                "date": case.case.context.created_at[:16].replace("T", " "),
                "context": _context(case),
                "held": standings is not None and key in standings.problem_of,
                "rule": index.get(_rule(case), -1),
                "chosen": [index.get(one.chosen.get(key, ""), -1) for one in policies],
                "regret": [_number(one.regrets.get(key), 4) for one in policies],
                "actions": [
                    _action(index_of[action], group, case.outcomes.get(action), minute_ms, logs)
                    for action, group in case.executions.items()
                ],
            }
        )
    document: dict[str, Any] = {
        "policies": [{"name": one.label, "kind": one.kind} for one in policies],
        "lead": next((at for at, one in enumerate(policies) if one.name == lead), -1),
        "labels": labels,
        "fates": FATES,
        "expected": grid.is_expected,
        "logs": logs.href,
        "cases": rows,
    }
    return _fit(document)


def _lead(names: Sequence[str], kind_of: Mapping[str, str]) -> str:
    """The policy whose regrets are shown first: the first trained run, else the single best action."""
    runs = [name for name in names if kind_of[name] == "run"]
    return runs[0] if runs else SINGLE_BEST


def _rule(case: GridCase) -> str:
    """Today's rule runs the first action of every case."""
    first = case.case.actions[0].model_dump()
    return next((str(action) for action in case.executions if action._asdict() == first), "")


def _context(case: GridCase) -> list[list[str]]:
    issue = case.case.context.issue.model_dump()
    found = [[name.removeprefix("dk_").replace("_", " "), str(issue[name])] for name in CONTEXT if issue.get(name)]
    tags = issue.get("tags") or []
    if tags:
        found.append(["tags", ", ".join(map(str, tags[:12]))])
    found.append(["past runs in its context", str(len(case.case.context.history.last_n_similar_runs))])
    if case.case.trials:
        passed = sum(trial.passed for trial in case.case.trials)
        found.append(["recorded trials", f"{passed} of {len(case.case.trials)} passed"])
    return [[name, _cut(value)] for name, value in found]


def _action(
    at: int, group: Sequence[LoggedExecution], outcome: ActionOutcome | None, minute_ms: float, logs: KeptLogs
) -> list[Any]:
    """[action, fate or executions of each fate, pass share, wall min, agent min, dollars, utility, what went wrong],
    and where any of its executions has a log, those that do."""
    # Mostly there is one execution of an action: then its fate alone says all.
    fates: int | list[int] = FATES.index(fate_of(group[0]))
    if len(group) > 1:
        counts = Counter(fate_of(one) for one in group)
        fates = [counts[fate] for fate in FATES]
    numbers: list[Any] = [None] * 5
    if outcome is not None:
        numbers = [
            None if outcome.capped else _number(outcome.passed, 3),
            _number(outcome.duration_ms / minute_ms, 2),
            None if outcome.agent_ms is None else _number(outcome.agent_ms / minute_ms, 2),
            _number(outcome.cost_usd, 4),
            _number(outcome.utility, 4),
        ]
    logged = [one.execution_id for one in group if one.execution_id in logs.execution_ids]
    return [at, fates, *numbers, _wrong(group), *([logged] if logged else [])]


def _wrong(group: Sequence[LoggedExecution]) -> str:
    """Gates and fail codes of what failed, faults, and what stopped it."""
    found: list[str] = []
    for one in group:
        if one.outcome is None:
            continue
        found += [f"gate {gate.name}" for gate in one.outcome.gates if not gate.passed]
        found += [code for code in one.outcome.fail_codes if code not in ("failed",)]
        if one.outcome.fault:
            found.append(one.outcome.fault)
        elif one.outcome.stopped_by:
            found.append(f"stopped: {one.outcome.stopped_by}")
    return _cut(", ".join(dict.fromkeys(found)))


def _fit(document: dict[str, Any]) -> Drilldown:
    """Within the size that a page may have: details are given up from the end, where regret is least."""
    rows = document["cases"]
    sizes = [len(orjson.dumps(row["actions"])) for row in rows]
    left = MAX_BYTES - len(orjson.dumps({**document, "cases": [{**row, "actions": []} for row in rows]}))
    without = 0
    for row, size in zip(rows, sizes, strict=True):
        left -= size
        if left < 0:
            row["actions"] = None
            without += 1
    return Drilldown(for_script(document), len(rows), without)


def for_script(document: Any) -> str:
    """JSON that no text in it can end the script element of, or begin a comment in."""
    text = orjson.dumps(document).decode()
    for character in UNSAFE:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _number(value: float | None, digits: int) -> float | None:
    return None if value is None or math.isnan(value) else round(value, digits)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
