"""``planner config show``: what a project file sets here."""

from dataclasses import asdict
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
    from planner.display.console import give, say

    found = {command: resolve(command, {}, repo).settings for command in COMMANDS}
    for command, settings in found.items():
        for key, setting in settings.items():
            say(f"{command}.{key} = {setting.value} ({setting.origin})")
    give("config_show", {"settings": {name: {k: asdict(s) for k, s in one.items()} for name, one in found.items()}})
