"""Half-open intervals (start, end) of whole numbers, of the sandbox's toolbox."""

Interval = tuple[int, int]


def overlap(first: Interval, second: Interval) -> int:
    """The length that two intervals share."""
    return max(0, min(first[1], second[1]) - max(first[0], second[0]))


def contains(interval: Interval, point: int, closed: bool = False) -> bool:
    """Whether the point lies inside; with `closed` the end counts too."""
    start, end = interval
    if closed:
        return start <= point <= end
    return start <= point and point < end


def merge_intervals(intervals: list[Interval]) -> list[Interval]:
    """Overlapping or touching intervals as one, in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def gaps(intervals: list[Interval], low: int, high: int) -> list[Interval]:
    """What the intervals leave free of [low, high)."""
    free = []
    reached = low
    for start, end in sorted(intervals):
        if start > reached:
            free.append((reached, min(start, high)))
        reached = max(reached, end)
        if reached >= high:
            return free
    free.append((reached, high))
    return free


def covered_length(intervals: list[Interval]) -> int:
    """The length of the union."""
    total = 0
    reached = None
    for start, end in sorted(intervals):
        if reached is None or start > reached:
            total += end - start
            reached = end
        elif end > reached:
            total += end - reached
            reached = end
    return total


def most_at_once(intervals: list[Interval]) -> int:
    """The largest number of intervals open at one moment."""
    changes = []
    for start, end in intervals:
        changes.append((start, 1))
        changes.append((end, -1))
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def subtract_interval(whole: Interval, hole: Interval) -> list[Interval]:
    """What is left of one interval without another."""
    pieces = []
    if hole[0] >= whole[1] or hole[1] <= whole[0]:
        return [whole]
    if hole[0] > whole[0]:
        pieces.append((whole[0], hole[0]))
    if hole[1] < whole[1]:
        pieces.append((hole[1], whole[1]))
    return pieces


def pick_disjoint(intervals: list[Interval], pause: int = 0) -> list[Interval]:
    """As many intervals as possible that do not overlap, at least a pause apart."""
    picked: list[Interval] = []
    for start, end in sorted(intervals, key=lambda item: (item[1], item[0])):
        if not picked or start >= picked[-1][1] + pause:
            picked.append((start, end))
    return picked


def first_free_slot(busy: list[Interval], length: int, low: int, high: int) -> int:
    """The first start in [low, high) of a free stretch of a length; -1 when there is none."""
    candidate = low
    for start, end in sorted(busy):
        if start - candidate >= length:
            break
        if end > candidate:
            candidate = end
    if candidate + length <= high:
        return candidate
    return -1


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "overlap": [((0, 5), (3, 9)), ((0, 3), (3, 5)), ((0, 9), (2, 4)), ((5, 6), (0, 1)), ((2, 7), (1, 4))],
    "contains": [
        ((1, 3), 1),
        ((1, 3), 3),
        ((1, 3), 3, True),
        ((1, 3), 0),
        ((1, 3), 1, True),
        ((1, 3), 4, True),
        ((1, 3), 2),
    ],
    "merge_intervals": [
        ([],),
        ([(1, 3), (2, 5)],),
        ([(4, 6), (1, 2)],),
        ([(1, 3), (3, 4)],),
        ([(1, 9), (2, 3), (10, 11)],),
    ],
    "gaps": [
        ([], 0, 5),
        ([(1, 2)], 0, 5),
        ([(0, 2), (4, 9)], 0, 5),
        ([(0, 9)], 2, 5),
        ([(3, 4), (1, 2)], 1, 6),
        ([(7, 9)], 0, 5),
        ([(0, 3), (1, 2)], 0, 4),
    ],
    "covered_length": [([],), ([(1, 4)],), ([(1, 4), (2, 6)],), ([(5, 6), (1, 2)],), ([(1, 9), (2, 3), (9, 10)],)],
    "most_at_once": [([],), ([(1, 2)],), ([(1, 2), (2, 3)],), ([(1, 5), (2, 6), (4, 8), (6, 7)],), ([(1, 4), (1, 4)],)],
    "subtract_interval": [
        ((0, 9), (3, 5)),
        ((0, 9), (0, 5)),
        ((0, 9), (5, 9)),
        ((0, 3), (3, 4)),
        ((3, 5), (0, 3)),
        ((2, 4), (1, 9)),
        ((4, 8), (6, 12)),
    ],
    "pick_disjoint": [
        ([],),
        ([(0, 4), (1, 2), (2, 3)],),
        ([(0, 4), (4, 6), (5, 7)],),
        ([(0, 2), (3, 5), (6, 8)], 2),
        ([(0, 9), (1, 3), (5, 7)], 1),
    ],
    "first_free_slot": [
        ([], 3, 0, 5),
        ([(0, 2)], 3, 0, 5),
        ([(0, 2)], 4, 0, 5),
        ([(4, 6), (1, 2)], 2, 1, 9),
        ([(2, 3), (0, 9)], 2, 0, 12),
        ([(3, 5)], 3, 0, 9),
        ([(1, 5), (2, 3)], 1, 0, 9),
    ],
}
