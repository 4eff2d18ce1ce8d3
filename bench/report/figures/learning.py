"""Learning curves: the training loss of each run, and what its best epoch was chosen by."""

from collections.abc import Callable, Sequence

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.runs import TrainedRun

MAX_PANELS = 6
PANEL = 150


def learning(runs: Sequence[TrainedRun]) -> Figure | None:
    """The figure of the newest runs that have epochs; None without any."""
    known = [run for run in runs if len(run.loss.epochs) > 1][-MAX_PANELS:]
    if not known:
        return None
    wide, narrow = both(
        "learning", lambda is_narrow: PANEL * (len(known) if is_narrow else -(-len(known) // 2)) + 26, _paint(known)
    )
    return Figure(
        key="learning",
        title="How training went",
        caption="Grey: training loss, left scale. Blue: what the best epoch, ringed, was chosen by on validation, "
        "right scale. Runs that are fitted in one go have no epochs.",
        summary="; ".join(
            f"{run.name}: {run.epochs} epochs, training loss {run.loss.values[0]:.3g} to {run.loss.values[-1]:.3g}"
            for run in known
        ),
        wide=wide,
        narrow=narrow,
        table=Table(
            ("run", "epochs", "best epoch", "loss, first", "loss, last", "validation, best", "chosen by"),
            tuple(
                (
                    run.name,
                    str(run.epochs),
                    str(run.best_epoch),
                    f"{run.loss.values[0]:.3f}",
                    f"{run.loss.values[-1]:.3f}",
                    _best(run),
                    run.selected_by.replace("_", " "),
                )
                for run in known
            ),
        ),
    )


def _best(run: TrainedRun) -> str:
    of_epoch = dict(zip(run.validation.epochs, run.validation.values, strict=True))
    return f"{of_epoch[run.best_epoch]:.3f}" if run.best_epoch in of_epoch else ""


def _paint(runs: Sequence[TrainedRun]) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        columns = 1 if sheet.is_narrow else 2
        cell = sheet.width / columns
        for at, run in enumerate(runs):
            row, column = divmod(at, columns)
            axes = sheet.canvas.add_axes(
                (
                    (column * cell + 40) / sheet.width,
                    1 - (row * PANEL + PANEL - 4) / sheet.height,
                    (cell - 88) / sheet.width,
                    (PANEL - 46) / sheet.height,
                )
            )
            axes.plot(run.loss.epochs, run.loss.values, color=COLOURS["muted"], linewidth=1.5)
            axes.set_title(run.name, loc="left", fontsize=11, fontweight="bold", color=COLOURS["ink"])
            axes.tick_params(labelsize=10)
            axes.locator_params(nbins=4)
            if run.validation.epochs:
                other = axes.twinx()
                other.plot(run.validation.epochs, run.validation.values, color=COLOURS["run"], linewidth=1.5)
                of_epoch = dict(zip(run.validation.epochs, run.validation.values, strict=True))
                if run.best_epoch in of_epoch:
                    other.scatter(
                        [run.best_epoch],
                        [of_epoch[run.best_epoch]],
                        s=40,
                        facecolors="none",
                        edgecolors=COLOURS["run"],
                        linewidths=1.5,
                    )
                other.grid(visible=False)
                other.tick_params(labelsize=10, labelcolor=COLOURS["run"])
                other.locator_params(nbins=4)

    return paint
