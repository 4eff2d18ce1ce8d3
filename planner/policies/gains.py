"""Which action fared best on a context's relatives: mean utility relative to each example's mean, filled up with the
same over all of train where relatives are few."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset
from planner.encoding.inputs import Inputs
from planner.errors import DatasetError
from planner.policies.policy import admitted, normalise
from planner.policies.readings import GAIN_TEMPERATURE
from planner.scoring.preferences import NEVER_TRIED, gains

ENOUGH = 4
"""Every mean stands on this many values: as many as a context's relatives lack are the mean over all of train."""


class Gains:
    """What each action gained on each example of train, and how that becomes a policy's scores."""

    def __init__(self, dataset: Dataset) -> None:
        """DatasetError when train compares no actions."""
        outcomes = dataset.splits["train"].outcomes
        check_compared(dataset)
        self.space: ActionSpace = dataset.space
        self.examples: NDArray[np.intp] = np.flatnonzero(outcomes.comparable)
        """Positions in train of the examples whose actions were compared."""
        table = np.full((len(outcomes), len(self.space.tuples)), np.nan)
        table[outcomes.example, self.space.tuple_rows(np.asarray(outcomes.actions))] = gains(outcomes)
        self._known = np.isfinite(table)
        self._gains = np.where(self._known, table, 0.0)
        tried = self._known.sum(axis=0)
        self._overall = np.where(tried > 0, self._gains.sum(axis=0) / np.maximum(tried, 1), NEVER_TRIED)

    def score(self, relatives: Sequence[NDArray[np.intp]] | None, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Softmax of mean gain / GAIN_TEMPERATURE over what each of n contexts admits, (n, n_valid).

        ``relatives`` (n,) lists positions in train; a context without relatives gets the overall means, as all do for
        None. An action that was never tried is the last choice.
        """
        columns = self.space.tuple_rows(self.space.valid_indices(job_type))
        overall = self._overall[columns]
        means = np.tile(overall, (len(inputs), 1))
        for at, rows in enumerate(relatives or ()):
            total, count = (
                self._gains[np.ix_(rows, columns)].sum(axis=0),
                self._known[np.ix_(rows, columns)].sum(axis=0),
            )
            means[at] = (total + np.maximum(ENOUGH - count, 0) * overall) / np.maximum(count, ENOUGH)
        return log_probs_of(means, inputs, self.space, job_type)


def check_compared(dataset: Dataset) -> None:
    """DatasetError when no example of train has the outcomes of several actions."""
    if not dataset.splits["train"].outcomes.comparable.any():
        raise DatasetError(
            f"{dataset.path}: train holds no example with the outcomes of several actions; "
            "run `planner bench` and `planner relabel`, and take the dataset that they make"
        )


def log_probs_of(
    utilities: NDArray[np.float64], inputs: Inputs, space: ActionSpace, job_type: str
) -> NDArray[np.float64]:
    """Utilities or gains (n, n_valid) as log-probabilities: softmax of utility / GAIN_TEMPERATURE over what is
    admitted."""
    allowed = admitted(inputs, space, job_type)
    best = np.max(utilities, axis=1, keepdims=True, where=allowed, initial=-np.inf)
    return normalise(np.exp(np.minimum(utilities - best, 0.0) / GAIN_TEMPERATURE), allowed)
