"""A command of the command line: its help in sections."""

from typing import Any

from typer.core import TyperCommand

HOW_IT_SPEAKS = "How it speaks"
"""The last section: the options that every command has."""


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
        if HOW_IT_SPEAKS in sections:
            sections[HOW_IT_SPEAKS] = sections.pop(HOW_IT_SPEAKS)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)
