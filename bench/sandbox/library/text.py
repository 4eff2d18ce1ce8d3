"""Words and characters of the sandbox's toolbox."""


def count_vowels(text: str) -> int:
    """How many letters are vowels, in either case."""
    total = 0
    for letter in text.lower():
        if letter in "aeiou":
            total += 1
    return total


def is_palindrome(text: str) -> bool:
    """Whether the letters and digits read the same both ways."""
    kept = [letter for letter in text.lower() if letter.isalnum()]
    left, right = 0, len(kept) - 1
    while left < right:
        if kept[left] != kept[right]:
            return False
        left += 1
        right -= 1
    return True


def title_case(text: str) -> str:
    """Every word with a capital, except small words inside."""
    words = text.lower().split()
    result = []
    for position, word in enumerate(words):
        if position > 0 and word in ("of", "and", "the", "a"):
            result.append(word)
        else:
            result.append(word[:1].upper() + word[1:])
    return " ".join(result)


def truncate(text: str, width: int, mark: str = "...") -> str:
    """The text cut to a width, the mark included."""
    if len(text) <= width:
        return text
    if width <= len(mark):
        return mark[:width]
    return text[: width - len(mark)] + mark


def wrap_words(text: str, width: int) -> list[str]:
    """Lines of whole words, none longer than the width unless a word is."""
    lines = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        elif line:
            line = line + " " + word
        else:
            line = word
    if line:
        lines.append(line)
    return lines


def caesar_shift(text: str, shift: int = 3) -> str:
    """Lower-case letters moved along the alphabet; everything else stays."""
    letters = []
    for letter in text:
        if "a" <= letter <= "z":
            letters.append(chr((ord(letter) - 97 + shift) % 26 + 97))
        else:
            letters.append(letter)
    return "".join(letters)


def longest_word(text: str) -> str:
    """The longest word; the first of equally long ones."""
    best = ""
    for word in text.split():
        if len(word) > len(best):
            best = word
    return best


def common_prefix(words: list[str]) -> str:
    """The longest beginning shared by all words."""
    if not words:
        return ""
    shortest = min(len(word) for word in words)
    length = 0
    while length < shortest and all(word[length] == words[0][length] for word in words):
        length += 1
    return words[0][:length]


def edit_distance(source: str, target: str) -> int:
    """Levenshtein's distance: insertions, deletions and replacements all cost 1."""
    previous = list(range(len(target) + 1))
    for row, letter in enumerate(source):
        current = [row + 1]
        for column, other in enumerate(target):
            replace = previous[column] + (0 if letter == other else 1)
            insert = current[column] + 1
            delete = previous[column + 1] + 1
            current.append(min(replace, insert, delete))
        previous = current
    return previous[-1]


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "count_vowels": [("",), ("xyz",), ("Apple",), ("AEIOU aeiou",), ("rhythm of",)],
    "is_palindrome": [
        ("",),
        ("a",),
        ("Abba",),
        ("ab",),
        ("A man, a plan: Panama",),
        ("abca",),
        ("no lemon, no melon",),
    ],
    "title_case": [("",), ("the rise of rome",), ("A TALE and a half",), ("of mice and men",), ("go",)],
    "truncate": [
        ("hello", 10),
        ("hello", 5),
        ("hello world", 8),
        ("hello", 3),
        ("hello", 2),
        ("hello", 4),
        ("abcdefgh", 5, "~"),
    ],
    "wrap_words": [("", 5), ("one", 2), ("one two three", 7), ("one two three", 8), ("a bb ccc dddd", 4), ("a b c", 3)],
    "caesar_shift": [("",), ("abc",), ("xyz",), ("Hello, z!", 1), ("dry", -3), ("mno", 29)],
    "longest_word": [("",), ("a bb cc",), ("ccc bb a",), ("one three seven",), ("tiny enormous big",)],
    "common_prefix": [
        ([],),
        (["abc"],),
        (["abc", "abd"],),
        (["ab", "abc"],),
        (["x", "y"],),
        (["flow", "flower", "flour"],),
    ],
    "edit_distance": [("", ""), ("a", ""), ("", "abc"), ("kitten", "sitting"), ("flaw", "lawn"), ("same", "same")],
}
