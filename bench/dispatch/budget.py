"""What the runs of a command and of a day may take; at a cap the loop pauses and says which."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from bench.dispatch.journal import Entry


@dataclass(frozen=True)
class Budget:
    """Caps on US dollars and hours, of this command's runs and of all since midnight (local time); None is none."""

    started_ms: int
    """When the command began, ms since the epoch, UTC."""
    max_dollars: float | None = None
    max_hours: float | None = None
    max_dollars_per_day: float | None = None
    max_hours_per_day: float | None = None

    def reached(self, entries: Iterable[Entry], now_ms: int) -> str | None:
        """The name of a cap that the runs have reached, with both numbers; None while there is something left."""
        for name, cap, spent in self._accounts(list(entries), now_ms):
            if cap is not None and spent >= cap:
                return f"{name}: {spent:.2f} of {cap:g} are used"
        return None

    def wall_s(self, entries: Iterable[Entry], now_ms: int) -> float:
        """Seconds that the next run may last."""
        left = [
            cap - spent
            for name, cap, spent in self._accounts(list(entries), now_ms)
            if cap is not None and "hours" in name
        ]
        return max(0.0, 3600 * min(left, default=math.inf))

    def _accounts(self, entries: list[Entry], now_ms: int) -> list[tuple[str, float | None, float]]:
        own = _sum(entries, self.started_ms)
        day = _sum(entries, midnight_ms(now_ms))
        return [
            ("max_dollars", self.max_dollars, own[1]),
            ("max_hours", self.max_hours, own[0]),
            ("max_dollars_per_day", self.max_dollars_per_day, day[1]),
            ("max_hours_per_day", self.max_hours_per_day, day[0]),
        ]


def midnight_ms(now_ms: int) -> int:
    """When the local day of ``now_ms`` began."""
    local = time.localtime(now_ms / 1000)
    return round(1000 * time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1)))


def _sum(entries: list[Entry], since_ms: int) -> tuple[float, float]:
    spent = [entry.spent() for entry in entries if entry.started_ms >= since_ms]
    return sum(hours for hours, _ in spent), sum(dollars for _, dollars in spent)
