"""Comparisons and ablations: policies down, metrics across."""

from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from planner.display.console import console, say
from planner.evaluation.tables import cost_cells
from planner.scoring.metric import cell, columns


def print_comparison(report: dict[str, Any]) -> None:
    """Policies down, metrics across; seen and unseen issues apart where there are both."""
    rows = sorted(report["rows"], key=lambda row: (row["split"] == "test", row["issues"]))
    _print_rows(rows, {"split": "split", "issues": "issues", "examples": "n", "policy": "policy"})
    _explain(report)


def print_ablation(report: dict[str, Any]) -> None:
    """One section per varied setting, on test (on validation where test is empty), all issues together."""
    split = "test" if any(row["split"] == "test" for row in report["rows"]) else "val"
    rows = [row for row in report["rows"] if row["split"] == split and row["issues"] == "all"]
    _print_rows(rows, {"axis": "varied", "policy": "to", "examples": f"n ({split})"})
    _explain(report)


def _print_rows(rows: list[dict[str, Any]], names: dict[str, str]) -> None:
    shown = [metric for metric in columns("compare") if any(row[metric.key] is not None for row in rows)]
    titles = [metric.title + " [95 %]" * metric.interval for metric in shown]
    table = Table(
        *(Column(name, no_wrap=True) for name in (*names.values(), *titles, "parameters", "train s")), padding=(0, 0)
    )
    for previous, row in zip([None, *rows], rows, strict=False):
        if previous is not None and previous[next(iter(names))] != row[next(iter(names))]:
            table.add_section()
        table.add_row(
            *(str(row[name]) for name in names), *(escape(cell(metric, row)) for metric in shown), *cost_cells(row)
        )
    console.print(table)


def _explain(report: dict[str, Any]) -> None:
    say(f"trained policies: mean over {report['seeds']} seeds; intervals are over examples (bootstrap)")
    if capped := max((row["capped_choices"] for row in report["rows"]), default=0):
        say(f"regret: a lower bound where a capped action is chosen, in up to {capped:.4g} examples; its risk is 1")
    say(
        f"abst.: share left to today's rule so that the rest loses up to {report['max_risk']:g} on average (chosen on "
        "val); risk: what the rest does lose; default: what today's rule loses where the policy abstained"
    )
