"""The dimensions of an action: one row each, from which heads, bins, plans, caps, tokens and order of size follow.

A further dimension is a row at the end of DIMENSIONS, with a ``default`` by which documents without it are read.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Dimension:
    """One part of a decision."""

    name: str
    """The head, the field of an Action and the key of a planner_action; ``names`` is the action space's key."""
    kind: Literal["choice", "budget"]
    """choice: one of some names. budget: a positive number or "NA", kept under a planner_action's ``budgets``."""
    executed_field: str
    """Its key in an executed_plan."""
    summary_field: str
    """Its key in the ``action_executed`` of a run's summary."""
    token: str
    """The key of its token in a past run's segment."""
    bins: tuple[Any, ...]
    """Values that an action space has by itself; of a choice without any, the universe's catalogue."""
    fallback: Any
    """What is run when nothing is known."""
    short: str = ""
    """What stands before its value in a line of text; the first dimension has nothing."""
    title: str = ""
    """Head of its column in a table."""
    executed_unit: int = 1
    """What one unit of a budget is in the executed plan, for instance 60 seconds."""
    cap: str | None = None
    """The hard limit (planner.caps.Caps) that a budget must keep."""
    objection: str = ""
    """The fallback_reason of a decision beyond the cap."""
    size_factor: bool = True
    """Whether a plan is larger for it: the product of these is a plan's size."""
    default: Any = None
    """Its value in documents that do not have it; None for those that every document has."""

    @property
    def names(self) -> str:
        """The key of its values in an action space."""
        return f"{self.name}s"

    def to_executed(self, value: Any) -> Any:
        """A value of an action as an executed plan says it."""
        if value == "NA":
            return None
        return value * self.executed_unit if self.kind == "budget" else value

    def to_bin(self, executed: Any) -> Any:
        """What an executed plan says as a value of an action, or None where it amounts to none."""
        if executed is None:
            return "NA" if self.kind == "budget" else self.default
        if self.kind == "choice":
            return executed
        return None if executed % self.executed_unit else executed // self.executed_unit

    def to_summary(self, executed: Any) -> Any:
        """What an executed plan says as the summary of a run does: in units of the action, rounded down."""
        return executed // self.executed_unit if self.kind == "budget" and executed is not None else executed

    def of_text(self, text: str) -> Any:
        """A value from its text in a table."""
        return text if self.kind == "choice" or text == "NA" else int(text)


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        name="swarm_id",
        kind="choice",
        executed_field="swarm_id_executed",
        summary_field="swarm_id",
        token="SWARM",
        bins=(),
        fallback="serial_handoff",
        title="swarm",
        size_factor=False,
    ),
    Dimension(
        name="max_candidates_bin",
        kind="budget",
        executed_field="max_candidates_executed",
        summary_field="max_candidates",
        token="CANDIDATES",
        bins=(1, 2, 3, "NA"),
        fallback=1,
        short="c",
        title="cand.",
        cap="max_candidates",
        objection="max_candidates_exceeds_cap",
    ),
    Dimension(
        name="max_minutes_bin",
        kind="budget",
        executed_field="timeout_seconds_executed",
        summary_field="max_minutes",
        token="MINUTES",
        bins=(15, 30, 45, 60, 120, "NA"),
        fallback=60,
        short="m",
        title="min.",
        executed_unit=60,
        cap="max_minutes",
        objection="timeout_exceeds_cap",
    ),
    Dimension(
        name="max_iterations_bin",
        kind="budget",
        executed_field="max_iterations_executed",
        summary_field="max_iterations",
        token="ITERATIONS",
        bins=(1, 2, 3, 5, "NA"),
        fallback="NA",
        short="i",
        title="iter.",
        cap="max_iterations",
        objection="max_iterations_exceeds_cap",
    ),
)
"""In the order of the heads. Read once, when planner.actions is imported: add to it before."""
