"""The `planner` command. Thin: each command imports what it needs when it runs, so that --help stays quick."""

import atexit
import os
import re
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any

import typer

from bench.cli import add_commands as add_bench
from cluster.cli import add_commands as add_cluster
from planner.command_app import CommandApp
from planner.commands.advise import advise
from planner.commands.bundle import bundle_app, decide, export
from planner.commands.clean import clean
from planner.commands.config import config_app
from planner.commands.dataset import dataset_app
from planner.commands.explain import explain
from planner.commands.judge import calibrate, compare, evaluate
from planner.commands.setting_help import setting_sections
from planner.commands.show import show
from planner.commands.status import ls, status
from planner.commands.train import train
from planner.errors import INTERRUPTED_EXIT_CODE, UsageError
from planner.failed_command import INTERRUPTED, failure_of, unexpected, write_document, write_sentence
from planner.help_sections import FURTHER
from planner.manner import MANNER
from planner.places import NO_URI, OR_URI
from planner.standard_output import survive_closed_stdout
from tune.cli import add_commands as add_tune

_PLACE = re.compile(r"(?:^|=)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
app = CommandApp(name="planner", no_args_is_help=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"planner {version('cyntra-planner')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def planner(
    ctx: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Learn which topology and budgets a Cyntra kernel should give to each software issue.

    Alone it says what the repo here has, and which command comes next, as `planner status` does.
    """
    if ctx.invoked_subcommand is None:
        MANNER.take({})
        status()


add_bench(app)
app.add_typer(dataset_app, name="dataset")
for command in (status, ls, show, explain, clean, train, evaluate, advise, compare, calibrate, export, decide):
    app.command()(command)
FURTHER.update(dict.fromkeys(("train", "compare", "ablate"), setting_sections))
app.add_typer(bundle_app, name="bundle")
add_tune(app)
add_cluster(app)
app.add_typer(config_app, name="config")


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback."""
    survive_closed_stdout()
    words = sys.argv[1:]
    try:
        code = _run(words)
        if code == INTERRUPTED_EXIT_CODE:
            write_document(INTERRUPTED, words)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            write_document(unexpected(error), words)
            raise
        if MANNER.verbose:
            traceback.print_exc()
        write_sentence(error, failure)
        write_document(failure, words)
        code = failure.exit_code
    if code == INTERRUPTED_EXIT_CODE:
        _leave_at_once(INTERRUPTED_EXIT_CODE)
    sys.exit(code)


def _run(words: list[str]) -> int:
    """Do what the words ask for; the exit code."""
    _refuse_addresses(words)
    try:
        return app(prog_name="planner", standalone_mode=False) or 0
    except typer.Abort as abort:
        # Raised at a question, which Ctrl-C or the end of stdin answered.
        if isinstance(abort.__context__, KeyboardInterrupt):
            return INTERRUPTED_EXIT_CODE
        raise UsageError("stdin ended before the question was answered") from None


def _leave_at_once(code: int) -> None:
    """End with ``code`` after the exit handlers: Ray, interrupted while it starts, crashes when Python is torn down."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _refuse_addresses(words: list[str]) -> None:
    """UsageError for a place such as s3://bucket/data: it would become a directory called ``s3:`` here."""
    for before, word in zip(["", *words], words, strict=False):
        if before == "--":
            return
        is_address = before == "--address" or word.startswith("--address=")
        if _PLACE.search(word) and not is_address and not _takes_uri(words, before, word):
            raise UsageError(f"{word}: {NO_URI}")


def _takes_uri(words: list[str], before: str, word: str) -> bool:
    """Whether the word stands where its command takes a URI."""
    command: Any = typer.main.get_command(app)
    for name in words:
        if not hasattr(command, "commands") or name not in command.commands:
            break
        command = command.commands[name]
    options = {flag: param for param in getattr(command, "params", ()) for flag in param.opts}
    flag, _, _ = word.partition("=")
    named = options.get(flag) if word.startswith("-") else options.get(before) if before.startswith("-") else None
    if named is None or getattr(named, "is_flag", False):
        named = next((param for param in options.values() if param.param_type_name == "argument"), None)
    return OR_URI in str(getattr(named, "metavar", None))
