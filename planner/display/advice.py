"""What `planner advise` shows: one screen."""

from pathlib import Path
from typing import Any

from planner.actions import Action
from planner.display.console import say
from planner.display.table import print_table
from planner.display.training import describe_gate
from planner.evaluation.advise import Advice, Interval, PlanRow, ToolRow


def print_advice(advice: Advice, repo: Path) -> None:
    """Plans, gates, failing tools, what to measure, and one sentence that says what to do."""
    trials = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in advice.trials.items())
    say(f"{advice.decisions} decisions about {advice.issues} issues; trials: {trials}")
    if advice.plans:
        _print_plans(advice.plans)
        say(
            "expected, by a model that has these issues' trials: nobody ran most of these plans. The model's plans "
            "were chosen without the issue's own trials"
        )
        say("intervals: 95 %, issues of one group drawn together; that the model itself may be wrong is not in them")
    if advice.foreseen is not None:
        say(f"check: of the plans that were run, it foresaw {_plain(advice.foreseen)} passes beyond those that came")
    for mode, gate in advice.gates.items():
        say(f"{mode} issues: {describe_gate(gate)}")
    if advice.tools:
        say("tools, passes of trials: " + "; ".join(_tool(row) for row in advice.tools))
    if advice.plans and not advice.failing:
        say("fails where: no tool stands out on any group of issues")
    for row in advice.failing:
        say(f"fails where: {row.tool} on {row.group}: {_rate(row)}")
    if advice.to_measure:
        say("to measure next, by what knowing may win:")
        for one in advice.to_measure:
            say(f"  issue {one.issue_id}: {one.gain:.3f} by {' and '.join(_plan(a) for a in one.actions)}")
        issues = " ".join(f"--issue {one.issue_id}" for one in advice.to_measure)
        say(f"  planner train {advice.dataset} --arch structural --out RUN")
        say(f"  planner bench {repo} --select informative --policy RUN {issues}")
    say(advice.sentence)


def _print_plans(rows: list[PlanRow]) -> None:
    cells = [
        [
            row.policy,
            f"{row.passed:.3f}",
            f"{row.wall_minutes:.1f}",
            f"{row.agent_minutes:.1f}",
            _interval(row.passes_won, 3),
            _interval(row.agent_minutes_saved, 1),
            _interval(row.utility_won, 3),
        ]
        for row in rows
    ]
    titles = ("plan", "passes", "wall min", "agent min", "passes won", "agent min saved", "utility won")
    print_table(titles, cells, first=("passes", "agent min", "utility won", "agent min saved"))


def _interval(value: Interval | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value.mean:+.{digits}f} [{value.low:+.{digits}f}, {value.high:+.{digits}f}]"


def _plain(value: Interval) -> str:
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def _tool(row: ToolRow) -> str:
    return f"{row.tool or 'unknown'} {_rate(row)}"


def _rate(row: ToolRow) -> str:
    cut = f", {row.cut} more were cut" if row.cut else ""
    return f"{row.passes} of {row.trials} (90 %: {row.low:.2f} to {row.high:.2f}{cut})"


def _plan(document: dict[str, Any]) -> str:
    action = Action(**document)
    return f"{action.swarm_id} {action.max_candidates_bin}x{action.max_iterations_bin}, {action.max_minutes_bin} min"
