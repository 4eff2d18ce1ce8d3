"""Bootstrap intervals: how far a mean could have come out otherwise with as many cases."""

import numpy as np
from numpy.typing import ArrayLike


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and percentile-bootstrap interval over cases; three NaN when there is no value."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return (float("nan"),) * 3
    draws = np.random.default_rng(seed).integers(0, len(array), size=(resamples, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(array.mean()), float(low), float(high)
