"""Systematic damage to JSON documents: what a full disk, another version or a hostile hand makes of them."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

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


def damaged_copy(dataset: Path, target: Path, **changes: Any) -> Path:
    """A copy of the dataset with other values in dataset.json."""
    shutil.copytree(dataset, target)
    document = orjson.loads((target / "dataset.json").read_bytes())
    (target / "dataset.json").write_bytes(orjson.dumps({**document, **changes}))
    return target


def _parent(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document
