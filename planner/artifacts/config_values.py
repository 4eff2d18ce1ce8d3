"""Typed values out of a config: one of another type is an error that names file, place, value and remedy."""

import re
from collections.abc import Mapping
from typing import Any

from planner.artifacts.lenient import MAX_NUMBER
from planner.errors import ArtifactError


class ConfigReader:
    """Typed values out of a config; every method raises ArtifactError for a value of another type."""

    def __init__(self, source: str) -> None:
        self._source = source

    def wrong(self, place: str, value: Any, remedy: str) -> ArtifactError:
        """The error for a value that cannot be used."""
        found = "nothing" if value is None else _shown(value)
        return ArtifactError(f"{self._source}: {place}: found {found}: {remedy}")

    def mapping(self, parent: Mapping[str, Any], place: str, key: str) -> dict[str, Any]:
        """An empty mapping for null."""
        value = parent.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(_join(place, key), value, "write a mapping")
        return value

    def truth(self, parent: Mapping[str, Any], place: str, key: str, default: bool) -> bool:
        """null is no, as for Cyntra."""
        value = parent.get(key, default)
        if value is not None and not isinstance(value, bool | int):
            raise self.wrong(_join(place, key), value, "write true or false")
        return bool(value)

    def whole(self, parent: Mapping[str, Any], place: str, key: str, default: int) -> int:
        """A whole number, ``default`` where there is no such key."""
        value = parent.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_NUMBER:
            raise self.wrong(_join(place, key), value, f"write a whole number, such as {default}, or leave it out")
        return value

    def count(self, parent: Mapping[str, Any], place: str, key: str) -> int | None:
        """A number that Cyntra cuts to a whole one; digits in quotes will do. None when it is absent or null."""
        value = parent.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,15}\s*", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
            raise self.wrong(_join(place, key), value, "write a whole number without a unit, such as 60")
        return int(value)

    def number(self, parent: Mapping[str, Any], place: str, key: str, default: float) -> float:
        """Any number that is one."""
        value = parent.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
            raise self.wrong(_join(place, key), value, f"write a number, such as {default}, or leave it out")
        return float(value)

    def names(self, parent: Mapping[str, Any], place: str, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of names; Cyntra makes text of numbers."""
        value = parent.get(key, list(default) or None)
        if value is None and not default:
            return ()
        if not isinstance(value, list) or any(not isinstance(name, str | int | float) for name in value):
            raise self.wrong(_join(place, key), value, "write a list of toolchains' names, such as [codex, claude]")
        return tuple(map(str, value))

    def text(self, parent: Mapping[str, Any], place: str, key: str) -> str | None:
        """None when it is absent, null or empty."""
        value = parent.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(_join(place, key), value, "write text; put numbers and yes or no in quotes")
        return value or None

    def mappings(self, parent: Mapping[str, Any], place: str, key: str) -> list[dict[str, Any]]:
        """A list of mappings; empty when it is absent or null."""
        value = parent.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            raise self.wrong(_join(place, key), value, "write a list of mappings")
        return value or []

    def items(self, parent: Mapping[str, Any], place: str, key: str) -> tuple[Any, ...]:
        """A list of anything."""
        value = parent.get(key)
        if not isinstance(value, list):
            raise self.wrong(_join(place, key), value, "write a list, such as [high, critical]")
        return tuple(value)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _shown(value: Any, limit: int = 40) -> str:
    """A scalar as it stands, of anything else the kind."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of more digits than can be read"
    return text if len(text) <= limit else f"{text[:limit]}…"
