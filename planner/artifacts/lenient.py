"""Values out of JSON that nobody has validated: what does not have the expected type is absent."""

from typing import Any

from planner.contracts.document import timestamp_to_ms

MAX_NUMBER = 2**53
"""Larger numbers are no measurement of anything, and JSON does not carry them exactly."""

LAST_MS = 253_402_300_799_999
"""The end of the year 9999, UTC: no timestamp can be written for a later moment."""


def section(document: dict[str, Any] | None, *keys: str) -> dict[str, Any]:
    """The mapping at ``document[key][key]…``; empty when anything on the way is missing or no mapping."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def moment(document: dict[str, Any], key: str) -> int | None:
    """``document[key]`` as ms since the epoch, UTC; None when it is absent, no timestamp, or not from 1970 to 9999."""
    value = document.get(key)
    if not isinstance(value, str):
        return None
    try:
        ms = timestamp_to_ms(value)
    except (ValueError, OverflowError):
        return None
    return ms if 0 <= ms <= LAST_MS else None


def number(document: dict[str, Any], key: str) -> float | None:
    """``document[key]`` when it is a number from 0 to MAX_NUMBER, else None."""
    value = document.get(key)
    return (
        value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER else None
    )


def string(document: dict[str, Any] | None, key: str) -> str | None:
    """``document[key]`` when it is a string, else None."""
    value = (document or {}).get(key)
    return value if isinstance(value, str) else None


def mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings in a list; empty when ``value`` is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def strings(value: Any) -> list[str]:
    """The strings in a list; empty when ``value`` is no list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
