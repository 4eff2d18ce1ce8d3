"""``planner status`` and ``ls``: what a repo has, and the next sensible command."""

from pathlib import Path
from typing import Annotated

import typer

RepoRoot = Annotated[Path, typer.Argument(help="Root of a Cyntra repo.")]


def status(repo: RepoRoot = Path()) -> None:
    """Say what a repo has, what of it is out of date, and which command comes next.

    The same as `planner` alone.
    """
    from planner.commands.repo_state import age, read_state
    from planner.display.console import give, say

    state = read_state(repo)
    say(f"repo      {repo.absolute()}")
    if state.is_cyntra_repo:
        newest = "" if state.runs.newest_s is None else f"; the newest {age(state.runs.newest_s)}"
        say(f"runs      {state.runs.archives} of issues, {state.runs.world_runs} of worlds{newest}")
    for dataset in state.datasets:
        since = f"; {dataset.new_runs} runs since" if dataset.new_runs else ""
        counts = ", ".join(f"{n} {name}" for name, n in dataset.examples.items())
        say(f"dataset   {dataset.path}: {counts}; built {age(dataset.built_s)}{since}")
    for run in state.trained[:SHOWN]:
        say(f"run       {run.path}: {run.policy}, {_came_to(run.state, run.epochs)}, {age(run.written_s)}")
        if run.stale:
            say(f"          stale: {run.stale}")
    if len(state.trained) > SHOWN:
        say(f"          and {len(state.trained) - SHOWN} older ones: planner ls")
    if (ledger := state.ledger) is not None:
        counted = f"{ledger.cases} cases, {ledger.finished} executions, {ledger.faults} faults"
        counted += f", {ledger.planned} still planned" if ledger.planned else ""
        say(f"bench     {ledger.path}: {ledger.trouble or counted}; {age(ledger.written_s)}")
    if (bundle := state.bundle) is not None:
        say(f"bundle    {bundle.path}: {bundle.checkpoint_id}, {age(bundle.exported_s)}")
        if bundle.stale:
            say(f"          stale: {bundle.stale}")
    for study in state.studies:
        say(f"study     {study}")
    say(f"next      {state.next_command}")
    say(f"          {state.why}")
    give("status", state.to_json())


SHOWN = 3
"""Trained runs that the status names; `ls` has all."""


def ls(repo: RepoRoot = Path()) -> None:
    """List what commands of the planner have written in a repo: kind, size, age and name."""
    from dataclasses import asdict

    from planner.commands.own_records import own_records, size_text
    from planner.commands.repo_state import age
    from planner.display.console import give, say

    records = own_records(repo)
    for record in records:
        say(f"{record.kind:<9} {size_text(record.bytes):>8}  {age(record.changed_s):>15}  {record.path}")
    if not records:
        say(f"{repo.absolute()}: no command of the planner has written here yet")
    give("ls", {"records": [asdict(record) for record in records]})


def _came_to(state: str, epochs: int) -> str:
    if state == "finished":
        return "finished"
    return f"{state} after {epochs} epoch{'s' if epochs != 1 else ''}"
