"""Finding and selecting, of the sandbox's toolbox."""


def binary_search(values: list[int], wanted: int) -> int:
    """The position of a value in a rising list; -1 when it is missing."""
    low, high = 0, len(values) - 1
    while low <= high:
        middle = (low + high) // 2
        if values[middle] == wanted:
            return middle
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return -1


def insertion_point(values: list[int], new: int) -> int:
    """The first position at which a rising list stays rising with a new value."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < new:
            low = middle + 1
        else:
            high = middle
    return low


def count_between(values: list[int], low: int, high: int) -> int:
    """How many values lie strictly between two limits."""
    return sum(1 for value in values if low < value < high)


def closest_value(values: list[int], target: int) -> int:
    """The value nearest to a target; of two equally near ones the smaller."""
    best = values[0]
    for value in values[1:]:
        gap = abs(value - target)
        best_gap = abs(best - target)
        if gap < best_gap or (gap == best_gap and value < best):
            best = value
    return best


def find_all(text: str, part: str, overlapping: bool = True) -> list[int]:
    """Where a part begins in a text."""
    positions = []
    position = 0
    while part and position + len(part) <= len(text):
        if text[position : position + len(part)] == part:
            positions.append(position)
            position += 1 if overlapping else len(part)
        else:
            position += 1
    return positions


def wildcard_match(pattern: str, text: str) -> bool:
    """Whether a pattern with ? (one letter) and * (any letters) fits the whole text."""
    fits = [True] + [False] * len(text)
    for sign in pattern:
        following = [fits[0] and sign == "*"]
        for position, letter in enumerate(text):
            if sign == "*":
                following.append(fits[position + 1] or following[position])
            else:
                following.append(fits[position] and (sign == "?" or sign == letter))
        fits = following
    return fits[-1]


def knapsack(items: list[tuple[int, int]], capacity: int) -> int:
    """The largest value of (weight, value) items, each at most once, within a capacity."""
    best = [0] * (capacity + 1)
    for weight, value in items:
        for room in range(capacity, weight - 1, -1):
            candidate = best[room - weight] + value
            if candidate > best[room]:
                best[room] = candidate
    return best[capacity]


def longest_common_part(first: str, second: str) -> str:
    """The longest text that both contain; the first found of equally long ones."""
    best_end, best_length = 0, 0
    lengths = [0] * (len(second) + 1)
    for row, letter in enumerate(first):
        for column in range(len(second), 0, -1):
            if letter == second[column - 1]:
                lengths[column] = lengths[column - 1] + 1
            else:
                lengths[column] = 0
            if lengths[column] > best_length:
                best_end, best_length = row + 1, lengths[column]
    return first[best_end - best_length : best_end]


def fuzzy_rank(query: str, names: list[str], limit: int = 3) -> list[str]:
    """Names that hold the letters of a query in order, the tightest first, then by name."""
    scored = []
    for name in names:
        position = -1
        start = -1
        found = True
        for letter in query:
            position = name.find(letter, position + 1)
            if position < 0:
                found = False
                break
            if start < 0:
                start = position
        if found:
            scored.append((position - start, name))
    return [name for _, name in sorted(scored)[:limit]]


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "binary_search": [
        ([], 1),
        ([1], 1),
        ([1, 3, 5], 5),
        ([1, 3, 5], 1),
        ([1, 3, 5], 4),
        ([1, 3, 5, 7], 7),
        ([2, 4, 6, 8], 4),
        ([2, 4, 6, 8], 9),
    ],
    "insertion_point": [([], 1), ([1, 3], 2), ([1, 3, 3, 5], 3), ([1, 3], 9), ([1, 3], 0), ([2, 4, 6, 8], 7)],
    "count_between": [([], 0, 9), ([1, 2, 3], 1, 3), ([5, 5, 6], 4, 6), ([1, 9], 0, 10), ([3], 3, 9)],
    "closest_value": [
        ([5], 1),
        ([1, 9], 4),
        ([1, 7], 4),
        ([7, 1], 4),
        ([2, 8, 5], 6),
        ([-3, 10, 4], 0),
        ([4, 6, 5], 5),
    ],
    "find_all": [
        ("", "a"),
        ("aaa", "aa"),
        ("aaa", "aa", False),
        ("abcabc", "c"),
        ("abc", ""),
        ("abab", "ab", False),
        ("xyz", "xyz"),
    ],
    "wildcard_match": [
        ("", ""),
        ("a", "a"),
        ("?", "a"),
        ("*", ""),
        ("a*c", "abbc"),
        ("a*c", "abb"),
        ("a?c", "ac"),
        ("*b*", "abc"),
        ("**", "xy"),
        ("ab", "a"),
        ("?*", ""),
    ],
    "knapsack": [
        ([], 5),
        ([(3, 4), (4, 5), (2, 3)], 6),
        ([(5, 9)], 4),
        ([(5, 9)], 5),
        ([(1, 2), (1, 3), (1, 1)], 2),
        ([(2, 3)], 7),
    ],
    "longest_common_part": [
        ("", "a"),
        ("abcde", "xbcdy"),
        ("aaa", "aa"),
        ("abc", "xyz"),
        ("xay", "bay"),
        ("one two", "two one"),
    ],
    "fuzzy_rank": [
        ("", ["b", "a"]),
        ("ac", ["abc", "ac", "ca"]),
        ("st", ["test", "set", "best", "s_t", "sat"]),
        ("x", ["a"]),
        ("ab", ["axxb", "axb", "ab"], 2),
        ("aa", ["aba", "a"]),
    ],
}
