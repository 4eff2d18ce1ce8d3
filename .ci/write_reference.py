"""Writes docs/reference/commands.md from the command line itself (`make docs`); --check says whether it is current."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "commands.md"
HEAD = """# Commands

<!-- Written by .ci/write_reference.py from the code; `make docs` writes it again. -->

Every command, argument and option, as the code has them. `planner COMMAND --help` shows the same in a terminal.
"""


def main() -> None:
    """Write the page, or with --check end with 1 when it is not what the code says."""
    from planner.cli import app

    text = HEAD + "".join(sections(typer.main.get_command(app), None, "planner"))
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, "utf-8")
    elif TARGET.read_text("utf-8") != text:
        sys.exit(f"{TARGET.relative_to(ROOT)} is not what the code says: run `make docs` and commit the page")


def sections(command: Any, parent: Any, name: str) -> Iterator[str]:
    """Markdown of a command and of all below it."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    if hasattr(command, "list_commands"):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from sections(found, context, below)
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n## {context.command_path}\n\n{paragraphs(command.help or '')}\n\n"
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield from tables(command, context)


def tables(command: Any, context: Any) -> Iterator[str]:
    """A table of every section of the command's help."""
    found: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and record[0] != "--help":
            panel = getattr(param, "rich_help_panel", None)
            title = "Arguments" if param.param_type_name == "argument" else panel or "Options"
            found.setdefault(title, []).append(record)
    for title, records in found.items():
        yield f"\n| {title} | |\n| --- | --- |\n"
        for name, text in records:
            yield f"| `{cell(name)}` | {cell(text)} |\n"


def paragraphs(text: str) -> str:
    """The help's paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def cell(text: str) -> str:
    """A text as a table holds it."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
