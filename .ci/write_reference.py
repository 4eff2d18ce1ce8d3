"""Writes pages of docs/reference from the code, and planner/terms.json from the glossary.

`make docs` runs it; --check says whether both are current.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import typer

from planner.command_help import EXAMPLES

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
TERMS = ROOT / "planner" / "terms.json"
WRITTEN = "<!-- Written by .ci/write_reference.py from the code; `make docs` writes it again. -->"
COMMANDS = f"""# Commands

{WRITTEN}

Every command, argument and option, as the code has them. `planner COMMAND --help` shows the same in a terminal.
"""


TABLES = f"""# Tables of an exported bench

{WRITTEN}

`planner export-table LEDGER --out FOLDER` writes these Parquet files; each file says what its columns mean too, in
the metadata of its fields. `planner bench FOLDER --executor replay --full --ledger NEW.sqlite` gives the same cases
with the same outcomes. With `--recorded trials` it replays outcomes.parquet instead: there the outcomes of all actions
follow from single runs of agents, of which a case needs `--trials`.

With `--hash-identifiers` the folder can be given away: ids, words, paths and names of tools that are not the
kernel's own are hashes, the same name the same hash in the whole folder, by a key that is thrown away;
titles, logs and other free text are left out. Times, costs, priorities, sizes, swarms and what passed stay.

"""


def main() -> None:
    """Write the pages, or with --check end with 1 when one is not what the code says."""
    from bench.tables.columns import TABLES as ALL
    from bench.tables.export import describe
    from planner.cli import app

    pages = {
        REFERENCE / "commands.md": COMMANDS + "".join(sections(typer.main.get_command(app), None, "planner")),
        REFERENCE / "tables.md": TABLES + "\n".join(describe(table) for table in ALL),
        TERMS: orjson.dumps(glossary(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode(),
    }
    for path, text in pages.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            sys.exit(f"{path.relative_to(ROOT)} is not what its source says: run `make docs` and commit the file")


def glossary() -> dict[str, str]:
    """Every word of docs/glossary.md with its meaning, as plain text: what `planner explain` has."""
    found = {}
    for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines():
        cells = [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 2 and cells[0] not in ("word", "---"):
            word, meaning = (plain(one) for one in cells)
            found[word] = meaning
    return found


def plain(text: str) -> str:
    """Markdown of a cell without its marks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("*", "").replace("`", "")


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
    if examples := EXAMPLES.get(context.command_path.partition(" ")[2]):
        yield "\n```text\n" + "".join(f"{line}\n" for line in examples) + "```\n"


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
