"""Policies that do not look at the context, or only at its group: the most frequent label overall, the most frequent
one of each group, and the action that fares best on average."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.policy import admitted, normalise
from planner.scoring.regret import mean_gains

SMOOTHING = 0.1
"""Added to every valid action's count, so that none is impossible."""
GAIN_TEMPERATURE = 0.05
"""Utility by which an action must be better to be e times as probable."""
GROUP_WEIGHT = 4.0
"""A group's counts are mixed with the overall shares as if those were this many examples."""


class SingleBest:
    """The label shares of train, whatever the context: its favourite is the single best action."""

    name = "single best"

    def __init__(self, dataset: Dataset) -> None:
        self.space: ActionSpace = dataset.space
        split = dataset.splits["train"]
        self._counts = Counter(map(tuple, np.asarray(split.labels).tolist()))

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """The same shares for every context, over the actions it admits."""
        weights = np.array(
            [self._counts[tuple(row)] + SMOOTHING for row in self.space.valid_indices(job_type).tolist()]
        )
        allowed = admitted(inputs, self.space, job_type)
        return normalise(np.broadcast_to(weights, allowed.shape), allowed)


class PerGroup:
    """The label shares of each group (risk, size), mixed with the overall shares when the group is small."""

    name = "per group"

    def __init__(self, dataset: Dataset) -> None:
        self.space: ActionSpace = dataset.space
        self._columns = [
            i for i, f in enumerate(dataset.info.context_features) if f.name.startswith(("risk_", "size_", "is_code"))
        ]
        split = dataset.splits["train"]
        self._overall = Counter(map(tuple, np.asarray(split.labels).tolist()))
        self._groups: defaultdict[bytes, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for key, label in zip(self._keys(inputs_of_split(split)), np.asarray(split.labels).tolist(), strict=True):
            self._groups[key][tuple(label)] += 1

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Each context's group's shares, over the actions it admits."""
        valid = [tuple(row) for row in self.space.valid_indices(job_type).tolist()]
        overall = np.array([self._overall[action] + SMOOTHING for action in valid])
        prior = GROUP_WEIGHT * overall / overall.sum()
        weights = np.array([self._weights(key, valid, prior) for key in self._keys(inputs)]).reshape(-1, len(valid))
        return normalise(weights, admitted(inputs, self.space, job_type))

    def _weights(self, key: bytes, valid: Sequence[tuple[int, ...]], prior: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = self._groups.get(key, Counter())
        return prior + np.array([counts[action] for action in valid])

    def _keys(self, inputs: Inputs) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(inputs.context_features[:, self._columns])]


class BestOnAverage:
    """The action with the best mean utility over train's outcomes, relative to its case's mean."""

    name = "best on average"

    def __init__(self, dataset: Dataset) -> None:
        self.space: ActionSpace = dataset.space
        self._gains = mean_gains(dataset.splits["train"].outcomes)

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """The same for every context: softmax of mean gain / GAIN_TEMPERATURE over the actions it admits."""
        gains = [self._gains.get(tuple(row), -1.0) for row in self.space.valid_indices(job_type).tolist()]
        allowed = admitted(inputs, self.space, job_type)
        return normalise(np.broadcast_to(np.exp(np.array(gains) / GAIN_TEMPERATURE), allowed.shape), allowed)
