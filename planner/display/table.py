"""Tables that fit: a value is never cut; what a terminal has no room for is left out and named."""

import os
import sys
from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Column, Table

from planner.display.console import Results, say
from planner.manner import MANNER

BORDER = 1
"""Cells that each column takes beside its own, and the table once more."""


def print_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    keep: int = 1,
    first: Sequence[str] = (),
    ends: Collection[int] = (),
) -> None:
    """Print rows under titles, as many columns as the terminal has room for, all with --wide or where stdout is none.

    The first ``keep`` columns are always there, then those named in ``first``, then the others from the left, those
    without any value last. A line is drawn after the rows whose numbers are in ``ends``.
    """
    widths = [max([cell_len(name), *(cell_len(row[at]) for row in rows)]) for at, name in enumerate(titles)]
    room = room_for_tables()
    empty = [name for at, name in enumerate(titles) if rows and all(row[at] in ("-", "") for row in rows)]
    wanted = [name for name in first if name not in empty]
    chosen = list(range(len(titles))) if room is None else fitting(titles, widths, room, keep, wanted, last=empty)
    table = Table(
        *(Column(escape(titles[at]), no_wrap=at >= keep, overflow="fold") for at in chosen),
        title=title,
        title_justify="left",
        padding=(0, 0),
    )
    for number, row in enumerate(rows):
        table.add_row(*(escape(row[at]) for at in chosen))
        if number in ends:
            table.add_section()
    needed = max(sum(widths[at] + BORDER for at in chosen) + BORDER, len(title or ""))
    Results(width=needed if room is None else min(room, needed)).print(table)
    if left_out := [titles[at] for at in range(len(titles)) if at not in chosen]:
        say(f"left out for want of room: {', '.join(left_out)} (--wide and --json have them)")


def fitting(
    titles: Sequence[str], widths: Sequence[int], room: int, keep: int, first: Sequence[str], last: Sequence[str] = ()
) -> list[int]:
    """The columns that fit into ``room`` cells, in the order of the table."""
    rank = {name: at for at, name in enumerate(first)} | {name: len(titles) + at for at, name in enumerate(last)}
    by_need = sorted(range(keep, len(titles)), key=lambda at: (rank.get(titles[at], len(first)), at))
    chosen, used = list(range(keep)), BORDER + sum(width + BORDER for width in widths[:keep])
    for at in by_need:
        if used + widths[at] + BORDER <= room:
            chosen.append(at)
            used += widths[at] + BORDER
    return sorted(chosen)


def room_for_tables() -> int | None:
    """Cells in a line of the terminal; None where nothing limits a line."""
    if MANNER.wide:
        return None
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    return os.get_terminal_size(sys.stdout.fileno()).columns if _is_terminal() else None


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except (ValueError, AttributeError):
        return False
