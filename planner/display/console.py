"""The terminal itself: results on stdout, notes on stderr, and numbers as short as they can be."""

import sys
from typing import Any

import orjson
from rich.console import Console

from planner.manner import MANNER
from planner.terminal_lines import as_shown

PIPED_WIDTH = 150
"""Columns of tables that go to a file: a readable width."""


class Results(Console):
    """stdout, for what a person reads of a result; nothing where the result is printed as JSON instead."""

    def print(self, *objects: Any, **how: Any) -> None:
        """See rich.console.Console.print."""
        if not MANNER.as_json:
            super().print(*objects, **how)


console = Results(width=None if sys.stdout is not None and sys.stdout.isatty() else PIPED_WIDTH)
notes = Console(stderr=True)


def say(text: str) -> None:
    """A line of a result, on stdout: no markup, no colours; on a terminal broken between words, never within one."""
    console.print(as_shown(text, console.file), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line that is no part of a result, on stderr: where numbers went, what comes next. --quiet leaves it out."""
    if not MANNER.quiet:
        notes.print(as_shown(text, notes.file), markup=False, highlight=False, soft_wrap=True)


def give(name: str, document: dict[str, Any]) -> None:
    """With --json: print a command's result, the document of the schema ``command_NAME.v1``; else nothing."""
    if MANNER.as_json:
        text = orjson.dumps(
            {"schema_version": f"planner.{name}.v1", **document},
            default=str,
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY,
        )
        sys.stdout.write(text.decode())
        sys.stdout.flush()


def _short(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
