"""How far beyond a passing sibling's bound an execution may go on, so that noise stops none.

Two runs of one plan differ in how long the kernel takes to start, and in how long a tool takes for the same thing. What
lies within that of the sibling could as well have been the quicker one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean

from planner.contracts.bench import BenchOutcome

DEFAULT_START_MS = 1000.0
"""The kernel's start-up where nobody has measured it; kernel 0.1.0 took 600 to 850 ms where it was tried."""
DEFAULT_SPREAD = 0.4
"""A tool's spread as long as little is known of it. Agents' passing runs of one task were seen to spread by .2 in the
median, and by .4 to .7 pooled over tasks."""
PRIOR_LAUNCHES = 10
"""How many launches the default counts for beside those that were seen."""


@dataclass(frozen=True)
class CapMargin:
    """What the caps of a bench leave to noise."""

    start_ms: float = 0.0
    """The kernel's own start-up."""
    spread: Mapping[str, float] = field(default_factory=dict)
    """Tool -> standard deviation of the logarithm of its launches' times on one case."""

    def bound_ms(self, executions: Sequence[BenchOutcome], tools: Iterable[str], certainty: float) -> float:
        """How long an action's rival may take that is no slower but by noise, which ``tools`` have; ms.

        Of ``executions`` the mean is known; both it and the rival's time vary, hence the root of two.
        """
        mean = fmean(outcome.duration_ms for outcome in executions)
        spread = max((self.spread.get(tool, 0.0) for tool in tools), default=0.0)
        error = spread * mean * math.sqrt(2 / len(executions))
        return mean + NormalDist().inv_cdf(certainty) * error


class ToolSpread:
    """How much the time of each tool differs from launch to launch on one case, as executions come in."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
        """Tool -> case -> launches, and mean of their log times."""
        self._pooled: dict[str, tuple[int, float]] = {}
        """Tool -> launches beyond the first of each case, and sum of squares about the cases' means."""

    def add(self, case_id: str, outcome: BenchOutcome) -> None:
        """Take note of the launches that ended by themselves; a derived outcome has none of its own."""
        for launch in outcome.launches if outcome.derived_from is None else ():
            free, pooled = self._pooled.setdefault(launch.tool, (0, 0.0))
            if launch.exit_code is not None and launch.duration_ms > 0:
                n, mean = self._seen[launch.tool].get(case_id, (0, 0.0))
                step = math.log(launch.duration_ms) - mean
                mean += step / (n + 1)
                self._seen[launch.tool][case_id] = n + 1, mean
                squares = step * (math.log(launch.duration_ms) - mean)
                self._pooled[launch.tool] = free + (n > 0), pooled + squares

    def of_tools(self) -> dict[str, float]:
        """Tool -> its spread, pooled over cases; drawn to the default the less is known of it."""
        return {
            tool: math.sqrt((squares + PRIOR_LAUNCHES * DEFAULT_SPREAD**2) / (free + PRIOR_LAUNCHES))
            for tool, (free, squares) in self._pooled.items()
        }
