"""Sliding windows and series, of the sandbox's toolbox."""


def moving_sum(values: list[int], width: int) -> list[int]:
    """The sum of each window of a width."""
    if width < 1 or width > len(values):
        return []
    total = sum(values[:width])
    sums = [total]
    for position in range(width, len(values)):
        total += values[position] - values[position - width]
        sums.append(total)
    return sums


def differences(values: list[int], lag: int = 1) -> list[int]:
    """Each value minus the one `lag` places before."""
    return [values[position] - values[position - lag] for position in range(lag, len(values))]


def window_maximum(values: list[int], width: int = 3) -> list[int]:
    """The largest value of each window."""
    if width < 1:
        raise ValueError("width must be positive")
    return [max(values[start : start + width]) for start in range(len(values) - width + 1)]


def local_peaks(values: list[int]) -> list[int]:
    """Positions of values larger than both neighbours; the ends are never peaks."""
    peaks = []
    for position in range(1, len(values) - 1):
        if values[position] > values[position - 1] and values[position] > values[position + 1]:
            peaks.append(position)
    return peaks


def largest_drop(values: list[int]) -> int:
    """The largest fall from a value to a later one."""
    if not values:
        return 0
    highest = values[0]
    drop = 0
    for value in values:
        if value > highest:
            highest = value
        drop = max(drop, highest - value)
    return drop


def best_trade(prices: list[int], fee: int = 0) -> tuple[int, int, int]:
    """(buy position, sell position, profit) of the best single trade; (-1, -1, 0) when none pays."""
    best = (-1, -1, 0)
    cheapest = 0
    for position in range(1, len(prices)):
        profit = prices[position] - prices[cheapest] - fee
        if profit > best[2]:
            best = (cheapest, position, profit)
        if prices[position] < prices[cheapest]:
            cheapest = position
    return best


def maximum_segment(values: list[int]) -> tuple[int, int, int]:
    """(start, end, sum) of the neighbours with the largest sum, end exclusive; the empty segment counts."""
    best_start = best_end = best_sum = 0
    start = total = 0
    for position, value in enumerate(values):
        total += value
        if total < 0:
            start = position + 1
            total = 0
        if total > best_sum:
            best_start, best_end, best_sum = start, position + 1, total
    return best_start, best_end, best_sum


def smooth(values: list[int], radius: int = 1) -> list[float]:
    """Each value replaced by the mean of the window around it, cut at the ends."""
    result = []
    for position in range(len(values)):
        low = max(position - radius, 0)
        high = min(position + radius, len(values) - 1)
        result.append(round(sum(values[low : high + 1]) / (high - low + 1), 3))
    return result


def streaks_above(values: list[int], limit: int, shortest: int = 2) -> list[tuple[int, int]]:
    """(start, length) of each stretch above a limit that is long enough."""
    streaks = []
    start = -1
    for position in range(len(values) + 1):
        above = position < len(values) and values[position] > limit
        if above and start < 0:
            start = position
        elif not above and start >= 0:
            if position - start >= shortest:
                streaks.append((start, position - start))
            start = -1
    return streaks


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "moving_sum": [
        ([], 1),
        ([1, 2, 3], 2),
        ([1, 2, 3], 3),
        ([1, 2, 3], 4),
        ([5, 1, 4, 2], 1),
        ([1], 0),
        ([3, 1, 4, 1, 5], 3),
    ],
    "differences": [([],), ([5],), ([1, 4, 9],), ([1, 4, 9, 16], 2), ([7, 7, 2],)],
    "window_maximum": [([1, 5, 2, 4],), ([1, 2],), ([3, 1, 2], 1), ([3, 1, 2, 9], 2), ([1], 0)],
    "local_peaks": [([],), ([1, 3, 1],), ([3, 1, 3],), ([1, 3, 3, 1],), ([0, 2, 1, 5, 4, 6],), ([1, 2, 1, 2, 1],)],
    "largest_drop": [([],), ([5],), ([1, 2, 3],), ([5, 1, 6, 4],), ([3, 9, 2, 8, 1],)],
    "best_trade": [([],), ([5],), ([5, 4, 3],), ([1, 5],), ([3, 1, 6, 0, 4],), ([3, 1, 6, 0, 4], 5), ([1, 3, 2, 4],)],
    "maximum_segment": [([],), ([-1, -2],), ([1, 2],), ([4, -1, 2, -9, 5],), ([1, -2, 3, 4, -1, 3],), ([2, -2, 3],)],
    "smooth": [([],), ([4],), ([1, 2, 6],), ([1, 5, 3, 9], 2), ([2, 2, 8], 0)],
    "streaks_above": [
        ([], 1),
        ([2, 2, 0, 2], 1),
        ([0, 5, 6, 7], 4),
        ([5, 0, 5, 5, 0], 4),
        ([5, 0, 5], 4, 1),
        ([1, 1, 1], 1),
    ],
}
