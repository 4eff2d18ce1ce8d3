"""The built-in tracker: TensorBoard events in RUN/tensorboard.

`tensorboard --logdir OUT/trials` of a search, or `--logdir OUT/runs` of an ablation, has all runs of it, and under
HPARAMS as parallel coordinates.
"""

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from planner.training.trackers import RunStart

DIRECTORY = "tensorboard"
BEST = "best/"
"""Stands before a metric's name: its value in the best epoch so far."""
COMPARED = ("val_log_likelihood", "val_trial_log_likelihood", "val_regret", "val_exact_match", "val_ece")
"""What runs are set side by side by, under HPARAMS."""


class TensorBoard:
    """Scalars of every epoch, and the run's settings as hparams."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    def run_starts(self, start: RunStart) -> None:
        """Write the settings: a run that is killed has them too."""
        self._writer = SummaryWriter(str(start.run / DIRECTORY))
        # Not SummaryWriter.add_hparams: that makes a directory of its own, apart from the run's curves. What to compare
        # is not said: TensorBoard then finds by itself what differs from run to run, and shows that first.
        _, session, self._end = hparams(dict(start.settings), {})
        self._writer.file_writer.add_summary(session)

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """One point of every curve."""
        assert self._writer is not None
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)
            if is_best and name in COMPARED:
                self._writer.add_scalar(BEST + name, value, epoch)
        self._writer.flush()

    def run_ends(self, finished: bool) -> None:
        """Close the session, as ended if it is."""
        assert self._writer is not None
        if finished:
            self._writer.file_writer.add_summary(self._end)
        self._writer.close()
