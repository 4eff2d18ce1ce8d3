"""Rows of numbers as Markdown; the columns are those of the table of metrics."""

from collections.abc import Sequence

from planner.evaluation.comparison_rows import Row
from planner.scoring.metric import cell, columns


def markdown(rows: Sequence[Row]) -> str:
    """The rows of a comparison or ablation as a Markdown table."""
    titles = [metric.title for metric in columns("compare")]
    header = ("policy", "split", "issues", "n", *titles, "parameters", "train s")
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    return [
        row.policy,
        row.split,
        row.issues,
        str(row.numbers["examples"]),
        *(cell(metric, row.numbers) for metric in columns("compare")),
        *cost_cells(row),
    ]


def cost_cells(row: Row) -> tuple[str, str]:
    """What a policy is made of: parameters, and seconds of training."""
    return (
        "-" if row.parameters is None else str(int(row.parameters)),
        "-" if row.train_seconds is None else f"{row.train_seconds:.0f}",
    )
