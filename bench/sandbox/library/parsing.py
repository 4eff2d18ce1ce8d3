"""Reading small formats, of the sandbox's toolbox."""


def parse_bool(text: str) -> bool:
    """yes/true/on/1 and no/false/off/0, in any case."""
    word = text.strip().lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError("not a truth value")


def parse_pairs(text: str, separator: str = ";") -> dict[str, str]:
    """The pairs of "a=1; b=2"; what has no equals sign is left out, the last of equal keys wins."""
    pairs = {}
    for part in text.split(separator):
        if "=" not in part:
            continue
        name, value = part.split("=", 1)
        if name.strip():
            pairs[name.strip()] = value.strip()
    return pairs


def parse_version(text: str) -> tuple[int, int, int]:
    """The three numbers of "v1.2.3"; missing ones are 0."""
    parts = text.lstrip("v").split(".")
    if len(parts) > 3:
        raise ValueError("too many parts")
    numbers = [int(part) for part in parts]
    while len(numbers) < 3:
        numbers.append(0)
    return numbers[0], numbers[1], numbers[2]


def parse_duration(text: str) -> int:
    """Seconds of a duration such as 1h30m or 45s."""
    total = 0
    number = ""
    for letter in text:
        if letter.isdigit():
            number += letter
        elif number and letter in "hms":
            factor = 3600 if letter == "h" else 60 if letter == "m" else 1
            total += int(number) * factor
            number = ""
        else:
            raise ValueError("not a duration")
    if number:
        raise ValueError("a unit is missing")
    return total


def parse_range(text: str) -> list[int]:
    """The numbers of a list such as 1-3,7."""
    numbers: list[int] = []
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        if "-" in part:
            first, last = part.split("-")
            numbers.extend(range(int(first), int(last) + 1))
        else:
            numbers.append(int(part))
    return numbers


def split_csv_line(line: str, quote: str = '"') -> list[str]:
    """The fields of a comma-separated line; commas inside quotes do not separate."""
    fields = []
    field = ""
    inside = False
    for letter in line:
        if letter == quote:
            inside = not inside
        elif letter == "," and not inside:
            fields.append(field)
            field = ""
        else:
            field += letter
    fields.append(field)
    return fields


def matching_bracket(text: str, start: int = 0) -> int:
    """The position of the bracket that closes the one at start; -1 when there is none."""
    if start >= len(text) or text[start] != "(":
        return -1
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "(":
            depth += 1
        elif text[position] == ")":
            depth -= 1
            if depth == 0:
                return position
    return -1


def evaluate_sum(text: str) -> int:
    """The value of whole numbers joined by + and -, left to right."""
    total = 0
    sign = 1
    number = ""
    for letter in text.replace(" ", "") + "+":
        if letter.isdigit():
            number += letter
            continue
        if letter not in "+-":
            raise ValueError("not a sum")
        if number:
            total += sign * int(number)
            sign = 1
            number = ""
        if letter == "-":
            sign = -sign
    return total


def parse_ini(text: str) -> dict[str, dict[str, str]]:
    """Sections of name = value lines; comments start with #, what precedes the first section is dropped."""
    sections: dict[str, dict[str, str]] = {}
    current = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1].strip()
            sections.setdefault(current, {})
        elif "=" in line and current:
            name, value = line.split("=", 1)
            sections[current][name.strip()] = value.strip()
    return sections


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "parse_bool": [("yes",), (" TRUE ",), ("0",), ("off",), ("maybe",), ("",)],
    "parse_pairs": [("",), ("a=1",), ("a=1; b = 2 ;c",), ("a=1=2",), ("=3",), ("a=1,b=2", ","), ("a=1;a=2",)],
    "parse_version": [("1",), ("v1.2",), ("1.2.3",), ("1.2.3.4",), ("v10.0.7",), ("x",)],
    "parse_duration": [("",), ("45s",), ("1h30m",), ("2h1m5s",), ("10",), ("h",), ("5x",), ("100m",)],
    "parse_range": [("",), ("5",), ("1-3",), ("1-3,7",), (" 2 , 4-4,9-8",), ("1,,2",)],
    "split_csv_line": [("",), ("a,b",), ('"a,b",c',), ("a,,b",), ("'x,y',z", "'"), ("a,b,",)],
    "matching_bracket": [("()",), ("(a(b)c)d",), ("(a(b)c)d", 2), ("((",), ("",), ("x()",), ("x()", 1), ("()", 2)],
    "evaluate_sum": [("",), ("5",), ("1+2",), ("10 - 3 - 2",), ("-4+1",), ("2--3",), ("1*2",), ("7-12+100",)],
    "parse_ini": [
        ("",),
        ("a=1",),
        ("[s]\na = 1\n# c\nb=2=3",),
        ("[ s ]\n[t]\nx=\n[s]\ny=1",),
        ("[s\na=1",),
        ("[s]\nnothing",),
    ],
}
