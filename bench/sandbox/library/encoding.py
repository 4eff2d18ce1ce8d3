"""Encodings and checksums, of the sandbox's toolbox."""


def run_length_encode(text: str) -> str:
    """Each run of a letter as its length and the letter; a single letter stands alone."""
    encoded = ""
    position = 0
    while position < len(text):
        end = position
        while end < len(text) and text[end] == text[position]:
            end += 1
        count = end - position
        encoded += (str(count) if count > 1 else "") + text[position]
        position = end
    return encoded


def run_length_decode(text: str) -> str:
    """What run_length_encode was given."""
    decoded = ""
    number = ""
    for letter in text:
        if letter.isdigit():
            number += letter
        else:
            decoded += letter * (min(int(number), 99) if number else 1)
            number = ""
    return decoded


def hex_dump(data: list[int], width: int = 4) -> list[str]:
    """Lines of an offset and hexadecimal bytes."""
    lines = []
    for start in range(0, len(data), width):
        cells = [f"{value:02x}" for value in data[start : start + width]]
        lines.append(f"{start:04x}: " + " ".join(cells))
    return lines


def checksum16(data: list[int]) -> int:
    """Fletcher's 16-bit checksum."""
    low = 0
    high = 0
    for value in data:
        low = (low + value) % 255
        high = (high + low) % 255
    return high * 256 + low


def pack_bits(flags: list[bool]) -> int:
    """The flags as bits of a number, the first one lowest."""
    number = 0
    for position, flag in enumerate(flags):
        if flag:
            number += 1 << position
    return number


def gray_code(value: int) -> int:
    """The Gray code: neighbours differ in a single bit."""
    code = 0
    place = 1
    while value > 0:
        bit = (value % 2 + value // 2 % 2) % 2
        code += bit * place
        place *= 2
        value //= 2
    return code


def escape_text(text: str, quote: str = "'") -> str:
    """The text between quotes; quotes, backslashes and line ends inside are escaped."""
    body = ""
    for letter in text:
        if letter == quote or letter == "\\":
            body += "\\" + letter
        elif letter == "\n":
            body += "\\n"
        else:
            body += letter
    return quote + body + quote


def encode_varint(value: int) -> list[int]:
    """Seven bits a byte, lowest first; all but the last byte have 128 added."""
    if value < 0:
        raise ValueError("value must not be negative")
    encoded: list[int] = []
    while value >= 128 and len(encoded) < 12:
        encoded.append(value % 128 + 128)
        value //= 128
    encoded.append(value)
    return encoded


def decode_varint(data: list[int], start: int = 0) -> tuple[int, int]:
    """(value, position after it) of a number written by encode_varint."""
    value = 0
    shift = 1
    position = start
    while position < len(data):
        byte = data[position]
        value += byte % 128 * shift
        position += 1
        if byte < 128:
            return value, position
        shift *= 128
    raise ValueError("the number is cut")


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "run_length_encode": [("",), ("a",), ("aab",), ("abccc",), ("aaaaaaaaaaaa",), ("abab",)],
    "run_length_decode": [("",), ("a",), ("2ab",), ("ab3c",), ("12a",), ("2a3bc",)],
    "hex_dump": [([],), ([1, 255],), ([0, 16, 32, 48, 64],), ([7, 8, 9], 2), (list(range(20)), 16)],
    "checksum16": [([],), ([1],), ([1, 2, 3],), ([255, 254],), ([200, 100, 50],), ([128, 128, 1],)],
    "pack_bits": [([],), ([True],), ([False, True],), ([True, False, True, True],), ([False, False],)],
    "gray_code": [(0,), (1,), (2,), (3,), (7,), (10,), (100,)],
    "escape_text": [("",), ("a'b",), ("a\\b",), ("a\nb",), ("a'b", '"'), ('a"b', '"')],
    "encode_varint": [(0,), (127,), (128,), (300,), (16384,), (-1,), (16383,)],
    "decode_varint": [([0],), ([172, 2],), ([9, 172, 2, 7], 1), ([128],), ([],), ([127, 1],), ([128, 128, 1],)],
}
