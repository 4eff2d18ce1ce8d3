"""Help of a command in sections with examples, and of a group in the order of the work."""

from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from planner.command_help import BELOW, EXAMPLES, SECTIONS, order

HOW_IT_SPEAKS = "How it speaks"
"""The last section: the options that every command has."""
OTHERS = "Others"
FURTHER: dict[str, Callable[[], dict[str, list[tuple[str, str]]]]] = {}
"""Command -> makes further sections of its help, title -> rows; called only when the help is asked for."""


class PlannerCommand(TyperCommand):
    """A command whose help shows every option in the section that its ``rich_help_panel`` names, and its examples.

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
        further = FURTHER.get(ctx.command_path.partition(" ")[2], dict)()
        for name, records in {**sections, **further}.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own that can be copied."""
        lines = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
        if lines:
            formatter.write("\nExamples:\n" + "".join(f"  {line}\n" for line in lines))


class PlannerGroup(TyperGroup):
    """A group that lists its commands in the order of the work, the first level in sections."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, those that command_help does not know at the end."""
        known = {name: at for at, name in enumerate(order())}
        return sorted(super().list_commands(ctx), key=lambda name: known.get(name, len(known)))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a whole sentence for each command."""
        path = ctx.command_path.partition(" ")[2]
        sentences = {name.removeprefix(f"{path} "): text for name, text in BELOW.items() if name.startswith(f"{path} ")}
        sections = {"Commands": sentences} if path else SECTIONS
        names = self.list_commands(ctx)
        known = {name for commands in sections.values() for name in commands}
        others = {name: self._first_sentence(ctx, name) for name in names if name not in known}
        for title, commands in {**sections, OTHERS: others}.items():
            rows = [(name, commands[name]) for name in names if name in commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=WIDEST_NAME)

    def _first_sentence(self, ctx: Any, name: str) -> str:
        command = self.get_command(ctx, name)
        return ((command.help if command is not None else None) or "").partition("\n\n")[0].replace("\n", " ")


WIDEST_NAME = max(len(name) for name in order()) + 2
