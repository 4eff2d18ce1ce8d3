"""Systematic damage to JSON documents: what a full disk, another version or a hostile hand makes of them."""

import copy
from collections.abc import Iterator
from typing import Any

WRONG: tuple[Any, ...] = (None, [], {}, "", "text", -1, 3, 0.5, True, [[]], {"a": 1})
"""Values of every JSON type; at any place most of them are of the wrong one."""


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside ``document``."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def without(document: Any, path: tuple[Any, ...]) -> Any:
    """A copy of ``document`` that lacks the value at ``path``."""
    changed = copy.deepcopy(document)
    del _parent(changed, path)[path[-1]]
    return changed


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of ``document`` with ``value`` at ``path``."""
    changed = copy.deepcopy(document)
    _parent(changed, path)[path[-1]] = value
    return changed


def _parent(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document
