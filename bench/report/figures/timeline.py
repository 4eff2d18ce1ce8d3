"""When the bench ran what, and what became of it: one lane for each worker.

Ledgers of version 3 and before do not say which worker that was: there a lane is a place at which one execution went on
at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
LANE = 16
"""Height that a lane has at most, and that its name needs at least."""
LONGEST_NAME = {False: 18, True: 11}
"""Letters of a lane's name, on a wide and on a narrow page."""
LETTER = 6.6
"""Width of a letter of a name, on average."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
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
    bars, workers = _bars([one for one in grid.executions if fate_of(one) in SHOWN])
    if not bars:
        return None
    n_lanes = max(bar.lane for bar in bars) + 1
    span = max(bar.end for bar in bars)
    busy = sum(bar.end - bar.start for bar in bars) / (n_lanes * span) if span else 0.0
    counts = Counter(fate_of(one) for one in grid.executions)
    in_bars = len(bars) <= MAX_BARS
    height = 74 + (min(420, max(60, LANE * n_lanes)) if in_bars else 220)
    wide, narrow = both(
        "timeline", lambda is_narrow: height + LEGEND_ROW * is_narrow, _paint(bars, workers, n_lanes, span, in_bars)
    )
    started = min(one.started_ms for one in grid.executions if one.started_ms is not None)
    return Figure(
        key="timeline",
        title="Where the time went",
        caption=f"Began {moment(started)} UTC. "
        + (_what_a_lane_is(workers, n_lanes) if in_bars else "How many executions went on")
        + f"; {'workers' if len(workers) == n_lanes else 'lanes'} were busy for {share(busy)} of the time. "
        + "Derived outcomes took none. The ledger has an execution's last attempt.",
        summary=f"{len(bars)} executions {_by_whom(workers, n_lanes)} within {_clock(span)}: "
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


def _bars(executions: Sequence[LoggedExecution]) -> tuple[list[_Bar], list[str]]:
    """Each execution in the lane of its worker, and the workers' names; below them those whose worker is not known."""
    known = sorted(
        (one for one in executions if one.started_ms is not None and one.finished_ms is not None),
        key=lambda one: (one.started_ms or 0, one.execution_id),
    )
    if not known:
        return [], []
    first = known[0].started_ms or 0
    of_worker: dict[str, list[LoggedExecution]] = {}
    for one in known:
        if one.worker is not None:
            of_worker.setdefault(one.worker, []).append(one)
    workers = sorted(of_worker, key=_host_and_number)
    bars = [bar for lane, name in enumerate(workers) for bar in _of_worker(of_worker[name], lane, first)]
    return bars + _packed([one for one in known if one.worker is None], len(workers), first), workers


def _of_worker(executions: Sequence[LoggedExecution], lane: int, first: int) -> Iterator[_Bar]:
    """Those of one worker, in the order in which they began; those that it was given together share their time."""
    together: list[LoggedExecution] = []
    start = end = 0
    for one in [*executions, None]:
        if together and (one is None or (one.started_ms or 0) >= end):
            step = (end - start) / len(together)
            for at, each in enumerate(together):
                yield _Bar(
                    lane, round(start + at * step) - first, round(start + (at + 1) * step) - first, fate_of(each)
                )
            together = []
        if one is not None:
            start = start if together else one.started_ms or 0
            end = max(end, one.finished_ms or 0, start)
            together.append(one)


def _packed(known: Sequence[LoggedExecution], above: int, first: int) -> list[_Bar]:
    """Each execution in the first lane that is free when it starts, below the ``above`` ones."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    bars = []
    n_lanes = above
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


def _host_and_number(worker: str) -> tuple[str, int]:
    host, _, number = worker.rpartition(" ")
    return (host, int(number)) if number.isdigit() else (worker, 0)


def _what_a_lane_is(workers: Sequence[str], n_lanes: int) -> str:
    hosts = {_host_and_number(worker)[0] for worker in workers}
    where = f"a worker on {next(iter(hosts))}" if len(hosts) == 1 else "a worker, named by its machine and a number"
    if not workers:
        return "A lane is a place at which one execution went on at a time: this ledger does not say by which worker"
    rest = "" if len(workers) == n_lanes else "; the lowest are executions of which the ledger does not say the worker"
    return f"A lane is {where}{rest}"


def _by_whom(workers: Sequence[str], n_lanes: int) -> str:
    on = Counter(_host_and_number(worker)[0] for worker in workers)
    named = ", ".join(f"{count} worker{'s' * (count > 1)} on {host}" for host, count in on.items())
    rest = n_lanes - len(workers)
    return f"by {named}" + (f" and in {rest} lanes" if rest else "") if workers else f"in {n_lanes} lanes"


def _lane_names(workers: Sequence[str], n_lanes: int, longest: int, height: float) -> dict[int, str]:
    """Lane -> its name: all, or where there is no room the first of each machine; on one machine the number alone."""
    places = [_host_and_number(worker) for worker in workers]
    if len({host for host, _ in places}) < 2:
        return {at: str(at + 1) for at in sorted({0, n_lanes - 1})}
    step = max(1, -(-LANE * n_lanes // max(1, int(height))))
    starts = [at for at in range(len(places)) if at == 0 or places[at][0] != places[at - 1][0]]
    shown = range(len(places)) if step == 1 else starts
    names = {}
    for at in shown:
        host, number = places[at]
        room = longest - len(f" {number}")
        names[at] = f"{host if len(host) <= room else host[: room - 1] + ELLIPSIS} {number}"
    return names


def _paint(
    bars: Sequence[_Bar], workers: Sequence[str], n_lanes: int, span: int, in_bars: bool
) -> Callable[[Sheet], None]:
    unit, name = _unit(span)

    def paint(sheet: Sheet) -> None:
        top, bottom = 30 + (LEGEND_ROW if sheet.is_narrow else 0), 44
        longest = LONGEST_NAME[sheet.is_narrow]
        names = _lane_names(workers, n_lanes, longest, sheet.height - top - bottom) if in_bars else {}
        left = max(34.0, 14 + LETTER * max((len(text) for text in names.values()), default=0))
        axes = sheet.axes(left, 12, top, bottom)
        for fate in SHOWN:
            own = [bar for bar in bars if bar.fate == fate]
            if own and in_bars:
                axes.add_patch(_outline(own, unit, COLOURS[fate]))
        if in_bars:
            axes.set_ylim(n_lanes - 0.4, -0.6)
            axes.set_yticks(list(names), list(names.values()))
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
