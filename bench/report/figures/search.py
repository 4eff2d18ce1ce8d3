"""A search for settings as parallel coordinates: a line for each trial, through its settings to what it came to."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.report.figures.style import COLOURS, Figure, Sheet, Table, both
from bench.report.studies import Search, Trial
from bench.report.words import plural, utility


def search(found: Search, number: int) -> Figure | None:
    """The figure; None where fewer than two trials came to anything."""
    trials = [trial for trial in found.trials if trial.value is not None and trial.settings]
    if len(trials) < 2:
        return None
    names = [name for name, _ in trials[0].settings]
    trials = [trial for trial in trials if [name for name, _ in trial.settings] == names]
    wide, narrow = both(f"search-{number}", lambda is_narrow: 330, _paint(names, trials))
    best = trials[0]
    return Figure(
        key=f"search-{number}",
        title="A search for settings",
        caption="A line for each trial that came to something: its settings, each from its least value to its largest "
        "in even steps, and the validation log-likelihood that it came to, in nats per example. Blue: the best. "
        f"From {found.path}.",
        summary=f"{plural(len(found.trials), 'trial')}; the best, {best.number}, came to {utility(best.value)} with "
        + ", ".join(f"{name} {value}" for name, value in best.settings),
        wide=wide,
        narrow=narrow,
        table=Table(
            ("trial", "log-likelihood", "epochs", "state", *names),
            tuple(
                (
                    str(trial.number),
                    utility(trial.value),
                    str(trial.epochs),
                    trial.state,
                    *(dict(trial.settings).get(name, "") for name in names),
                )
                for trial in found.trials
            ),
        ),
    )


def _places(values: Sequence[str]) -> tuple[NDArray[np.float64], str, str]:
    """Where each value lies between the least and the largest one, in even steps, and what these are."""
    try:
        ordered = sorted(set(values), key=float)
    except ValueError:
        ordered = sorted(set(values))
    step = {value: at / max(1, len(ordered) - 1) for at, value in enumerate(ordered)}
    return np.array([step[value] for value in values]), ordered[0], ordered[-1]


def _paint(names: Sequence[str], trials: Sequence[Trial]) -> Callable[[Sheet], None]:
    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(24, 54, 22, 130)
        columns = [_places([dict(trial.settings)[name] for trial in trials]) for name in names]
        values = np.array([trial.value for trial in trials], dtype=np.float64)
        spread = float(np.ptp(values)) or 1.0
        lines = np.stack([*(column for column, _, _ in columns), (values - values.min()) / spread], axis=1)
        for at in range(len(trials) - 1, -1, -1):
            first = at == 0
            colour, width = (COLOURS["run"], 2.2) if first else (COLOURS["muted"], 0.8)
            axes.plot(range(len(names) + 1), lines[at], color=colour, linewidth=width, alpha=1.0 if first else 0.5)
        # On a phone more than a few would lie on each other; the table has them.
        for at, (_, low, high) in enumerate(columns if len(columns) < 6 or not sheet.is_narrow else ()):
            axes.text(at, -0.04, low, ha="center", va="top", fontsize=9, color=COLOURS["muted"])
            axes.text(at, 1.04, high, ha="center", va="bottom", fontsize=9, color=COLOURS["muted"])
        axes.text(len(names) + 0.08, 1, utility(float(values.max())), va="center", fontsize=10, color=COLOURS["run"])
        axes.text(len(names) + 0.08, 0, utility(float(values.min())), va="center", fontsize=10, color=COLOURS["muted"])
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        labels = [*(name.rpartition(".")[2] for name in names), "log-likelihood"]
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.tick_params(axis="x", pad=18)

    return paint
