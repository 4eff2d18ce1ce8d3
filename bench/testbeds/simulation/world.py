"""The simulated world: how likely an action is to solve an issue at a moment, how long it takes and what it costs.

A test bed with structure, not a demonstration: it shows whether a policy finds what is there to be found, and says
nothing about how much of that there is in anybody's repo. It was changed once after a look at results: the part of an
issue's difficulty that its component carries was added when a first estimate showed that contexts said next to nothing.

Copied from recorded agent runs (2,000 of Terminal-Bench, 3,346 of METR, several timed trials per issue and tool; in
brackets what this world gives with 120 minutes): a quarter to a third of the (issue, tool) cells is flaky (.28), half
never pass (.41), a fifth always do (.31); pass rates of two tools correlate at .47 over issues (.46); the log of the
duration has a spread of .46 within a cell (.46) and of .7 to 1.2 between issues (1.25); harder issues take longer
(correlation of pass rate and log time -.3 to -.6; -.25); some agents wander until they are stopped, and a few per cent
of launches break at once. More candidates and minutes hardly ever cost a pass, so that large budgets are nearly
unbeatable on passes alone: what can be saved is time and agent time.
Copied from the kernel: serial runs use the first toolchain, speculation the first N side by side; a run lasts as long
as its slowest candidate, then candidates are verified one after another; a timeout cuts a candidate at its minutes.
Invented: areas and components and what their issues have in common, how much tags, size and words give away, the
drift of each tool's strength in each area over days, the spells in which a tool is down, prices, the time of gates.

Every draw is a pure function of (seed, issue, action, trial); the time of a run decides the strengths it meets.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bench.testbeds.simulation.issues import AREAS, SimulatedIssue, draw_issue
from planner.actions import Action

START_MS = 1_780_000_000_000
"""The first moment of every simulated world, ms since the epoch, UTC."""
DAY_MS = 86_400_000
TOOLS = ("codex", "claude", "opencode", "crush")
"""The toolchains, in the kernel's order of priority."""
GATES = ("test", "typecheck", "lint")

STEPS_PER_DAY = 4
"""Strengths and outages change four times a day."""
BASE_SPREAD = 0.5
"""Spread of a tool's strength over tools; like every strength and difficulty, in logits of solving."""
AREA_SPREAD = 1.5
"""Spread of what a tool is always better or worse at, by area."""
DRIFT_SPREAD, DRIFT_DAYS = 2.5, 6.0
"""Spread of the wandering part of a tool's strength in an area, and the days in which it forgets itself."""
OUTAGE_GAP_DAYS, OUTAGE_DAYS, OUTAGE_BREAKS = 9.0, 0.75, 0.8
"""Days between a tool's bad spells, how long they last, and how often a launch breaks meanwhile."""
BREAKS = 0.02
"""How often a launch breaks otherwise."""
BREAK_MINUTES, BREAK_SPREAD = 0.5, 0.5
"""Median minutes of a launch that breaks, and the spread of their log."""
TIME_SPREAD = 0.46
"""Spread of the log of a candidate's time over trials of the same issue and tool."""
WANDERS, WANDER_FACTOR = 0.2, 5.0
"""How often an agent that does not find the solution wanders on, and how many times longer that takes."""
GATE_SECONDS = 20.0
"""Verification of one candidate."""
DOLLARS_PER_MINUTE = {"codex": 0.06, "claude": 0.08, "opencode": 0.02, "crush": 0.04}


class Lane(NamedTuple):
    """One candidate of a run. ``status`` is success, gates (they failed), timeout, or broken (the tool itself)."""

    tool: str
    status: str
    duration_ms: int
    cost_usd: float
    failing_gates: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int | None:
        """The tool's exit code; None when it was stopped."""
        return {"success": 0, "gates": 0, "broken": 2}.get(self.status)


class SimulatedRun(NamedTuple):
    """What came of one action on one issue."""

    lanes: tuple[Lane, ...]
    chosen: int
    """The lane that the kernel keeps: the first that passed, else the first that got as far as its gates."""
    duration_ms: int
    """Wall time: the slowest lane, then verification."""

    @property
    def kept(self) -> Lane:
        """The chosen lane."""
        return self.lanes[self.chosen]

    @property
    def passed(self) -> bool:
        """Whether any lane passed its gates."""
        return self.kept.status == "success"

    @property
    def gates(self) -> dict[str, bool]:
        """Gate -> whether the chosen lane passed it; empty when it got no verdict."""
        if self.kept.status not in ("success", "gates"):
            return {}
        return {gate: gate not in self.kept.failing_gates for gate in GATES}

    @property
    def agent_ms(self) -> int:
        """Time of all lanes together."""
        return sum(lane.duration_ms for lane in self.lanes)


@dataclass(frozen=True)
class World:
    """One world. ``days`` is how long it lasts; later moments meet its last state."""

    seed: int
    days: int

    def issue(self, issue_id: str) -> SimulatedIssue:
        """The issue called ``issue_id``: what its tracker shows, and what it does not."""
        return draw_issue(self.seed, issue_id, TOOLS)

    def run(self, issue: SimulatedIssue, action: Action, trial: int, at_ms: int) -> SimulatedRun:
        """Execute ``action`` on ``issue`` at ``at_ms``; another ``trial`` is another draw.

        "NA" candidates or iterations count as one, "NA" minutes as no limit. Iterations are further attempts of a lane
        that has not passed; they share its minutes.
        """
        draw = random.Random(f"{self.seed}/run/{issue.issue_id}/{action}/{trial}")
        candidates = 1 if action.max_candidates_bin == "NA" else action.max_candidates_bin
        limit = math.inf if action.max_minutes_bin == "NA" else float(action.max_minutes_bin)
        attempts = 1 if action.max_iterations_bin == "NA" else action.max_iterations_bin
        tools = tool_order(issue.document.get("dk_tool_hint"))[:candidates]
        lanes = tuple(self._lane(issue, tool, limit, attempts, at_ms, draw) for tool in tools)
        verified = sum(lane.status in ("success", "gates") for lane in lanes)
        slowest = max(lane.duration_ms for lane in lanes)
        return SimulatedRun(lanes, _vote(lanes), slowest + round(1000 * GATE_SECONDS * verified))

    def solve_probability(self, issue: SimulatedIssue, tool: str, at_ms: int) -> float:
        """How likely one attempt of ``tool`` is to solve ``issue`` at ``at_ms``, given time and a tool that is up."""
        return 1 / (1 + math.exp(issue.difficulty - issue.affinity[tool] - self.strength(issue, tool, at_ms)))

    def strength(self, issue: SimulatedIssue, tool: str, at_ms: int) -> float:
        """How good ``tool`` is at the issues of the area at ``at_ms``, in logits."""
        return self._strengths[tool][issue.area][self._step(at_ms)]

    def is_down(self, tool: str, at_ms: int) -> bool:
        """Whether ``tool`` is in a bad spell."""
        return self._outages[tool][self._step(at_ms)]

    def _lane(
        self, issue: SimulatedIssue, tool: str, limit: float, attempts: int, at_ms: int, draw: random.Random
    ) -> Lane:
        spent, lane = 0.0, Lane(tool, "timeout", 0, 0.0)
        for _ in range(attempts):
            lane = self._attempt(issue, tool, limit - spent, at_ms, draw)
            spent += lane.duration_ms / 60_000
            if lane.status in ("success", "timeout"):
                break
        cost = spent * DOLLARS_PER_MINUTE[tool] * draw.lognormvariate(0, 0.2)
        return lane._replace(duration_ms=round(60_000 * spent), cost_usd=round(cost, 6))

    def _attempt(self, issue: SimulatedIssue, tool: str, minutes_left: float, at_ms: int, draw: random.Random) -> Lane:
        breaks = OUTAGE_BREAKS if self.is_down(tool, at_ms) else BREAKS
        broken = draw.random() < breaks
        solved = draw.random() < self.solve_probability(issue, tool, at_ms)
        minutes = math.exp(issue.log_minutes[tool] + draw.gauss(0, TIME_SPREAD))
        if broken:
            minutes = BREAK_MINUTES * draw.lognormvariate(0, BREAK_SPREAD)
        elif not solved and draw.random() < WANDERS:
            minutes *= WANDER_FACTOR
        if minutes > minutes_left:
            return Lane(tool, "timeout", round(60_000 * minutes_left), 0.0)
        duration_ms = max(1, round(60_000 * minutes))
        if broken:
            return Lane(tool, "broken", duration_ms, 0.0)
        if solved:
            return Lane(tool, "success", duration_ms, 0.0)
        failing = tuple(gate for gate in GATES if draw.random() < issue.gate_weights[gate]) or ("test",)
        return Lane(tool, "gates", duration_ms, 0.0, failing)

    def _step(self, at_ms: int) -> int:
        step = (at_ms - START_MS) * STEPS_PER_DAY // DAY_MS
        return max(0, min(step, self._steps - 1))

    @property
    def _steps(self) -> int:
        return self.days * STEPS_PER_DAY

    @cached_property
    def _strengths(self) -> dict[str, list[list[float]]]:
        """Tool -> area -> step -> strength: a fixed part and a stationary first-order autoregression."""
        draw = random.Random(f"{self.seed}/strengths")
        keep = math.exp(-1 / (STEPS_PER_DAY * DRIFT_DAYS))
        strengths: dict[str, list[list[float]]] = {}
        for tool in TOOLS:
            base = draw.gauss(0, BASE_SPREAD)
            strengths[tool] = []
            for _ in AREAS:
                fixed, drift = base + draw.gauss(0, AREA_SPREAD), draw.gauss(0, DRIFT_SPREAD)
                path = []
                for _ in range(self._steps):
                    path.append(fixed + drift)
                    drift = keep * drift + math.sqrt(1 - keep * keep) * draw.gauss(0, DRIFT_SPREAD)
                strengths[tool].append(path)
        return strengths

    @cached_property
    def _outages(self) -> dict[str, list[bool]]:
        """Tool -> step -> whether it is down; up and down times are exponential."""
        draw = random.Random(f"{self.seed}/outages")
        outages = {}
        for tool in TOOLS:
            down, spells = False, list[bool]()
            while len(spells) < self._steps:
                days = draw.expovariate(1 / (OUTAGE_DAYS if down else OUTAGE_GAP_DAYS))
                spells += [down] * max(1, round(days * STEPS_PER_DAY))
                down = not down
            outages[tool] = spells[: self._steps]
        return outages


def tool_order(hint: str | None) -> list[str]:
    """The toolchains in the order in which the kernel uses them: a hinted one first."""
    return list(dict.fromkeys([*([hint] if hint in TOOLS else []), *TOOLS]))


def _vote(lanes: Sequence[Lane]) -> int:
    order = ("success", "gates", "broken", "timeout")
    return min(range(len(lanes)), key=lambda index: order.index(lanes[index].status))
