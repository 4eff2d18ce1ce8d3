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


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of two means over the same cases and its percentile-bootstrap interval: cases are drawn with both values.

    Three NaN when the denominator's mean is 0; draws in which it is 0 do not count.
    """
    pair = np.asarray([numerator, denominator], dtype=np.float64)
    if not pair[1].sum():
        return (float("nan"),) * 3
    draws = np.random.default_rng(seed).integers(0, pair.shape[1], size=(resamples, pair.shape[1]))
    above, below = pair[:, draws].sum(axis=2)
    low, high = np.quantile(above[below != 0] / below[below != 0], [(1 - level) / 2, (1 + level) / 2])
    return float(pair[0].sum() / pair[1].sum()), float(low), float(high)
