"""The best action per group: what a table of tools, kept by hand, would come to."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.gains import Gains
from planner.policies.groups import Group, groups_of
from planner.policies.registry import baseline


@baseline(needs_outcomes=True, reports=("compare", "bench"))
class PerGroup:
    """The action of best mean utility over train's examples of the same group; the single best for a new group."""

    name = "per group"

    def __init__(self, dataset: Dataset) -> None:
        """DatasetError when train compares no actions."""
        self.space: ActionSpace = dataset.space
        self._gains = Gains(dataset)
        members: defaultdict[Group, list[int]] = defaultdict(list)
        for row, group in enumerate(groups_of(inputs_of_split(dataset.splits["train"]))):
            members[group].append(row)
        self._members = {group: np.array(rows, dtype=np.intp) for group, rows in members.items()}

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """As gains say, with the group's examples as relatives."""
        nobody = np.array([], dtype=np.intp)
        return self._gains.score([self._members.get(group, nobody) for group in groups_of(inputs)], inputs, job_type)
