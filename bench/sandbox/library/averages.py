"""Averages and spreads of the sandbox's toolbox."""


def mean(values: list[float]) -> float:
    """The arithmetic mean; 0.0 of nothing."""
    if not values:
        return 0.0
    return sum(values) / len(values)


def median(values: list[float]) -> float:
    """The middle value, or the mean of the two middle values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def mode(values: list[int]) -> int:
    """The most frequent value; of equally frequent ones the smallest."""
    counts: dict[int, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    best = values[0]
    for value, count in counts.items():
        if count > counts[best] or (count == counts[best] and value < best):
            best = value
    return best


def variance(values: list[float], sample: bool = True) -> float:
    """The variance; divided by n - 1 for a sample, by n for a population."""
    size = len(values)
    if size < 2:
        return 0.0
    centre = sum(values) / size
    squares = sum((value - centre) * (value - centre) for value in values)
    return squares / (size - 1) if sample else squares / size


def weighted_mean(values: list[float], weights: list[float]) -> float:
    """The mean with a weight for each value; 0.0 when the weights sum to nothing."""
    if len(values) != len(weights):
        raise ValueError("one weight for each value")
    total = 0.0
    weight_sum = 0.0
    for value, weight in zip(values, weights, strict=True):
        total += value * weight
        weight_sum += weight
    if weight_sum == 0:
        return 0.0
    return total / weight_sum


def percentile(values: list[float], percent: float = 50) -> float:
    """The percentile by linear interpolation between the closest ranks."""
    if not values or percent < 0 or percent > 100:
        raise ValueError("need values and a percentage from 0 to 100")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    lower = int(position)
    upper = min(lower + 1, len(ordered) - 1)
    share = position - lower
    return ordered[lower] * (1 - share) + ordered[upper] * share


def trimmed_mean(values: list[float], cut: int = 1) -> float:
    """The mean without the `cut` lowest and highest values."""
    if len(values) <= 2 * cut:
        raise ValueError("nothing left after trimming")
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)


def running_mean(values: list[float]) -> list[float]:
    """After each value the mean of all values so far."""
    means = []
    total = 0.0
    for position, value in enumerate(values):
        total += value
        means.append(total / (position + 1))
    return means


def histogram(values: list[int], low: int, high: int, bins: int) -> list[int]:
    """Counts in equal bins over [low, high); values outside are left out."""
    counts = [0] * bins
    width = (high - low) / bins
    for value in values:
        if value < low or value >= high:
            continue
        counts[int((value - low) / width)] += 1
    return counts


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "mean": [([],), ([4],), ([1, 2, 6],), ([2.5, 3.5],), ([-4, 4, 9],)],
    "median": [([3],), ([3, 1],), ([5, 1, 3],), ([9, 7, 1, 3],), ([],), ([1, 2, 3, 10, 20],)],
    "mode": [([1],), ([2, 1, 2],), ([3, 1, 3, 1],), ([5, 5, 1, 2, 2, 2],), ([4, 9, 4, 9, 9],), ([1, 3, 3, 1],)],
    "variance": [([],), ([3],), ([1, 3],), ([1, 3], False), ([2, 4, 9],), ([2, 4, 9, 9], False)],
    "weighted_mean": [([1, 3], [1, 1]), ([1, 3], [3, 1]), ([5], [0]), ([1], [1, 2]), ([2, 4, 8], [1, 0, 3])],
    "percentile": [
        ([1, 2, 3, 4],),
        ([5, 1, 9], 0),
        ([5, 1, 9], 100),
        ([1, 2, 3, 4], 25),
        ([7],),
        ([], 50),
        ([1], 101),
        ([1], -1),
        ([10, 20, 40], 75),
    ],
    "trimmed_mean": [([1, 5, 9],), ([9, 1, 4, 6],), ([1, 2, 3, 30, 40], 2), ([1, 2],), ([1, 2, 3, 4], 2), ([3, 9], 0)],
    "running_mean": [([],), ([4],), ([4, 8],), ([1, 2, 6],), ([-3, 3, 9, 11],)],
    "histogram": [([], 0, 10, 2), ([0, 4, 5, 9], 0, 10, 2), ([-1, 10, 3], 0, 10, 5), ([2, 3, 8, 11], 2, 12, 5)],
}
