"""The one table of metrics: what each is called and means, and from which all tables and JSON files take their columns.

A metric is one row: ``register(Metric(...))``, wherever it is written. It is shown by every table whose kind of values
it has a formula for: ``of_decisions`` for evaluate, compare and ablate (see planner.evaluation.metrics.Judged),
``of_choice`` for evaluate --bench (see planner.scoring.regret.Choice).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.errors import ConfigError

Shown = Literal["evaluate", "compare", "bench"]
"""`planner evaluate`; `planner compare` and `planner ablate`; `planner evaluate --bench`."""


class Bounds(NamedTuple):
    """Values that are known within bounds: what they are at least and at most, the same where they are known."""

    least: NDArray[np.float64]
    most: NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One metric. In JSON it is ``key``, and with an interval ``key_low`` and ``key_high`` besides.

    Of one that is known within bounds ``key`` is what it is at least, ``key_at_most`` what it is at most, and the
    interval reaches from the low end of the one's to the high end of the other's.
    """

    key: str
    title: str
    """Head of its column."""
    unit: str
    better: Literal["higher", "lower"] | None
    """None where neither is."""
    digits: int
    """Behind the point; -n: n significant ones."""
    interval: bool
    """Whether it is a mean over examples that comes with its 95 % bootstrap interval. Its formulas then give the
    values that it is the mean of, or Bounds of them, otherwise the number itself; None where it has no example to
    stand on."""
    of_decisions: Callable[[Any], Any] | None = None
    """Of a Judged: a number, or with an interval (rows,) values, NaN where not known."""
    of_choice: Callable[[Any], Any] | None = None
    """Of a Choice: a number, or with an interval values (t,) and which of these count (t,)."""
    shown: tuple[Shown, ...] = ("evaluate", "compare", "bench")
    """The tables that have a column for it; the JSON files have every metric."""


_registered: dict[str, Metric] = {}


def register(*metrics: Metric) -> None:
    """Add rows to the table; ConfigError for a key that it has already."""
    for metric in metrics:
        if metric.key in _registered:
            raise ConfigError(f"metric {metric.key}: there is one of this name already; give it another key")
        _registered[metric.key] = metric


def withdraw(key: str) -> None:
    """Forget a metric, for instance one that a test added."""
    del _registered[key]


def of_decisions() -> list[Metric]:
    """Every metric of decisions on logged runs, in the order of the table."""
    return [metric for metric in _registered.values() if metric.of_decisions is not None]


def of_choices() -> list[Metric]:
    """Every metric of choices among executed actions, in the order of the table."""
    return [metric for metric in _registered.values() if metric.of_choice is not None]


def columns(table: Shown) -> list[Metric]:
    """The metrics that ``table`` shows."""
    return [one for one in (of_choices() if table == "bench" else of_decisions()) if table in one.shown]


def cell(metric: Metric, row: Mapping[str, Any], *, interval: bool = True) -> str:
    """A metric's value in a row of numbers as text, with its interval if it has one: ``0.412 [0.380, 0.441]``; where it
    is known within bounds only, both of them: ``0.012 to 0.907 [0.002, 0.981]``."""
    value = row[metric.key]
    if value is None:
        return "-"
    low, high, most = (row.get(f"{metric.key}_{end}") for end in ("low", "high", "at_most"))
    text = _number(value, metric.digits)
    if most is not None and most != value:
        text += f" to {_number(most, metric.digits)}"
    if not interval or low is None or high is None:
        return text
    return f"{text} [{_number(low, metric.digits)}, {_number(high, metric.digits)}]"


def with_interval(
    key: str, least: tuple[float, float, float], most: tuple[float, float, float] | None = None
) -> dict[str, float | None]:
    """A mean with its interval by their keys, NaN as None; with ``most``, that of what the values are at most."""
    mean, low, high = least if most is None else (*least[:2], most[2])
    numbers = {key: mean, f"{key}_low": low, f"{key}_high": high}
    if most is not None:
        numbers[f"{key}_at_most"] = most[0]
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def _number(value: float, digits: int) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if digits >= 0 else f"{round(value, 4):.{-digits}g}"
