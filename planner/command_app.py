"""The command line's Typer: every command of ours is one kind of command, however it is mounted."""

from collections.abc import Callable
from typing import Any

import typer

from planner.help_sections import PlannerCommand


class CommandApp(typer.Typer):
    """A Typer whose commands are PlannerCommands, with plain help.

    Rich would swallow every "[default: ...]" as markup, and takes longer to start.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """See typer.Typer.command."""
        return super().command(name, cls=PlannerCommand, **settings)
