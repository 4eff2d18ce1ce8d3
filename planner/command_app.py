"""The command line's Typer: every command has the same options of speech, and one answer to Ctrl-C."""

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from planner.errors import Interrupted
from planner.help_sections import HOW_IT_SPEAKS, PlannerCommand, PlannerGroup
from planner.manner import MANNER

EVERYWHERE = (
    ("as_json", ["--json"], "Print the result as one JSON document on stdout, instead of tables and sentences."),
    ("wide", ["--wide"], "Print tables with all their columns, however wide the terminal is."),
    ("quiet", ["--quiet", "-q"], "Print no progress and no notes on stderr; errors still."),
    ("verbose", ["--verbose", "-v"], "Print where an error was raised, and what Ray says."),
)
"""Field of Manner, its flags, and its sentence of help."""
GOES_ON = ("quickstart", "bench", "train", "tune", "compare", "ablate", "run", "evolve")
"""Commands that go on where they stopped."""


class CommandApp(typer.Typer):
    """A Typer whose commands have the options of EVERYWHERE, and plain help in sections.

    Rich would swallow every "[default: ...]" as markup, and takes longer to start.
    """

    def __init__(self, **settings: Any) -> None:
        given = {"no_args_is_help": True, **settings}
        super().__init__(cls=PlannerGroup, rich_markup_mode=None, pretty_exceptions_enable=False, **given)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """See typer.Typer.command."""
        mount = super().command(name, cls=PlannerCommand, **settings)

        def decorate(function: Callable[..., None]) -> Callable[..., None]:
            mount(_speaking(function))
            return function

        return decorate


def _speaking(function: Callable[..., None]) -> Callable[..., None]:
    """The function with the options of EVERYWHERE, which set MANNER before it runs."""
    own = inspect.signature(function).parameters

    @functools.wraps(function)
    def run(**values: Any) -> None:
        MANNER.take({field: values.pop(field) for field, _, _ in EVERYWHERE})
        try:
            function(**values)
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped. {_what_goes_on(function.__name__)}") from None

    options = [_option(*one) for one in EVERYWHERE]
    return with_parameters(run, [*own.values(), *options])


def with_parameters(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The function itself, which now declares these parameters: typer makes the command line of them."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # inspect reads it, no type has it
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _option(field: str, flags: list[str], sentence: str) -> inspect.Parameter:
    info = typer.Option(*flags, help=sentence, rich_help_panel=HOW_IT_SPEAKS)
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, info])


def _what_goes_on(name: str) -> str:
    command = shlex.join(["planner", *(word for word in sys.argv[1:] if word != "--fresh")])
    if name in GOES_ON:
        return f"This goes on from here: {command}"
    return f"Nothing half done is left; this begins again: {command}"
