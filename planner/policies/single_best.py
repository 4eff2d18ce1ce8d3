"""The single best action: the one of best mean utility, whatever the context. The yardstick of algorithm selection."""

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset
from planner.encoding.inputs import Inputs
from planner.policies.gains import Gains
from planner.policies.registry import baseline


@baseline(needs_outcomes=True)
class SingleBest:
    """The action of best mean utility over train's outcomes, each relative to its example's mean.

    A policy that does not beat it makes nothing of the context ("single best solver", SBS, in the literature).
    """

    name = "single best"

    def __init__(self, dataset: Dataset) -> None:
        """DatasetError when train compares no actions."""
        self.space: ActionSpace = dataset.space
        self._gains = Gains(dataset)

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """The same for every context, over the actions it admits."""
        return self._gains.score(None, inputs, job_type)
