"""``planner clean``: delete what commands of ours wrote long ago and nothing needs any more."""

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import UsageError

UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def clean(
    repo: Annotated[Path, typer.Argument(help="Root of a Cyntra repo.")] = Path(),
    older_than: Annotated[
        str, typer.Option(help="Age since the last write: a number with m, h, d or w, for instance 30d.")
    ] = "30d",
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
) -> None:
    """Say what commands of the planner have written that is old and not needed, and delete it.

    That are trained runs but the newest and those that others started from, compare, ablate, tune, ledgers that --fresh
    set aside, what killed commands left half written, and copies of what lies at URIs. Datasets, the ledger, the bundle
    and whatever else lies there stay. Without --yes it asks at a terminal, and elsewhere deletes nothing.
    """
    from planner.commands.own_records import delete, plan_cleaning, size_text
    from planner.commands.repo_state import age
    from planner.display.console import give, note, say

    found = plan_cleaning(repo, seconds_of(older_than))
    for record in found.to_delete:
        say(f"{record.kind:<9} {size_text(record.bytes):>8}  {age(record.changed_s):>15}  {record.path}")
    for record, reason in found.left:
        note(f"left: {record.path}: {reason}")
    total = size_text(sum(record.bytes for record in found.to_delete))
    deleted = bool(found.to_delete) and (yes or _agrees(f"Delete these {len(found.to_delete)}, {total}?"))
    if not found.to_delete:
        say(f"nothing of ours is older than {older_than} and not needed")
    elif deleted:
        for record in found.to_delete:
            delete(record)
        say(f"deleted {len(found.to_delete)}, {total}")
    else:
        say(f"{len(found.to_delete)} would be deleted, {total}; nothing was: give --yes to delete them")
    give(
        "clean",
        {
            "deleted": deleted,
            "records": [asdict(record) for record in found.to_delete],
            "left": [{"path": record.path, "reason": reason} for record, reason in found.left],
        },
    )


def seconds_of(text: str) -> float:
    """The length that a number with a unit gives; UsageError for another text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"--older-than {text}: write a number with m, h, d or w, for instance 30d")
    return float(match[1]) * UNITS[match[2]]


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return typer.confirm(question, default=False, err=True)
