"""A random forest (scikit-learn) that foresees every action's utility from the context features.

Choose it where outcomes of several actions per context are known: it learns how much each loses, not only which won.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.gains import log_probs_of
from planner.policies.registry import baseline
from planner.policies.tabular import feature_rows
from planner.policies.utilities import known_utilities


@baseline(needs_outcomes=True, reports=("compare", "bench"))
class UtilityForest:
    """One forest per job type, whose trees foresee the utilities of all its actions together."""

    name = "utility forest"

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        """DatasetError when train compares no actions."""
        self.space: ActionSpace = dataset.space
        rows = feature_rows(inputs_of_split(dataset.splits["train"]))
        self._forests = {
            job_type: RandomForestRegressor(n_estimators=100, random_state=seed, n_jobs=-1).fit(
                rows[known.rows], known.utilities
            )
            for job_type, known in known_utilities(dataset).items()
        }

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Softmax of the foreseen utilities; every action alike for a job type that train never compared."""
        utilities = np.zeros((len(inputs), len(self.space.valid_actions(job_type))))
        if job_type in self._forests and len(inputs):
            foreseen = self._forests[job_type].predict(feature_rows(inputs))
            utilities = foreseen.reshape(utilities.shape)
        return log_probs_of(utilities, inputs, self.space, job_type)
