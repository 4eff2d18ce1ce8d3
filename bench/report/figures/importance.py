"""Which settings a search's outcome depends on, as bars."""

from collections.abc import Callable, Sequence

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.studies import Search
from bench.report.words import plural

ROW = 24


def importance(found: Search, number: int) -> Figure | None:
    """The figure; None where the search was too short to say."""
    if not found.importance:
        return None
    rows = found.importance
    wide, narrow = both(f"importance-{number}", lambda _: 44 + ROW * len(rows), _paint(rows))
    first, share = rows[0]
    return Figure(
        key=f"importance-{number}",
        title="Which settings matter",
        caption="Share of what the log-likelihood varies by from trial to trial that each setting explains (fANOVA "
        f"over {plural(found.importance_trials, 'complete trial')}): a hint, for the search looks where it expects "
        f"good values. From {found.path}.",
        summary=f"{first} explains most, {100 * share:.0f} %.",
        wide=wide,
        narrow=narrow,
        table=Table(("setting", "share"), tuple((name, f"{100 * share:.1f} %") for name, share in rows)),
    )


def _paint(rows: Sequence[tuple[str, float]]) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(130, 48, 4, 36)
        places = range(0, -len(rows), -1)
        axes.barh(places, [100 * share for _, share in rows], height=0.6, color=COLOURS["run"])
        for place, (_, share) in zip(places, rows, strict=True):
            axes.text(100 * share, place, f" {100 * share:.0f} %", va="center", color=COLOURS["muted"])
        axes.set_yticks(list(places), [name for name, _ in rows])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("share, %")

    return paint
