"""Pass rate against agent minutes: every policy with its interval, and the frontier of fixed actions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both, spread
from bench.report.standing import Range, Standing, Standings
from bench.report.words import amount, dollars, interval, share

MARKS = {"run": "o", "rule": "s", "fixed": "D", "bound": "*", "baseline": "o", "chance": "x"}
BOLD_LETTER = 7.4
"""Width of a bold letter, on average."""
WIDEST_NAMES = 320
"""Right margin at most; longer names run out of the figure."""


@dataclass(frozen=True)
class _Point:
    """Policies that come to the same."""

    label: str
    kind: str
    passed: Range
    minutes: Range


def tradeoff(standings: Standings, *, honest: bool) -> Figure | None:
    """The figure; ``honest``: the best per case is one by expectation, not by a draw's luck."""
    points = _points(standings.policies)
    if not points:
        return None
    wide, narrow = both(
        "tradeoff", lambda is_narrow: 300 + 17 * len(points) if is_narrow else 420, _paint(points, standings)
    )
    cheapest, best = min(points, key=lambda p: p.minutes.mean), max(points, key=lambda p: p.passed.mean)
    caption = (
        "Up and to the left is better. Bars: 95 % intervals, cases of one problem drawn together; the table has those "
        "of baselines too."
    )
    if standings.fixed:
        caption += " The stepped line is the frontier of the fixed actions: one and the same action in every case."
    caption += " The best per case is a bound that nobody reaches" + (
        ", by expectation over recorded trials." if honest else "; of single executions, it is too high by their luck."
    )
    return Figure(
        key="tradeoff",
        title="Passes against agent minutes",
        caption=caption,
        summary=f"{len(points)} policies. {best.label} passes most, {share(best.passed.mean)} at "
        f"{amount(best.minutes.mean)} agent minutes; {cheapest.label} is cheapest, {share(cheapest.passed.mean)} at "
        f"{amount(cheapest.minutes.mean)}.",
        wide=wide,
        narrow=narrow,
        table=_table(standings.policies),
    )


def _table(policies: Sequence[Standing]) -> Table:
    """The same, with wall time, and with dollars where any policy's are known."""
    has_dollars = any(one.dollars is not None for one in policies)
    rows = []
    for one in policies:
        row = [
            one.label,
            share(one.passed.mean if one.passed else None),
            interval(one.passed, "share"),
            amount(one.agent_minutes.mean if one.agent_minutes else None),
            interval(one.agent_minutes, "amount"),
            amount(one.wall_minutes.mean if one.wall_minutes else None),
        ]
        if has_dollars:
            row += [dollars(one.dollars.mean if one.dollars else None), interval(one.dollars, "dollars")]
        rows.append(tuple(row))
    head = ("policy", "passes", "", "agent min", "", "wall min", *(("dollars", "") if has_dollars else ()))
    return Table(head, tuple(rows))


def _points(policies: Sequence[Standing]) -> list[_Point]:
    """Those of which both are known, equals together, the more important kinds named first."""
    groups: dict[tuple[float, float], list[Standing]] = {}
    order = ("run", "rule", "fixed", "bound", "chance", "baseline")
    for one in sorted(policies, key=lambda one: order.index(one.kind)):
        if one.passed is not None and one.agent_minutes is not None:
            groups.setdefault((round(one.passed.mean, 6), round(one.agent_minutes.mean, 6)), []).append(one)
    found = []
    for group in groups.values():
        first = group[0]
        assert first.passed is not None and first.agent_minutes is not None
        label = first.label if len(group) == 1 else f"{first.label} (= {len(group) - 1} more)"
        found.append(_Point(label, first.kind, first.passed, first.agent_minutes))
    return found


def _paint(points: list[_Point], standings: Standings) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        listed = 17 * len(points) if sheet.is_narrow else 0
        beside = BOLD_LETTER * max((len(point.label) for point in points), default=0) + 20
        axes = sheet.axes(44, 12 if sheet.is_narrow else min(max(beside, 190), WIDEST_NAMES), 12, 44 + listed)
        frontier = [one for one in standings.fixed if one.on_frontier]
        others = [one for one in standings.fixed if not one.on_frontier]
        axes.scatter([o.agent_minutes for o in others], [100 * o.passed for o in others], s=7, color=COLOURS["line"])
        if frontier:
            xs, ys = [o.agent_minutes for o in frontier], [100 * o.passed for o in frontier]
            axes.step(xs, ys, where="post", color=COLOURS["fixed"], linewidth=1, alpha=0.7)
            axes.scatter(xs, ys, s=9, color=COLOURS["fixed"])
        for point in points:
            _mark(axes, point)
        rightmost = max([p.minutes.mean for p in points] + [o.agent_minutes for o in standings.fixed])
        axes.set_xlim(0, rightmost * 1.06 or 1)
        axes.set_xlabel("agent minutes a case")
        axes.set_ylabel("passes, %")
        axes.margins(y=0.06)
        (_list_below if sheet.is_narrow else _label_beside)(sheet, axes, points)

    return paint


def _mark(axes: Axes, point: _Point) -> None:
    x, y, colour = point.minutes.mean, 100 * point.passed.mean, COLOURS[point.kind]
    strong = point.kind != "baseline"
    if strong and not math.isnan(point.passed.low):
        axes.plot([x, x], [100 * point.passed.low, 100 * point.passed.high], color=colour, linewidth=1, alpha=0.45)
    if strong and not math.isnan(point.minutes.low):
        axes.plot([point.minutes.low, point.minutes.high], [y, y], color=colour, linewidth=1, alpha=0.45)
    size = {"*": 130, "x": 45}.get(MARKS[point.kind], 52 if strong else 26)
    edge: dict[str, Any] = {} if MARKS[point.kind] == "x" else {"edgecolors": COLOURS["paper"], "linewidths": 1}
    axes.scatter([x], [y], s=size, marker=MARKS[point.kind], color=colour, zorder=3 if strong else 2.5, **edge)


def _label_beside(sheet: Sheet, axes: Axes, points: list[_Point]) -> None:
    """Names in the right margin, joined to their marks by thin lines."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    pixels = sheet.height - 56
    places = spread([100 * p.passed.mean for p in points], 16 * (high - low) / pixels, low, high)
    for point, place in zip(points, places, strict=True):
        colour = COLOURS[point.kind]
        axes.plot(
            [point.minutes.mean, right * 1.02],
            [100 * point.passed.mean, place],
            color=colour,
            linewidth=0.6,
            alpha=0.5,
            clip_on=False,
            zorder=1,
        )
        weight = "normal" if point.kind == "baseline" else "bold"
        axes.text(right * 1.03, place, point.label, color=colour, va="center", fontweight=weight, clip_on=False)


def _list_below(sheet: Sheet, axes: Axes, points: list[_Point]) -> None:
    """Numbers at the marks, and the names below."""
    ordered = sorted(points, key=lambda point: -point.passed.mean)
    for number, point in enumerate(ordered, 1):
        colour = COLOURS[point.kind]
        axes.annotate(
            str(number),
            (point.minutes.mean, 100 * point.passed.mean),
            xytext=(5, 5),
            textcoords="offset points",
            color=colour,
            fontweight="bold",
        )
        y = 1 - (sheet.height - 17 * (len(ordered) - number) - 8) / sheet.height
        weight = "normal" if point.kind == "baseline" else "bold"
        sheet.canvas.text(8 / sheet.width, y, f"{number}  {point.label}", color=colour, va="center", fontweight=weight)
