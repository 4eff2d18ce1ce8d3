"""Splitting examples by time: the past trains, the near future validates, the latest tests."""

import itertools
from collections.abc import Sequence

from planner.errors import DatasetError

SPLITS = ("train", "val", "test")
FRACTIONS = (0.8, 0.1, 0.1)


def time_split(decided_ms: Sequence[int], fractions: Sequence[float] = FRACTIONS) -> dict[str, range]:
    """Split name -> positions, for decision times in ascending order.

    Examples decided at the same moment stay in one split, so that no boundary cuts through an instant; a split of
    very few examples may therefore be empty. DatasetError when there is nothing to split.
    """
    if not decided_ms:
        raise DatasetError("no labelled runs: let Cyntra run some issues first")
    if any(later < earlier for earlier, later in itertools.pairwise(decided_ms)):
        raise ValueError("decision times must be in ascending order")
    n = len(decided_ms)
    bounds = [0]
    for share in (fractions[0], fractions[0] + fractions[1]):
        bound = max(bounds[-1], round(n * share))
        while 0 < bound < n and decided_ms[bound] == decided_ms[bound - 1]:
            bound += 1
        bounds.append(bound)
    bounds.append(n)
    return {name: range(*span) for name, span in zip(SPLITS, itertools.pairwise(bounds), strict=True)}
