"""Hard caps on what a bench may use up, over all its sessions, and what it has used so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.ledger import Spent


@dataclass(frozen=True)
class Budget:
    """None = no such cap. Time is that of executions: two that run side by side for an hour count two."""

    case_minutes: float | None = None
    """For all executions of one case."""
    hours: float | None = None
    """For all executions."""
    dollars: float | None = None
    """For all executions, as far as their tools report a cost."""


class Account:
    """What was spent, case by case, and what the budget still allows."""

    def __init__(self, budget: Budget, spent: Mapping[str, Spent]) -> None:
        self._budget = budget
        self._of_case = dict(spent)
        self._time_ms = sum(one.time_ms for one in spent.values())
        self._dollars = sum(one.dollars for one in spent.values())
        self._dearest = 0.0

    def add(self, case_id: str, time_ms: int, dollars: float) -> None:
        """Book an execution that has ended."""
        before = self._of_case.get(case_id, Spent())
        self._of_case[case_id] = Spent(before.time_ms + time_ms, before.dollars + dollars)
        self._time_ms += time_ms
        self._dollars += dollars
        self._dearest = max(self._dearest, dollars)

    def exhausted(self, running_ms: int) -> str | None:
        """The cap of the whole bench that is reached, while executions have been running for ``running_ms``."""
        time_ms = self._time_ms + running_ms
        if self._budget.hours is not None and time_ms >= self._budget.hours * 3_600_000:
            return f"the bench's {self._budget.hours:g} hours are used up"
        return None if self._dollars < self._limit else self._dollars_text

    def case_exhausted(self, case_id: str, running_ms: int) -> str | None:
        """The cap of a case that is reached, while its executions have been running for ``running_ms``."""
        limit = self._budget.case_minutes
        spent_ms = self._of_case.get(case_id, Spent()).time_ms + running_ms
        return None if limit is None or spent_ms < limit * 60_000 else f"a case's {limit:g} minutes are used up"

    def unaffordable(self, n_running: int) -> str | None:
        """Why no execution may start beside ``n_running`` others.

        What an execution costs is known at its end: until then each counts like the dearest one so far.
        """
        return None if self._dollars + n_running * self._dearest < self._limit else self._dollars_text

    @property
    def _limit(self) -> float:
        return math.inf if self._budget.dollars is None else self._budget.dollars

    @property
    def _dollars_text(self) -> str:
        return f"the bench's {self._budget.dollars:g} dollars are used up or reserved"
