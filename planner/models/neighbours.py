"""k-nearest-neighbours on context features: the labels of similar past contexts vote, the nearer the more."""

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset
from planner.models.inputs import Inputs, inputs_of_split
from planner.models.policy import admitted, normalise
from planner.models.tabular import Standardiser

SMOOTHING = 0.5
"""Votes shared out over all valid actions in proportion to their frequency in train."""
_BLOCK = 256


class NearestNeighbours:
    """Votes of the ``k`` nearest train examples of the same job type, weighted by 1 / (distance + 1)."""

    name = "nearest neighbours"

    def __init__(self, dataset: Dataset, k: int = 16) -> None:
        self.space: ActionSpace = dataset.space
        self._k = k
        split = dataset.splits["train"]
        self._standardiser = Standardiser(dataset.info)
        self._rows = self._standardiser.rows(inputs_of_split(split))
        self._labels = np.asarray(split.labels)
        self._job_types = np.array(split.table["job_type"])

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Smoothed shares of the neighbours' votes."""
        known = self._job_types == job_type
        is_label = (self._labels[known][:, None] == self.space.valid_indices(job_type)[None]).all(axis=2)
        prior = is_label.sum(axis=0) + 1.0
        votes = np.tile(SMOOTHING * prior / prior.sum(), (len(inputs), 1))
        rows = self._standardiser.rows(inputs)
        k = min(self._k, int(known.sum()))
        for start in range(0, len(rows) if k else 0, _BLOCK):
            block = rows[start : start + _BLOCK]
            distances = np.linalg.norm(block[:, None] - self._rows[known][None], axis=2)
            # A stable sort, so that equal distances always choose the same neighbours.
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
            weights = 1 / (np.take_along_axis(distances, nearest, axis=1) + 1)
            votes[start : start + _BLOCK] += (weights[..., None] * is_label[nearest]).sum(axis=1)
        return normalise(votes, admitted(inputs, self.space, job_type))
