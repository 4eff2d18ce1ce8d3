"""Gradient-boosted trees (scikit-learn), one classifier per head, on the same features as the MLP."""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from planner.actions import HEADS, ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.policies.policy import admitted, normalise
from planner.policies.registry import baseline
from planner.policies.tabular import feature_rows

FLOOR = 1e-3
"""Probability of a value that train never showed."""


@baseline(reports=("compare",))
class BoostedTrees:
    """Four independent classifiers; a head with a single value in train needs none."""

    name = "boosted trees"

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        self.space: ActionSpace = dataset.space
        split = dataset.splits["train"]
        rows = feature_rows(inputs_of_split(split))
        labels = np.asarray(split.labels)
        self._classifiers = [
            HistGradientBoostingClassifier(
                max_iter=100,
                learning_rate=0.05,
                max_leaf_nodes=15,
                min_samples_leaf=5,
                l2_regularization=1.0,
                random_state=seed,
            ).fit(rows, labels[:, head])
            if len(np.unique(labels[:, head])) > 1
            else int(labels[0, head])
            for head in range(len(HEADS))
        ]

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """The product of the heads' probabilities."""
        rows = feature_rows(inputs)
        indices = self.space.valid_indices(job_type)
        weights = np.ones((len(inputs), len(indices)))
        for head, classifier in enumerate(self._classifiers):
            shares = np.full((len(inputs), self.space.widths[head]), FLOOR)
            if isinstance(classifier, int):
                shares[:, classifier] = 1.0
            elif len(inputs):
                shares[:, classifier.classes_] += classifier.predict_proba(rows)
            weights *= shares[:, indices[:, head]]
        return normalise(weights, admitted(inputs, self.space, job_type))
