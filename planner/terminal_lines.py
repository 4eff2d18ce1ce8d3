"""Long lines of prose, broken at spaces to the width of a terminal. In files and pipes they stay one line."""

import os
import re
import textwrap
from typing import IO

_WHOLE = re.compile(r"`[^`\n]*`|(?:(?<=[:,] )|(?<=  )|^)planner (?:(?!, ).)*")
"""What is not broken, because it is to be copied: words in backticks, and a command up to a comma or the end."""
_MARGIN = re.compile(r" *(?:\S+ {2,})?")
"""What further lines stand under: the indent, or the second of two columns."""
_NO_BREAK = "\0"


def as_shown(text: str, stream: IO[str] | None) -> str:
    """``text`` as ``stream`` shows it best; words longer than a line, such as paths, stay whole."""
    width = _width(stream)
    if width is None or all(len(line) <= width for line in text.split("\n")):
        return text
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    guarded = _WHOLE.sub(lambda found: found[0].replace(" ", _NO_BREAK), line)
    margin = " " * min(len(_MARGIN.match(line)[0]), width // 3)  # type: ignore[index] # it matches every line
    broken = textwrap.fill(
        guarded,
        width,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        expand_tabs=False,
    )
    return broken.replace(_NO_BREAK, " ")


def _width(stream: IO[str] | None) -> int | None:
    """Letters in a line of the terminal; None where the stream is none."""
    try:
        if stream is None or not stream.isatty():
            return None
        given = os.environ.get("COLUMNS", "")
        return int(given) if given.isdigit() else os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
