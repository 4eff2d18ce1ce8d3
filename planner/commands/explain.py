"""``planner explain``: what a column of a table or a word means."""

from importlib.resources import files
from typing import Annotated

import typer

from planner.errors import UsageError


def explain(
    term: Annotated[
        list[str] | None, typer.Argument(help="A column's title or a word. [default: lists them]", show_default=False)
    ] = None,
) -> None:
    """Explain a column of a table, or a word, as docs/glossary.md has it.

    Without a word it lists those there are.
    """
    from planner.display.console import give, say

    wanted = " ".join(term or [])
    found = meanings(wanted) if wanted else {word: "" for word in all_terms()}
    for word, meaning in found.items():
        say(f"{word}: {meaning}" if meaning else word)
    give("explain", {"terms": {word: all_terms()[word] for word in found}})


def meanings(wanted: str) -> dict[str, str]:
    """The terms that are called so, else those that have it in their name; UsageError where there is none."""
    terms, low = all_terms(), wanted.lower()
    exact = {
        name: meaning
        for name, meaning in terms.items()
        if low in [name.lower(), *(part.strip().lower() for part in name.partition(" (")[0].split(","))]
    }
    found = exact or {name: meaning for name, meaning in terms.items() if low in name.lower()}
    if not found:
        raise UsageError(f"{wanted}: no such word; `planner explain` lists those there are")
    return found


def all_terms() -> dict[str, str]:
    """Every word of docs/glossary.md -> its meaning; written by `make docs`."""
    import orjson

    terms: dict[str, str] = orjson.loads((files("planner") / "terms.json").read_bytes())
    return terms
