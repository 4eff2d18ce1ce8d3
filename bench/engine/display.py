"""What `planner bench` shows: a bar while executions run, then the table of winners."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from bench.engine.run import BenchReport, CapReport
from bench.executors.fault_reasons import RETRY
from bench.ledger import Progress as LedgerProgress
from planner.display.progress import StageBars
from planner.display.table import print_table
from planner.terminal_lines import as_shown

SHOWN_CASES = 60
"""How many cases the table has."""
SHOWN_ISSUES = 20
"""How many of the issues that were set aside for one reason are named."""


class ExecutionBar(StageBars):
    """A progress bar over executions."""

    def __init__(self) -> None:
        # Executions take seconds.
        super().__init__(draws_per_second=2)
        self.update("executions", 0, None, "bench (starting)")

    def show_planned(self, n_cases: int) -> None:
        """Say how many cases have been made."""
        self.update("cases", n_cases, None, f"cases planned: {n_cases}")

    def show(self, progress: LedgerProgress) -> None:
        """Draw the ledger's counts."""
        text = (
            f"executions: {progress.passed} passed, {progress.capped} capped, {progress.faults} faults, "
            f"{progress.started} running"
        )
        self.update("executions", progress.finished, progress.total, text)


def print_report(console: Console, report: BenchReport) -> None:
    """The winner of every case, what was set aside or left out, and the counts."""
    titles = ("issue", "winner", "conf.", "decided by", "equals", "passed", "capped", "faults")
    rows = []
    for case in report.cases[:SHOWN_CASES]:
        verdict = case.verdict
        winner = (
            ("none", "-", "-", "-")
            if verdict is None
            else (
                str(verdict.action),
                f"{verdict.confidence:.2f}",
                verdict.decided_by,
                str(len(verdict.equals) - 1),
            )
        )
        passed = f"{case.passed} of {case.finished - case.capped - case.faults}"
        rows.append([case.issue_id, *winner, passed, str(case.capped), str(case.faults)])
    print_table(titles, rows, first=("winner", "conf.", "passed", "decided by"))
    if len(report.cases) > SHOWN_CASES:
        say(console, f"... and {len(report.cases) - SHOWN_CASES} more cases in the ledger")
    order = ", then ".join(f"{goal} {name}" for name, goal in report.metrics)
    say(
        console,
        f"winner: passes most, then {order}, then the smallest plan; conf.: how likely none passes more often; "
        "equals: actions that are not clearly worse",
    )
    say(
        console,
        "decided by: passes (it passes more often than all but its equals), time_bound (others may pass as often, but "
        "took longer or were capped), or unknown (nobody passed, or all are equals)",
    )
    print_set_aside(console, report.set_aside, report.unreadable)
    for group in report.fault_reasons:
        say(console, f"fault: {group.line}")
    if report.fault_reasons:
        say(console, RETRY)
    if not any(case.judged for case in report.cases):
        say(console, "nothing could be judged: no case has outcomes of two actions" if report.cases else "no cases")
    if report.caps is not None and report.caps.start_ms and any(case.capped for case in report.cases):
        say(console, _caps_line(report.caps))
    for host, reason in report.idle_nodes.items():
        say(console, f"node {host} got no more work: {reason}")
    for reason, n_executions in report.left_out.items():
        say(console, f"left out: {n_executions} executions, because {reason}; they stay planned")
    say(
        console,
        f"read {report.read} issues ({len(report.set_aside)} set aside); {len(report.cases)} cases: "
        f"{report.run} executions run, {report.resumed} resumed from the ledger, {report.faults} faulty "
        f"({report.retried} were started more than once), {report.derived} derived from runs with more minutes; "
        f"ledger {report.ledger_path}",
    )


def _caps_line(caps: CapReport) -> str:
    """What capped executions were allowed beyond the bound of the sibling that passed."""
    source = "as --doctor measured" if caps.start_measured else "not measured here: `planner bench --doctor` does"
    spread = ", ".join(f"{tool} {share:.0%}" for tool, share in sorted(caps.spread.items()))
    return (
        f"caps leave to noise: the kernel's start-up of {caps.start_ms / 1000:.2f} s ({source}), and what the tools' "
        f"times vary by on one issue ({spread or 'not known in this session'})"
    )


def print_set_aside(console: Console, set_aside: Mapping[str, str], unreadable: Sequence[Mapping[str, str]]) -> None:
    """Which issues are no cases and why, and what could not be read."""
    by_reason: dict[str, list[str]] = {}
    for issue_id, reason in set_aside.items():
        by_reason.setdefault(reason, []).append(repr(issue_id))
    for reason, issue_ids in by_reason.items():
        named = ", ".join(issue_ids[:SHOWN_ISSUES])
        more = f" and {len(issue_ids) - SHOWN_ISSUES} more" if len(issue_ids) > SHOWN_ISSUES else ""
        say(console, f"set aside: {reason}: {named}{more}")
    for entry in unreadable:
        say(console, f"{entry['consequence']}: {entry['path']}: {entry['reason']}")


def say(console: Console, text: str) -> None:
    """Print a line; see planner.display.console.say."""
    console.print(as_shown(text, console.file), markup=False, highlight=False, soft_wrap=True)
