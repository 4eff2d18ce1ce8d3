"""A command of the command line: its help in sections, and one answer to Ctrl-C."""

import shlex
import sys
from typing import Any

import typer
from typer.core import TyperCommand

from planner.errors import INTERRUPTED_EXIT_CODE


class PlannerCommand(TyperCommand):
    """A command whose help shows every option in the section that its ``rich_help_panel`` names.

    Typer itself shows sections only where rich prints the help. They come in the order of their first options.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                name = "Arguments" if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
                sections.setdefault(name or "Options", []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with a sentence that names the command which goes on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(f"Stopped. {_what_goes_on(ctx.command_path)}", err=True)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


GOES_ON = ("quickstart", "bench", "train", "tune", "compare", "ablate", "run", "evolve")
"""Commands that go on where they stopped."""


def _what_goes_on(command_path: str) -> str:
    name = command_path.partition(" ")[2]
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    command = shlex.join(["planner", *words])
    if name in GOES_ON:
        return f"This goes on from here: {command}"
    return f"Nothing half done is left; this begins again: {command}"
