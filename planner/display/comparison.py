"""Comparisons and ablations: policies down, metrics across."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from planner.display.console import say
from planner.display.table import print_table
from planner.evaluation.compare import Comparison
from planner.evaluation.comparison_rows import Row
from planner.evaluation.tables import cost_cells
from planner.scoring.metric import cell, columns

IMPORTANT = ("regret", "exact", "risk")
"""Columns for which there is room first."""


class Report(Protocol):
    """What a comparison and an ablation, which is made on a higher floor, have in common."""

    @property
    def seeds(self) -> int: ...
    @property
    def max_risk(self) -> float: ...
    @property
    def rows(self) -> Sequence[Row]: ...


def print_comparison(report: Comparison) -> None:
    """Policies down, metrics across; seen and unseen issues apart where there are both."""
    rows = sorted(report.rows, key=lambda row: (row.split == "test", row.issues))
    _print_rows(rows, {"split": "split", "issues": "issues", "examples": "n", "policy": "policy"})
    _explain(report)


def print_ablation(report: Report) -> None:
    """One section per varied setting, on test (on validation where test is empty), all issues together."""
    split = "test" if any(row.split == "test" for row in report.rows) else "val"
    rows = [row for row in report.rows if row.split == split and row.issues == "all"]
    _print_rows(rows, {"axis": "varied", "policy": "to", "examples": f"n ({split})"})
    _explain(report)


def _print_rows(rows: Sequence[Row], names: dict[str, str]) -> None:
    shown = [metric for metric in columns("compare") if any(row.numbers[metric.key] is not None for row in rows)]
    titles = [metric.title + " [95 %]" * metric.interval for metric in shown]
    cells = [
        [
            *(_field(row, name) for name in names),
            *(cell(metric, row.numbers) for metric in shown),
            *cost_cells(row),
        ]
        for row in rows
    ]
    first = next(iter(names))
    ends = {at for at, (row, after) in enumerate(pairwise(rows)) if _field(row, first) != _field(after, first)}
    important = [metric.title + " [95 %]" * metric.interval for metric in shown if metric.title in IMPORTANT]
    print_table((*names.values(), *titles, "parameters", "train s"), cells, keep=len(names), first=important, ends=ends)


def _field(row: Row, name: str) -> str:
    return str(row.numbers["examples"] if name == "examples" else getattr(row, name))


def _explain(report: Report) -> None:
    seeds = "1 seed" if report.seeds == 1 else f"{report.seeds} seeds"
    say(f"trained policies: mean over {seeds}; intervals are over examples (bootstrap)")
    if capped := max((row.numbers["capped_choices"] or 0 for row in report.rows), default=0):
        say(
            "regret, `A to B`: if every capped choice would have passed, and if none would; there are up to "
            f"{capped:.4g} of them, and their risk is 1"
        )
    say(
        f"abst.: share left to today's rule so that the rest loses up to {report.max_risk:g} on average (chosen on "
        "val); risk: what the rest does lose; default: what today's rule loses where the policy abstained"
    )
