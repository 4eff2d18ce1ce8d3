"""What is known of an example's actions beyond its label: every action that was executed, with what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace

UNKNOWN_MS = -1
"""Stands for a time that nobody recorded."""


class ActionOutcome(NamedTuple):
    """What came of one action; over repeats: the share of passes and means of times (ms) and known costs (dollars).

    A capped action was stopped because it could not win any more: it has lost, its ``passed`` is NaN (nobody knows),
    its times are lower bounds, and its utility is an upper bound, as if it had just passed.
    """

    action: Action
    passed: float
    duration_ms: int
    agent_ms: int | None
    """Time of all its agents together, a speculation's losers included; None when only the chosen one was recorded."""
    time_is_lower_bound: bool
    """Some execution was cut at its limit: it would have taken longer."""
    utility: float | None
    """In [-0.2, 1], see planner.scoring.utility; None when the agents' time is unknown."""
    capped: bool = False
    cost_usd: float | None = None


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of n examples, t in all; those of example i are the rows bounds[i] to bounds[i + 1].

    bounds (n + 1,) int64; actions (t, 4) int64, positions in the heads; passed (t,) float32; duration_ms and agent_ms
    (t,) int64, UNKNOWN_MS where not recorded; time_is_lower_bound and capped (t,) bool; utility (t,) float32 and
    cost_usd (t,) float64, NaN where not known. Of a capped action passed is NaN and utility an upper bound.
    """

    bounds: NDArray[np.int64]
    actions: NDArray[np.int64]
    passed: NDArray[np.float32]
    duration_ms: NDArray[np.int64]
    agent_ms: NDArray[np.int64]
    time_is_lower_bound: NDArray[np.bool_]
    utility: NDArray[np.float32]
    capped: NDArray[np.bool_]
    cost_usd: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def example(self) -> NDArray[np.int64]:
        """Which example each row belongs to, (t,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """The examples that show how good a choice was, (n,): those with the utilities of at least two actions, one of
        which ran to its end."""
        known = np.bincount(self.example, weights=np.isfinite(self.utility), minlength=len(self))
        ended = np.bincount(self.example, weights=self.is_exact, minlength=len(self))
        return (known >= 2) & (ended >= 1)

    @property
    def is_exact(self) -> NDArray[np.bool_]:
        """The rows whose utility is known and no mere bound, (t,)."""
        return np.isfinite(self.utility) & ~self.capped

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Field name -> array."""
        return {name: getattr(self, name) for name in OUTCOME_FIELDS}


STORED_AS = {"time_is_lower_bound": "censored"}
"""Fields whose files are called otherwise; the dataset's hash covers the names."""
OUTCOME_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Outcomes))
LATER_FIELDS: dict[str, Any] = {"capped": False, "cost_usd": np.nan}
"""Fields that datasets of an earlier program lack -> what every outcome had then."""


def make_outcomes(examples: Iterable[Sequence[ActionOutcome]], space: ActionSpace) -> Outcomes:
    """The outcomes of each example in the order of the action space; ActionError for an action that it lacks."""
    groups = list(examples)
    index = {action: space.index(action) for action in {o.action for group in groups for o in group}}
    rows = [sorted(((index[o.action], o) for o in group), key=lambda row: row[0]) for group in groups]
    flat = [row for group in rows for row in group]
    outcomes = [outcome for _, outcome in flat]
    return Outcomes(
        bounds=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        actions=np.array([index for index, _ in flat], dtype=np.int64).reshape(-1, len(HEADS)),
        passed=np.array([o.passed for o in outcomes], dtype=np.float32),
        duration_ms=np.array([o.duration_ms for o in outcomes], dtype=np.int64),
        agent_ms=np.array([UNKNOWN_MS if o.agent_ms is None else o.agent_ms for o in outcomes], dtype=np.int64),
        time_is_lower_bound=np.array([o.time_is_lower_bound for o in outcomes], dtype=bool),
        utility=np.array([np.nan if o.utility is None else o.utility for o in outcomes], dtype=np.float32),
        capped=np.array([o.capped for o in outcomes], dtype=bool),
        cost_usd=np.array([np.nan if o.cost_usd is None else o.cost_usd for o in outcomes], dtype=np.float64),
    )


def outcomes_of(arrays: Mapping[str, NDArray[Any]]) -> Outcomes:
    """The outcomes whose fields are ``arrays``; ValueError when their lengths do not fit together.

    LATER_FIELDS may be missing.
    """
    n = len(arrays["passed"])
    arrays = {**{name: np.full(n, value) for name, value in LATER_FIELDS.items()}, **arrays}
    outcomes = Outcomes(**arrays)
    lengths = {len(arrays[name]) for name in OUTCOME_FIELDS if name != "bounds"}
    if not len(outcomes.bounds) or lengths != {int(outcomes.bounds[-1])}:
        raise ValueError("its outcome arrays differ in length")
    return outcomes
