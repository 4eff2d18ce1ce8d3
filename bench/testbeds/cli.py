"""Commands that make repos to try the planner on: ``planner simulate`` and ``planner sandbox``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from planner.checked import room_at
from planner.command_app import CommandApp

sandbox_app = CommandApp(help="A small real repo to run against, for machines without Cyntra.")


def add_commands(app: typer.Typer) -> None:
    """Mount both."""
    app.command()(simulate)
    app.add_typer(sandbox_app, name="sandbox")


def simulate(
    directory: Annotated[Path, typer.Argument(help="Where the repo's artifacts go; must not exist or be empty.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs of the history.")] = 5000,
    issues: Annotated[int, typer.Option(min=1, help="Issues that were worked on.")] = 800,
    open_issues: Annotated[int, typer.Option("--open", min=0, help="Further issues, never run, for the bench.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the artifacts of a Cyntra repo whose runs were drawn from a model, in seconds and without any agent.

    `planner dataset build` reads it like a real one; `planner bench --executor simulate` draws what its open issues
    would have come to under other actions. It is a test bed: it says nothing about real agents.
    """
    room_at(directory)
    from bench.testbeds.simulation.repo import simulate_repo
    from planner.display.console import give, say
    from planner.display.progress import StageBars

    with StageBars() as bars:
        made = simulate_repo(
            directory, runs=runs, issues=issues, open_issues=open_issues, seed=seed, progress=bars.update
        )
    say(
        f"{directory}: {made.runs} runs ({made.passed} passed) of {made.issues} issues in {made.days} days, "
        f"{made.open_issues} open issues"
    )
    give("simulate", {"repo": str(directory), **asdict(made)})


@sandbox_app.command("create")
def sandbox_create(
    directory: Annotated[Path, typer.Argument(help="Where the repo goes; must not exist or be empty.")],
    issues: Annotated[int, typer.Option(min=1, help="Injected bugs, one issue each.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same repo.")] = 0,
    runs: Annotated[int, typer.Option(min=0, help="Runs of the stand-in kernel to make as history.")] = 0,
    worlds: Annotated[int, typer.Option(min=0, help="Worlds to evolve, one world job each.")] = 0,
) -> None:
    """Write a git repo with a buggy Python package, issues, a Cyntra config and a universe."""
    room_at(directory)
    from bench.testbeds.sandbox.create import create_sandbox
    from bench.testbeds.sandbox.record import record_history
    from planner.display.console import give, say
    from planner.display.progress import StageBars

    create_sandbox(directory, issues=issues, seed=seed, worlds=worlds)
    if runs:
        with StageBars() as bars:
            record_history(directory, runs=runs, seed=seed, progress=lambda done, n: bars.update("record", done, n))
    say(f"{directory}: {issues} issues, {worlds} worlds, {runs} runs recorded")
    give("sandbox_create", {"repo": str(directory), "issues": issues, "worlds": worlds, "runs": runs})


@sandbox_app.command("tools")
def sandbox_tools() -> None:
    """Print the directory of the scripted repair tools, for PATH."""
    from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir
    from planner.display.console import give, say

    say(str(toolchain_dir()))
    give("sandbox_tools", {"directory": str(toolchain_dir())})
