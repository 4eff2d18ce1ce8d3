"""Random damage to documents and bytes."""

import random
from typing import Any

import orjson

from tests.planner.mutations import places, replaced, without

HUGE = "9" * 400
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    "",
    "x" * 3000,
    "\u0000",
    "9999-12-31T23:59:59-12:00",
    -1,
    0,
    1e308,
    2**53 + 1,
    2**63 - 1,
    4611686018427387904,
    [],
    {},
    [[]],
    [["code"]],
    list(range(1, 400)),
    {"if": {"job_type": [["code"]]}, "then": {}},
)


def damaged(draw: random.Random, document: Any, most: int = 3) -> Any:
    """A copy with up to ``most`` values replaced, removed or doubled."""
    for _ in range(draw.randint(1, most)):
        found = list(places(document))
        if not found:
            return document
        path = draw.choice(found)
        document = without(document, path) if draw.random() < 0.2 else replaced(document, path, draw.choice(HOSTILE))
    return document


def damaged_bytes(draw: random.Random, data: bytes) -> bytes:
    """The bytes cut, with some changed, or with a number that no machine holds in the place of one."""
    if not data:
        return b"\xff"
    way, at = draw.randrange(5), draw.randrange(len(data))
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + bytes(draw.randrange(256) for _ in range(draw.randint(1, 8))) + data[at + 4 :]
    if way == 2:
        return data[:at] + data[draw.randrange(len(data)) :]
    digits = [place for place, byte in enumerate(data) if byte in b"0123456789"]
    at = draw.choice(digits) if digits else at
    return data[:at] + (HUGE.encode() if way == 3 else b"1e999") + data[at + 1 :]


def text_of(document: Any) -> str:
    """The document as JSON, or as Python shows it where JSON has no place for it."""
    try:
        return orjson.dumps(document).decode()
    except (TypeError, ValueError):
        return repr(document)
