"""One row of numbers per context for policies that are not neural: raw for trees, standardised for distances."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.contracts.dataset import DatasetInfo
from planner.encoding.inputs import Inputs

CLIP = 8.0
"""Standard deviations beyond which a feature counts as this far."""


def feature_rows(inputs: Inputs) -> NDArray[np.float64]:
    """Context features beside the mean over the similar runs, (n, context features + run features), as they are.

    Trees split by order, so they need no scale; and once a feature that spans many decades is standardised, its small
    values can no longer be told apart in the single precision in which scikit-learn's trees compare them.
    """
    return _beside_mean(inputs, np.asarray(inputs.context_features), np.asarray(inputs.run_features))


class Standardiser:
    """Context features beside the mean over the similar runs, standardised as the dataset says."""

    def __init__(self, info: DatasetInfo) -> None:
        self._context = _moments(info, "context_features")
        self._runs = _moments(info, "run_features")

    def rows(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, context features + run features)."""
        context = _standardise(np.asarray(inputs.context_features), *self._context)
        return _beside_mean(inputs, context, _standardise(np.asarray(inputs.run_features), *self._runs))


def _beside_mean(inputs: Inputs, context: NDArray[Any], runs: NDArray[Any]) -> NDArray[np.float64]:
    """``context`` (n, F) beside the mean of ``runs`` (n, N, R) over the runs that are there."""
    present = (np.diff(np.asarray(inputs.segments), axis=1)[:, 1:] > 0)[..., None]
    mean = (runs * present).sum(axis=1, dtype=np.float64) / np.maximum(present.sum(axis=1), 1)
    return np.concatenate([context, mean], axis=1)


def _moments(info: DatasetInfo, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    features = getattr(info, kind)
    return np.array([f.mean for f in features]), np.array([f.scale for f in features])


def _standardise(
    values: NDArray[np.float32], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.clip((values - mean) / scale, -CLIP, CLIP)
