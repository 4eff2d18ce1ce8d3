"""Rows of metrics as text: Markdown, and values with their intervals."""

from collections.abc import Sequence
from typing import Any

SHOWN = (
    "exact_match",
    "regret",
    "log_likelihood",
    "ece",
    "entropy_swarm",
    "entropy_candidates",
    "top1_share",
    "abstain_rate",
    "risk_accepted",
    "risk_default",
)
"""The metrics of a row that the tables show; exact match and regret come with intervals."""


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    header = ("policy", "split", "issues", "n", *(name.replace("_", " ") for name in SHOWN), "parameters", "train s")
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["policy"],
        row["split"],
        row["issues"],
        str(row["examples"]),
        *(with_interval(row, name) for name in SHOWN),
        "-" if row["parameters"] is None else str(int(row["parameters"])),
        "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
    ]


def with_interval(row: dict[str, Any], metric: str) -> str:
    """A metric with its interval, if it has one: ``0.412 [0.380, 0.441]``."""
    if row[metric] is None:
        return "-"
    low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    return f"{row[metric]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")
