"""What imitation without a model comes to: the shares of train's labels, overall, in a context's group, or nearby."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.groups import Group, groups_of
from planner.policies.neighbours import N_NEIGHBOURS, Neighbourhood
from planner.policies.policy import admitted, normalise
from planner.policies.registry import baseline

SMOOTHING = 0.1
"""Added to every valid action's count, so that none is impossible."""
GROUP_WEIGHT = 4.0
"""A group's counts are mixed with the overall shares as if those were this many examples."""
NEARBY_SMOOTHING = 0.5
"""Votes shared out over all valid actions in proportion to their frequency in train."""


@baseline()
class MostFrequent:
    """The label shares of train, whatever the context. Choose it to see what imitation gets without looking."""

    name = "most frequent"

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


@baseline(reports=("compare",))
class MostFrequentInGroup:
    """The label shares of each group, mixed with the overall shares when the group is small."""

    name = "most frequent in group"

    def __init__(self, dataset: Dataset) -> None:
        self.space: ActionSpace = dataset.space
        split = dataset.splits["train"]
        labels = list(map(tuple, np.asarray(split.labels).tolist()))
        self._overall = Counter(labels)
        self._groups: defaultdict[Group, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for group, label in zip(groups_of(inputs_of_split(split)), labels, strict=True):
            self._groups[group][label] += 1

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Each context's group's shares, over the actions it admits."""
        valid = [tuple(row) for row in self.space.valid_indices(job_type).tolist()]
        overall = np.array([self._overall[action] + SMOOTHING for action in valid])
        prior = GROUP_WEIGHT * overall / overall.sum()
        weights = np.array([self._weights(group, valid, prior) for group in groups_of(inputs)])
        return normalise(weights.reshape(-1, len(valid)), admitted(inputs, self.space, job_type))

    def _weights(
        self, group: Group, valid: Sequence[tuple[int, ...]], prior: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        counts = self._groups.get(group, Counter())
        return prior + np.array([counts[action] for action in valid])


@baseline(reports=("compare",))
class MostFrequentNearby:
    """The labels of the nearest train examples of the same job type vote, the nearer the more: 1 / (distance + 1)."""

    name = "most frequent nearby"

    def __init__(self, dataset: Dataset, k: int = N_NEIGHBOURS) -> None:
        self.space: ActionSpace = dataset.space
        split = dataset.splits["train"]
        self._near = Neighbourhood(dataset, np.arange(len(split)), k)
        self._labels = np.asarray(split.labels)
        self._job_types = np.array(split.table["job_type"])

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Smoothed shares of the neighbours' votes."""
        is_label = (self._labels[:, None] == self.space.valid_indices(job_type)[None]).all(axis=2)
        prior = is_label[self._job_types == job_type].sum(axis=0) + 1.0
        votes = np.tile(NEARBY_SMOOTHING * prior / prior.sum(), (len(inputs), 1))
        nearest, distances = self._near.of(inputs, job_type)
        votes += np.einsum("nk,nkv->nv", 1 / (distances + 1), is_label[nearest])
        return normalise(votes, admitted(inputs, self.space, job_type))
