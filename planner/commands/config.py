"""``planner config show``: what a project file sets here."""

from pathlib import Path
from typing import Annotated

import typer

from planner.command_app import CommandApp
from planner.options import COMMANDS, resolve

config_app = CommandApp(help="The options that commands take here.")


@config_app.command("show")
def config_show(
    repo: Annotated[Path, typer.Argument(help="Root of a repo, or a directory in it.")] = Path(),
) -> None:
    """Print every option that a project file can set, its value here, and where that comes from."""
    for command in COMMANDS:
        for key, setting in resolve(command, {}, repo).settings.items():
            typer.echo(f"{command}.{key} = {setting.value} ({setting.origin})")
