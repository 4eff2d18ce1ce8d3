"""Lists in, lists out, of the sandbox's toolbox."""


def chunks(values: list[int], size: int) -> list[list[int]]:
    """Consecutive pieces of a size; the last may be shorter."""
    if size < 1:
        raise ValueError("size must be positive")
    return [values[start : start + size] for start in range(0, len(values), size)]


def rotate(values: list[int], steps: int = 1) -> list[int]:
    """The values moved to the right, the last ones come first."""
    if not values:
        return []
    cut = len(values) - steps % len(values)
    return values[cut:] + values[:cut]


def unique(values: list[int]) -> list[int]:
    """The values without repetitions, in order of first appearance."""
    seen: set[int] = set()
    kept = []
    for value in values:
        if value not in seen:
            seen.add(value)
            kept.append(value)
    return kept


def merge_sorted(left: list[int], right: list[int]) -> list[int]:
    """Two rising lists as one."""
    merged = []
    first = second = 0
    while first < len(left) and second < len(right):
        if left[first] <= right[second]:
            merged.append(left[first])
            first += 1
        else:
            merged.append(right[second])
            second += 1
    return merged + left[first:] + right[second:]


def run_lengths(values: list[int]) -> list[tuple[int, int]]:
    """(value, how many in a row) for each run."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return runs


def second_largest(values: list[int]) -> int:
    """The largest value below the maximum."""
    best = None
    second = None
    for value in values:
        if best is None or value > best:
            best, second = value, best
        elif value < best and (second is None or value > second):
            second = value
    if second is None:
        raise ValueError("there is no second value")
    return second


def partition_by(values: list[int], pivot: int) -> tuple[list[int], list[int], list[int]]:
    """The values below, equal to and above a pivot, in order."""
    below, equal, above = [], [], []
    for value in values:
        if value < pivot:
            below.append(value)
        elif value == pivot:
            equal.append(value)
        else:
            above.append(value)
    return below, equal, above


def longest_rise(values: list[int]) -> list[int]:
    """The longest stretch of strictly rising neighbours; the first of equally long ones."""
    best_start, best_length = 0, 0
    start = 0
    for position in range(len(values)):
        if position > 0 and values[position] <= values[position - 1]:
            start = position
        length = position - start + 1
        if length > best_length:
            best_start, best_length = start, length
    return values[best_start : best_start + best_length]


def pairs_with_sum(values: list[int], target: int) -> list[tuple[int, int]]:
    """All (smaller, larger) pairs of different values with a sum, by two pointers."""
    ordered = sorted(set(values))
    low, high = 0, len(ordered) - 1
    pairs = []
    while low < high:
        total = ordered[low] + ordered[high]
        if total == target:
            pairs.append((ordered[low], ordered[high]))
            low += 1
            high -= 1
        elif total < target:
            low += 1
        else:
            high -= 1
    return pairs


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "chunks": [([], 2), ([1, 2, 3], 2), ([1, 2, 3, 4], 2), ([1], 5), ([1, 2], 0), ([1, 2, 3], 1)],
    "rotate": [([],), ([1, 2, 3],), ([1, 2, 3], 2), ([1, 2, 3], 0), ([1, 2, 3], 4), ([1, 2, 3], -1)],
    "unique": [([],), ([1, 1],), ([3, 1, 3, 2, 1],), ([5, 4],)],
    "merge_sorted": [([], []), ([1], []), ([1, 4, 6], [2, 3, 9]), ([1, 1], [1]), ([7, 8], [1, 2])],
    "run_lengths": [([],), ([4],), ([1, 1, 2, 1],), ([3, 3, 3],), ([0, 5, 5, 0, 0],)],
    "second_largest": [([1, 2],), ([2, 1],), ([3, 3, 1],), ([5],), ([4, 4],), ([1, 9, 5, 7],), ([-1, -2, -3],)],
    "partition_by": [([], 1), ([1, 2, 3], 2), ([5, 1, 5, 9, 0], 5), ([4, 4], 3)],
    "longest_rise": [([],), ([1],), ([1, 2, 1, 2],), ([3, 2, 1],), ([1, 2, 2, 3, 4, 5, 1],), ([5, 6, 7, 1, 2, 3],)],
    "pairs_with_sum": [
        ([], 3),
        ([1, 2], 3),
        ([1, 2, 3, 4], 5),
        ([2, 2, 4], 4),
        ([5, 1, 9, -3, 7], 6),
        ([1, 8, 3], 100),
    ],
}
