"""Checks of identifiers and forms, of the sandbox's toolbox."""


def luhn_valid(number: str) -> bool:
    """Whether a card number satisfies Luhn's rule."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit)
        if position % 2 == 1:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0 and len(number) > 1


def isbn10_valid(number: str) -> bool:
    """Whether the check digit of a ten-digit book number is right."""
    digits = number.replace("-", "")
    if len(digits) != 10:
        return False
    total = 0
    for position, digit in enumerate(digits):
        value = 10 if digit == "X" and position == 9 else int(digit) if digit.isdigit() else -1
        if value < 0:
            return False
        total += value * (10 - position)
    return total % 11 == 0


def ean13_check_digit(number: str) -> int:
    """The last digit that belongs to the first twelve of a product number."""
    if len(number) != 12:
        raise ValueError("twelve digits are needed")
    total = 0
    for position, digit in enumerate(number):
        total += int(digit) * (3 if position % 2 == 1 else 1)
    return (10 - total % 10) % 10


def password_strength(password: str, shortest: int = 8) -> int:
    """0 to 4: one point each for length, a lower and an upper letter together, a digit, another character."""
    points = 0
    if len(password) >= shortest:
        points += 1
    if password.lower() != password and password.upper() != password:
        points += 1
    if any(letter.isdigit() for letter in password):
        points += 1
    if any(not letter.isalnum() for letter in password):
        points += 1
    return points


def plausible_email(text: str) -> bool:
    """One @ with something before it and a dotted domain after it."""
    if text.count("@") != 1 or " " in text:
        return False
    user, domain = text.split("@")
    if not user or len(domain) < 3:
        return False
    return "." in domain and not domain.startswith(".") and not domain.endswith(".")


def valid_ip(text: str) -> bool:
    """Four numbers from 0 to 255 without leading zeros."""
    parts = text.split(".")
    if len(parts) != 4:
        return False
    for part in parts:
        if not part.isdigit() or (len(part) > 1 and part[0] == "0"):
            return False
        if int(part) > 255:
            return False
    return True


def balanced_brackets(text: str) -> bool:
    """Whether round, square and curly brackets close in the right order."""
    closing = {")": "(", "]": "[", "}": "{"}
    opened = []
    for letter in text:
        if letter in "([{":
            opened.append(letter)
        elif letter in closing:
            if not opened or opened[-1] != closing[letter]:
                return False
            opened.pop()
    return not opened


def form_errors(form: dict[str, int], limits: dict[str, tuple[int, int]], optional: list[str]) -> list[str]:
    """The names of missing fields and of fields outside their limits, in the order of the limits."""
    errors = []
    for name, (low, high) in limits.items():
        if name not in form:
            if name not in optional:
                errors.append(name)
        elif form[name] < low or form[name] > high:
            errors.append(name)
    return errors


def username_problem(name: str, taken: list[str], shortest: int = 3, longest: int = 12) -> str:
    """What is wrong with a name: "short", "long", "start", "letters", "taken"; empty when nothing is."""
    if len(name) < shortest:
        return "short"
    if len(name) > longest:
        return "long"
    if not name[0].isalpha():
        return "start"
    for letter in name:
        if not letter.isalnum() and letter != "_":
            return "letters"
    if name.lower() in [other.lower() for other in taken]:
        return "taken"
    return ""


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "luhn_valid": [
        ("79927398713",),
        ("79927398710",),
        ("0",),
        ("00",),
        ("4539148803436467",),
        ("18",),
        ("59",),
        ("91",),
    ],
    "isbn10_valid": [("0-306-40615-2",), ("0306406153",), ("080442957X",), ("08044295X7",), ("123",), ("0306a06152",)],
    "ean13_check_digit": [("400638133393",), ("000000000000",), ("123",), ("590123412345",), ("111111111111",)],
    "password_strength": [
        ("",),
        ("abcdefgh",),
        ("Abcdefg1",),
        ("Ab1!",),
        ("Abcdef1!x",),
        ("ABCDEFGH",),
        ("a1", 2),
        ("abcdefg",),
    ],
    "plausible_email": [
        ("a@b.c",),
        ("@b.c",),
        ("a@bc",),
        ("a@@b.c",),
        ("a b@c.d",),
        ("a@.c",),
        ("a@b.",),
        ("ab.c",),
        ("a@.bc",),
        ("a@bc.",),
    ],
    "valid_ip": [
        ("1.2.3.4",),
        ("0.0.0.0",),
        ("255.255.255.255",),
        ("256.1.1.1",),
        ("1.2.3",),
        ("01.2.3.4",),
        ("a.2.3.4",),
        ("1.2.3.4.5",),
        ("10.20.30.40",),
    ],
    "balanced_brackets": [("",), ("()",), ("([{}])",), ("(]",), ("((",), ("a)b",), ("(a[b]c){}",)],
    "form_errors": [
        ({}, {}, []),
        ({"a": 5}, {"a": (1, 5)}, []),
        ({"a": 6}, {"a": (1, 5)}, []),
        ({"a": 1}, {"a": (1, 5)}, []),
        ({"a": 0}, {"a": (1, 5)}, ["a"]),
        ({}, {"a": (1, 5), "b": (0, 1)}, ["b"]),
        ({"b": 3}, {"a": (1, 2), "b": (0, 1)}, []),
    ],
    "username_problem": [
        ("ab", []),
        ("abc", []),
        ("a" * 12, []),
        ("a" * 13, []),
        ("1abc", []),
        ("a-bc", []),
        ("Bob", ["bob"]),
        ("a_b", ["x"]),
        ("abcd", [], 5),
        ("abcdef", ["ABCDEF"], 3, 6),
        ("dave", ["eve", "dave2"]),
    ],
}
