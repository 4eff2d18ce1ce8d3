"""Layout of text for people to read, of the sandbox's toolbox."""


def pad_columns(row: list[str], widths: list[int]) -> str:
    """The cells of a row, each padded to its width, joined by two blanks."""
    cells = []
    for position, width in enumerate(widths):
        cell = row[position] if position < len(row) else ""
        cells.append(cell[:width].ljust(width))
    return "  ".join(cells).rstrip()


def progress_bar(done: int, total: int, width: int = 10) -> str:
    """A bar such as [####......]; a full bar only when everything is done."""
    if total <= 0:
        return "[" + "." * width + "]"
    filled = done * width // total
    filled = max(0, min(filled, width))
    return "[" + "#" * filled + "." * (width - filled) + "]"


def ordinal(value: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th ..."""
    if 10 <= value % 100 <= 20:
        return str(value) + "th"
    last = value % 10
    if last == 1:
        return str(value) + "st"
    if last == 2:
        return str(value) + "nd"
    if last == 3:
        return str(value) + "rd"
    return str(value) + "th"


def join_words(words: list[str], last: str = "and") -> str:
    """Words as a sentence lists them: a, b and c."""
    if not words:
        return ""
    if len(words) == 1:
        return words[0]
    return ", ".join(words[:-1]) + " " + last + " " + words[-1]


def group_digits(value: int, size: int = 3, mark: str = ",") -> str:
    """The digits in groups counted from the right."""
    digits = str(abs(value))
    parts: list[str] = []
    while digits:
        parts.insert(0, digits[-size:])
        digits = digits[:-size]
    return ("-" if value < 0 else "") + mark.join(parts)


def indent_block(text: str, level: int, blanks: int = 4) -> str:
    """Every line that is not empty moved right by a number of levels."""
    lines = []
    for line in text.split("\n"):
        if line.strip():
            lines.append(" " * (level * blanks) + line)
        else:
            lines.append("")
    return "\n".join(lines)


def outline_numbers(levels: list[int]) -> list[str]:
    """Numbers such as 1, 1.1, 1.2, 2 for headings of the given levels (1 = top)."""
    counters: list[int] = []
    numbers = []
    for level in levels:
        while len(counters) > level:
            counters.pop()
        while len(counters) < level:
            counters.append(0)
        counters[level - 1] += 1
        numbers.append(".".join(str(counter) for counter in counters))
    return numbers


def center_title(title: str, width: int, fill: str = "=") -> str:
    """The title between fill characters; the odd one goes to the right."""
    inner = " " + title + " "
    if len(inner) >= width:
        return title
    left = (width - len(inner)) // 2
    right = width - len(inner) - left
    return fill * left + inner + fill * right


def ascii_chart(values: list[int], height: int = 4) -> list[str]:
    """Rows, top first, of a column chart scaled to a height."""
    top = max(values, default=0)
    if top <= 0:
        return []
    rows = []
    for level in range(height, 0, -1):
        row = ""
        for value in values:
            row += "#" if value * height >= level * top else " "
        rows.append(row.rstrip())
    return rows


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "pad_columns": [
        (["a", "b"], [3, 3]),
        (["abcdef", "b"], [3, 1]),
        (["a"], [2, 2]),
        ([], [1]),
        (["a", "bb", "c"], [1, 4, 2]),
    ],
    "progress_bar": [(0, 10), (5, 10), (10, 10), (99, 100), (3, 0), (15, 10), (-1, 10), (1, 3, 6)],
    "ordinal": [(1,), (2,), (3,), (4,), (10,), (11,), (12,), (13,), (20,), (21,), (22,), (103,), (111,), (19,), (9,)],
    "join_words": [([],), (["a"],), (["a", "b"],), (["a", "b", "c"],), (["x", "y"], "or")],
    "group_digits": [(0,), (999,), (1000,), (1234567,), (-12345,), (12345, 2, "."), (-7,)],
    "indent_block": [("a", 0), ("a\nb", 1), ("a\n\n  b", 2, 2), ("", 3), ("x", 1, 1)],
    "outline_numbers": [([],), ([1, 1],), ([1, 2, 2, 1, 2],), ([1, 2, 3, 2, 1],), ([1, 3, 2],)],
    "center_title": [("ab", 10), ("abc", 10), ("abc", 5), ("abc", 6), ("a", 7, "*"), ("long title", 4)],
    "ascii_chart": [([],), ([0, 0],), ([1, 2, 4],), ([4, 3, 2, 1], 2), ([5, 1, 3, 5],), ([10, 5], 3)],
}
