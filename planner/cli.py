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
from planner.errors import INTERRUPTED_EXIT_CODE, PlannerError, UsageError
from planner.help_sections import FURTHER
from planner.manner import MANNER
from planner.places import NO_URI, OR_URI
from planner.standard_output import survive_closed_stdout
from tune.cli import add_commands as add_tune

INSTALL = "in a checkout of the planner: pip install -c constraints.txt torch==2.13.0 '.[{extra}]'"
"""What the README installs; the package is on no index."""
_PLACE = re.compile(r"(?:^|=)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
EXTRAS = {"ray": "train", "torch": "train", "pyarrow": "train", "optuna": "train", "safetensors": "train"}
EXTRAS |= {"matplotlib": "bench", "jinja2": "bench"}

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
    try:
        _refuse_addresses(sys.argv[1:])
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED_EXIT_CODE:
            _leave_at_once(INTERRUPTED_EXIT_CODE)
        raise
    except PlannerError as error:
        if MANNER.verbose:
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        typer.echo(f"error: this needs {error.name}: {INSTALL.format(extra=extra)}", err=True)
        sys.exit(1)
    except OSError as error:
        # A disk that is full, a path that cannot be used: what, where, and no traceback.
        typer.echo(f"error: {error.filename or 'a file or stdout'}: {error.strerror or error}", err=True)
        sys.exit(1)


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
