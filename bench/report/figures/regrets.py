"""How much utility each policy loses, case by case, and on average."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.standing import Standing, Standings
from bench.report.words import interval, share, utility

MAX_DOTS = 300
"""Of a policy; of more cases every so many-th is drawn, in order of regret."""
ROW, ROW_NARROW = 30, 42


def regrets(standings: Standings) -> Figure | None:
    """The figure; None where no regret is known case by case."""
    rows = [one for one in standings.policies if one.regrets and one.kind != "bound" and one.regret is not None]
    if not rows:
        return None
    rows.sort(key=lambda one: one.regret.mean if one.regret else 0.0)
    wide, narrow = both("regrets", lambda is_narrow: 56 + (ROW_NARROW if is_narrow else ROW) * len(rows), _paint(rows))
    best, worst = rows[0], rows[-1]
    return Figure(
        key="regrets",
        title="Regret, case by case",
        caption="Utility lost against the best action that ran to its end. Each dot is one held-out case; the mark and "
        "its bar are the mean and its 95 % interval. Less is better.",
        summary=f"{best.label} loses least, {_mean(best)} on average; {worst.label} most, {_mean(worst)}.",
        wide=wide,
        narrow=narrow,
        table=Table(
            ("policy", "mean regret", "", "median", "90th percentile", "cases without regret"),
            tuple(
                (
                    one.label,
                    _mean(one),
                    interval(one.regret),
                    utility(float(np.median(list(one.regrets.values())))),
                    utility(float(np.quantile(list(one.regrets.values()), 0.9))),
                    share(float(np.mean([value < 0.0005 for value in one.regrets.values()]))),
                )
                for one in rows
            ),
        ),
    )


def _mean(one: Standing) -> str:
    assert one.regret is not None
    mean = utility(one.regret.mean)
    if one.regret_at_most is not None and one.regret_at_most > one.regret.mean + 1e-9:
        return f"{mean} to {utility(one.regret_at_most)}"
    return mean


def _paint(rows: list[Standing]) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(12, 12, 4, 44) if sheet.is_narrow else sheet.axes(190, 132, 4, 44)
        for at, one in enumerate(rows):
            _row(sheet, axes, one, -at)
        top = max(max(one.regrets.values()) for one in rows)
        axes.set_xlim(-0.01 * max(top, 0.05), max(top, 0.05) * 1.03)
        axes.set_ylim(-len(rows) + 0.5, 0.5)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("regret, in utility")

    return paint


def _row(sheet: Sheet, axes: Axes, one: Standing, y: int) -> None:
    assert one.regret is not None
    values = np.sort(np.array(list(one.regrets.values())))
    values = values[:: max(1, -(-len(values) // MAX_DOTS))]
    # The same every time: neighbours in order of regret lie on different heights.
    jitter = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * (0.36 if sheet.is_narrow else 0.55)
    down = -0.18 if sheet.is_narrow else 0.0
    colour = COLOURS[one.kind]
    axes.scatter(values, y + down + jitter, s=9, color=colour, alpha=0.3, linewidths=0)
    axes.plot([one.regret.low, one.regret.high], [y + down] * 2, color=COLOURS["ink"], linewidth=2)
    axes.scatter([one.regret.mean], [y + down], s=34, color=colour, edgecolors=COLOURS["ink"], linewidths=1.2, zorder=3)
    weight = "normal" if one.kind in ("baseline", "chance") else "bold"
    numbers = f"{_mean(one)} {interval(one.regret)}"
    frame = axes.get_yaxis_transform()
    if sheet.is_narrow:
        axes.text(0, y + 0.3, one.label, transform=frame, color=colour, fontweight=weight, va="center", fontsize=11)
        axes.text(1, y + 0.3, numbers, transform=frame, color=COLOURS["muted"], ha="right", va="center", fontsize=10)
        return
    axes.text(-0.02, y, one.label, transform=frame, color=colour, fontweight=weight, ha="right", va="center")
    axes.text(1.02, y, numbers, transform=frame, color=COLOURS["muted"], va="center", fontsize=10)
