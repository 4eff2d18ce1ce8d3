"""Reliability: how often decisions of like confidence agree with the label, before and after calibration."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.runs import Bin, TrainedRun

MAX_PANELS = 4
PANEL = 240


def reliability(runs: Sequence[TrainedRun]) -> Figure | None:
    """The figure of the newest calibrated runs; None where none kept what its calibration error was computed from."""
    known = [run for run in runs if run.calibration is not None and run.calibration.after][-MAX_PANELS:]
    if not known:
        return None
    wide, narrow = both(
        "reliability", lambda is_narrow: PANEL * -(-len(known) // (1 if is_narrow else 3)), _paint(known)
    )
    return Figure(
        key="reliability",
        title="Is its confidence what it comes to?",
        caption="Validation decisions in bins of equal mass: mean confidence against the share that agrees with the "
        "label. On the diagonal a policy is as sure as it is right. Open: before calibration; filled: after it.",
        summary="; ".join(
            f"{run.name}: calibration error {_error(run.calibration.ece_before)} before, "
            f"{_error(run.calibration.ece_after)} after"
            for run in known
            if run.calibration is not None
        ),
        wide=wide,
        narrow=narrow,
        table=Table(
            ("run", "calibration", "confidence", "agrees", "examples"),
            tuple(
                (run.name, when, f"{one.confidence:.2f}", f"{one.accuracy:.2f}", str(one.examples))
                for run in known
                if run.calibration is not None
                for when, bins in (("before", run.calibration.before), ("after", run.calibration.after))
                for one in bins
            ),
        ),
    )


def _error(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _paint(runs: Sequence[TrainedRun]) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        columns = 1 if sheet.is_narrow else 3
        cell = sheet.width / columns
        for at, run in enumerate(runs):
            row, column = divmod(at, columns)
            side = PANEL - 76
            axes = sheet.canvas.add_axes(
                (
                    (column * cell + 44) / sheet.width,
                    1 - (row * PANEL + 28 + side) / sheet.height,
                    side / sheet.width,
                    side / sheet.height,
                )
            )
            assert run.calibration is not None
            found = (*run.calibration.before, *run.calibration.after)
            # Of many actions a policy is never sure: then the corner is shown in which it is.
            top = min(1.0, 1.1 * max(max(one.confidence, one.accuracy) for one in found))
            axes.plot([0, top], [0, top], color=COLOURS["line"], linewidth=1)
            _bins(axes, run.calibration.before, filled=False)
            _bins(axes, run.calibration.after, filled=True)
            axes.set_xlim(0, top)
            axes.set_ylim(0, top)
            axes.locator_params(nbins=4)
            axes.set_xlabel("confidence")
            axes.set_ylabel("agrees")
            axes.set_title(run.name, loc="left", fontsize=11, fontweight="bold", color=COLOURS["ink"])

    return paint


def _bins(axes: Axes, bins: Sequence[Bin], *, filled: bool) -> None:
    colour = COLOURS["run"] if filled else COLOURS["muted"]
    xs, ys = [one.confidence for one in bins], [one.accuracy for one in bins]
    axes.plot(xs, ys, color=colour, linewidth=1, alpha=0.6)
    axes.scatter(xs, ys, s=30, facecolors=colour if filled else COLOURS["paper"], edgecolors=colour, zorder=3)
