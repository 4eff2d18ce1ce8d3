"""k-nearest-neighbours on context features: the labels of similar past contexts vote, the nearer the more; or, where
outcomes of several actions are known, their utilities are averaged."""

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.policy import admitted, normalise
from planner.policies.tabular import Standardiser
from planner.policies.utilities import known_utilities, log_probs_of

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
        if known.any():
            nearest, distances = nearest_rows(self._standardiser.rows(inputs), self._rows[known], self._k)
            votes += np.einsum("nk,nkv->nv", 1 / (distances + 1), is_label[nearest])
        return normalise(votes, admitted(inputs, self.space, job_type))


class UtilityNeighbours:
    """Mean utility of every action over the ``k`` nearest train examples of the same job type that compare actions."""

    name = "utility neighbours"

    def __init__(self, dataset: Dataset, k: int = 16) -> None:
        """DatasetError when train compares no actions."""
        self.space: ActionSpace = dataset.space
        self._k = k
        self._standardiser = Standardiser(dataset.info)
        self._rows = self._standardiser.rows(inputs_of_split(dataset.splits["train"]))
        self._known = known_utilities(dataset)

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Softmax of the mean utilities; every action alike for a job type that train never compared."""
        utilities = np.zeros((len(inputs), len(self.space.valid_actions(job_type))))
        if job_type in self._known:
            known = self._known[job_type]
            nearest, _ = nearest_rows(self._standardiser.rows(inputs), self._rows[known.rows], self._k)
            utilities = known.utilities[nearest].mean(axis=1)
        return log_probs_of(utilities, inputs, self.space, job_type)


def nearest_rows(
    rows: NDArray[np.float64], among: NDArray[np.float64], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions in ``among`` (m, F) of the at most ``k`` nearest of each of ``rows`` (n, F), and their Euclidean
    distances: two arrays (n, k)."""
    k = min(k, len(among))
    nearest: NDArray[np.intp] = np.zeros((len(rows), k), dtype=np.intp)
    kept = np.zeros((len(rows), k))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        distances = np.linalg.norm(block[:, None] - among[None], axis=2)
        # A stable sort, so that equal distances always choose the same neighbours.
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        nearest[start : start + _BLOCK] = order
        kept[start : start + _BLOCK] = np.take_along_axis(distances, order, axis=1)
    return nearest, kept
