"""When the bench ran what, and what became of it: one lane for each execution that went on at the same time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from bench.logged_execution import LoggedExecution
from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.grid import FATES, Fate, Grid, fate_of
from bench.report.words import amount, moment, share

MAX_BARS = 2500
"""Of more executions the page shows how many went on at a time, by what became of them."""
LEGEND_ROW = 16
BINS = 160
SHOWN: tuple[Fate, ...] = ("passed", "failed", "capped", "fault")
"""Derived outcomes took no time."""


@dataclass(frozen=True)
class _Bar:
    """One execution: its lane, and from when to when it went on, in ms since the first one started."""

    lane: int
    start: int
    end: int
    fate: Fate


def timeline(grid: Grid, minute_ms: float) -> Figure | None:
    """The figure; None where nothing was run, as in a replay."""
    if "replay" in grid.settings:
        return None
    bars = _lanes([one for one in grid.executions if fate_of(one) in SHOWN])
    if not bars:
        return None
    n_lanes = max(bar.lane for bar in bars) + 1
    span = max(bar.end for bar in bars)
    busy = sum(bar.end - bar.start for bar in bars) / (n_lanes * span) if span else 0.0
    counts = Counter(fate_of(one) for one in grid.executions)
    in_bars = len(bars) <= MAX_BARS
    height = 74 + (min(420, max(60, 16 * n_lanes)) if in_bars else 220)
    wide, narrow = both(
        "timeline", lambda is_narrow: height + LEGEND_ROW * is_narrow, _paint(bars, n_lanes, span, in_bars)
    )
    started = min(one.started_ms for one in grid.executions if one.started_ms is not None)
    return Figure(
        key="timeline",
        title="Where the time went",
        caption=f"Began {moment(started)} UTC. "
        + ("A lane is a place at which one execution went on at a time" if in_bars else "How many executions went on")
        + f"; lanes were busy for {share(busy)} of the time. "
        + "Derived outcomes took none. The ledger has an execution's last attempt.",
        summary=f"{len(bars)} executions in {n_lanes} lanes within {_clock(span)}: "
        + ", ".join(f"{counts[fate]} {fate}" for fate in FATES if counts[fate]),
        wide=wide,
        narrow=narrow,
        table=_table(grid, minute_ms),
    )


def _table(grid: Grid, minute_ms: float) -> Table:
    rows = []
    for fate in FATES:
        group = [one for one in grid.executions if fate_of(one) == fate]
        ran = [one.outcome for one in group if one.outcome is not None and fate != "derived"]
        dollars = [outcome.cost_usd for outcome in ran if outcome.cost_usd is not None]
        again = sum(one.attempts > 1 for one in group)
        if group:
            rows.append(
                (
                    fate,
                    f"{len(group):,}",
                    amount(sum(outcome.agent_ms for outcome in ran) / minute_ms),
                    f"${sum(dollars):,.2f}" if dollars else "",
                    f"{again:,}" if again else "",
                )
            )
    return Table(("what became of it", "executions", "agent min", "dollars", "tried again"), tuple(rows))


def _lanes(executions: Sequence[LoggedExecution]) -> list[_Bar]:
    """Each execution in the first lane that is free when it starts."""
    known = sorted(
        (one for one in executions if one.started_ms is not None and one.finished_ms is not None),
        key=lambda one: (one.started_ms or 0, one.execution_id),
    )
    if not known:
        return []
    first = known[0].started_ms or 0
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    bars = []
    n_lanes = 0
    for one in known:
        start, end = (one.started_ms or 0) - first, max(one.finished_ms or 0, one.started_ms or 0) - first
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, n_lanes = n_lanes, n_lanes + 1
        heappush(busy, (end, lane))
        bars.append(_Bar(lane, start, end, fate_of(one)))
    return bars


def _paint(bars: Sequence[_Bar], n_lanes: int, span: int, in_bars: bool) -> Callable[[Sheet], None]:
    unit, name = _unit(span)

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(34, 12, 30 + (LEGEND_ROW if sheet.is_narrow else 0), 44)
        for fate in SHOWN:
            own = [bar for bar in bars if bar.fate == fate]
            if own and in_bars:
                axes.add_patch(_outline(own, unit, COLOURS[fate]))
        if in_bars:
            axes.set_ylim(n_lanes - 0.4, -0.6)
            axes.set_yticks([0, n_lanes - 1] if n_lanes > 1 else [0], ["1", str(n_lanes)] if n_lanes > 1 else ["1"])
        else:
            _stacked(axes, bars, span, unit)
        axes.set_xlim(0, span / unit or 1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(name)
        _legend(sheet, bars)

    return paint


def _outline(bars: Sequence[_Bar], unit: int, colour: str) -> PathPatch:
    """All bars of one fate as one outline: thousands of single ones would make a large page."""
    corners = np.array(
        [
            [
                (s, bar.lane - 0.38),
                (e, bar.lane - 0.38),
                (e, bar.lane + 0.38),
                (s, bar.lane + 0.38),
                (s, bar.lane - 0.38),
            ]
            for bar in bars
            for s, e in [(bar.start / unit, max(bar.end, bar.start + 1) / unit)]
        ]
    ).reshape(-1, 2)
    codes = np.tile([Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY], len(bars))
    return PathPatch(Outline(corners, codes), facecolor=colour, edgecolor=COLOURS["paper"], linewidth=0.5)


def _stacked(axes: Axes, bars: Sequence[_Bar], span: int, unit: int) -> None:
    edges = np.linspace(0, span, BINS + 1)
    layers = []
    for fate in SHOWN:
        own = [bar for bar in bars if bar.fate == fate]
        starts, ends = np.array([bar.start for bar in own]), np.array([bar.end for bar in own])
        # Time spent in each bin, as the mean number that went on in it.
        cumulative = [np.clip(edges[:, None] - starts, 0, ends - starts).sum(axis=1) if own else np.zeros(BINS + 1)]
        layers.append(np.diff(cumulative[0]) / (span / BINS))
    axes.stackplot((edges[:-1] + edges[1:]) / 2 / unit, *layers, colors=[COLOURS[fate] for fate in SHOWN], linewidth=0)
    axes.set_ylabel("at once")


def _legend(sheet: Sheet, bars: Sequence[_Bar]) -> None:
    """Names of what is shown, in two rows where one is too narrow for them."""
    counts = Counter(bar.fate for bar in bars)
    start, step = (8.0, 7.0) if sheet.is_narrow else (34.0, 7.6)
    left, below = start, 14
    for fate in SHOWN:
        if counts[fate]:
            text = f"\N{BLACK SQUARE} {fate} {counts[fate]:,}"
            if left + step * len(text) > sheet.width:
                left, below = start, below + LEGEND_ROW
            sheet.canvas.text(
                left / sheet.width, 1 - below / sheet.height, text, color=COLOURS[fate], va="center", fontweight="bold"
            )
            left += step * len(text) + 8


def _unit(span: int) -> tuple[int, str]:
    if span > 3 * 3_600_000:
        return 3_600_000, "hours"
    return (60_000, "minutes") if span > 180_000 else (1000, "seconds")


def _clock(span: int) -> str:
    unit, name = _unit(span)
    return f"{span / unit:.1f} {name}"
