"""A comparison or an ablation: one row for each policy or setting, with its interval."""

from collections.abc import Callable

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.studies import Variant, VariantStudy
from bench.report.words import plural, utility

ROW = 22
MAX_ROWS = 60


def variants(study: VariantStudy, number: int) -> Figure | None:
    """The figure; None without a row of which the metric is known."""
    if not study.rows:
        return None
    rows = list(study.rows)[:MAX_ROWS]
    if study.kind == "compare":
        rows.sort(key=lambda row: row.value, reverse=study.better == "higher")
    groups = list(dict.fromkeys(row.group for row in rows))
    lines = _lines(rows, groups)
    wide, narrow = both(
        f"{study.kind}-{number}",
        lambda is_narrow: 52 + (ROW + (14 if is_narrow else 0)) * len(lines),
        _paint(lines, study),
    )
    best = (max if study.better == "higher" else min)(rows, key=lambda row: row.value)
    name = "Policies side by side" if study.kind == "compare" else "One setting varied at a time"
    return Figure(
        key=f"{study.kind}-{number}",
        title=f"{name}: {study.metric} on {study.split}",
        caption=f"{study.better.capitalize()} is better. Means over {plural(study.seeds, 'seed')} of trained "
        f"policies; bars: 95 % intervals over examples. From {study.path}.",
        summary=f"Best is {best.group + ' ' if best.group else ''}{best.label}, {utility(best.value)}.",
        wide=wide,
        narrow=narrow,
        table=Table(
            ("varied", "to", study.metric, "low", "high")
            if any(groups)
            else ("policy", "", study.metric, "low", "high"),
            tuple(
                (row.group, row.label, utility(row.value), utility(row.low), utility(row.high))
                if any(groups)
                else (row.label, "", utility(row.value), utility(row.low), utility(row.high))
                for row in rows
            ),
        ),
    )


def _lines(rows: list[Variant], groups: list[str]) -> list[str | Variant]:
    """Rows below the name of their group; a comparison has no groups."""
    if groups == [""]:
        return list(rows)
    lines: list[str | Variant] = []
    for group in groups:
        lines += [group, *(row for row in rows if row.group == group)]
    return lines


def _paint(lines: list[str | Variant], study: VariantStudy) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(12, 52, 4, 44) if sheet.is_narrow else sheet.axes(230, 70, 4, 44)
        frame = axes.get_yaxis_transform()
        for at, line in enumerate(lines):
            y = -at
            side, place, up = ("left", 0.0, 0.28) if sheet.is_narrow else ("right", -0.02, 0.0)
            if isinstance(line, str):
                axes.text(place, y, line, transform=frame, ha=side, va="center", fontweight="bold")
                continue
            down = -0.15 if sheet.is_narrow else 0.0
            axes.plot([line.low, line.high], [y + down] * 2, color=COLOURS["run"], linewidth=1.2, alpha=0.5)
            axes.scatter([line.value], [y + down], s=34, color=COLOURS["run"], zorder=3)
            axes.text(place, y + up, line.label, transform=frame, ha=side, va="center", color=COLOURS["ink"])
            axes.text(1.02, y + down, utility(line.value), transform=frame, va="center", color=COLOURS["muted"])
        axes.set_ylim(-len(lines) + 0.4, 0.6)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(study.metric)

    return paint
