"""The nearest past contexts by their features, and the action that fared best on them."""

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.gains import Gains
from planner.policies.registry import baseline
from planner.policies.tabular import Standardiser

N_NEIGHBOURS = 16
_BLOCK = 256


class Neighbourhood:
    """Finds the ``k`` nearest of train's examples ``among`` (m,) that have the asking context's job type."""

    def __init__(self, dataset: Dataset, among: NDArray[np.intp], k: int) -> None:
        split = dataset.splits["train"]
        self._k = k
        self._among = among
        self._standardiser = Standardiser(dataset.info)
        self._rows = self._standardiser.rows(inputs_of_split(split).take(among))
        self._job_types = np.array(split.table["job_type"], dtype=np.str_)[among]

    def of(self, inputs: Inputs, job_type: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Positions in train of each context's nearest examples and their distances, (n, at most k) each."""
        alike = np.flatnonzero(self._job_types == job_type)
        nearest, distances = nearest_rows(self._standardiser.rows(inputs), self._rows[alike], self._k)
        return self._among[alike][nearest], distances


@baseline(needs_outcomes=True, reports=("compare", "bench"))
class NearestNeighbours:
    """The action of best mean utility over the nearest examples of the same job type whose actions were compared.

    Choose it where contexts say much and examples are many: it has nothing to fit but the scale of the features.
    """

    name = "nearest neighbours"

    def __init__(self, dataset: Dataset, k: int = N_NEIGHBOURS) -> None:
        """DatasetError when train compares no actions."""
        self.space: ActionSpace = dataset.space
        self._gains = Gains(dataset)
        self._near = Neighbourhood(dataset, self._gains.examples, k)

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """As gains say, with the nearest examples as relatives."""
        nearest, _ = self._near.of(inputs, job_type)
        return self._gains.score(list(nearest), inputs, job_type)


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
