"""What a command that failed says: one sentence on stderr, and with --json one document on stdout."""

import io
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson

from planner.errors import INTERRUPTED_EXIT_CODE, Interrupted, PlannerError, UsageError
from planner.standard_output import is_untouched
from planner.terminal_lines import as_shown

INSTALL = "in a checkout of the planner: pip install -c constraints.txt torch==2.13.0 '.[{extra}]'"
"""What the README installs; the package is on no index."""
EXTRAS = {"ray": "train", "torch": "train", "pyarrow": "train", "optuna": "train", "safetensors": "train"}
EXTRAS |= {"matplotlib": "bench", "jinja2": "bench"}


@dataclass(frozen=True)
class Failure:
    """Why a command did not do what was asked; the schema ``command_error.v1``."""

    kind: str
    """The name of the error: one of planner.errors, of Python, or UsageError for a wrong command line."""
    message: str
    """What was found, where, and what to do about it."""
    exit_code: int


def failure_of(error: Exception) -> Failure | None:
    """What an error comes to that a user can mend; None for another, which is a mistake of ours."""
    kind = type(error).__name__
    if isinstance(error, PlannerError):
        return Failure(kind, str(error), error.exit_code)
    if (of_command_line := getattr(error, "format_message", None)) is not None:
        return Failure(UsageError.__name__, of_command_line(), getattr(error, "exit_code", UsageError.exit_code))
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        return None if extra is None else Failure(kind, f"this needs {error.name}: {INSTALL.format(extra=extra)}", 1)
    if isinstance(error, OSError):
        # A disk that is full, a path that cannot be used.
        return Failure("OSError", f"{error.filename or 'a file or stdout'}: {error.strerror or error}", 1)
    return None


def write_sentence(error: Exception, failure: Failure) -> None:
    """Write on stderr what failed, for a person."""
    prefix = "" if isinstance(error, Interrupted) else "error: "
    text = f"{prefix}{failure.message}\n"
    if (show := getattr(error, "show", None)) is not None:
        with_usage = io.StringIO()
        show(with_usage)
        text = with_usage.getvalue()
    print(as_shown(text, sys.stderr), end="", file=sys.stderr)


def write_document(failure: Failure, words: Sequence[str]) -> None:
    """Write on stdout what failed, for a program whose command line ``words`` ask for JSON.

    Nothing where something stands there already: a program reads one document.
    """
    own = words[: words.index("--")] if "--" in words else words
    if "--json" not in own or not is_untouched():
        return
    document = {"schema_version": "planner.error.v1", **asdict(failure)}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    sys.stdout.flush()


def unexpected(error: BaseException) -> Failure:
    """That of a mistake of ours, whose traceback is shown too."""
    return Failure(type(error).__name__, str(error), 1)


INTERRUPTED = Failure(Interrupted.__name__, "Stopped.", INTERRUPTED_EXIT_CODE)
"""That of Ctrl-C outside of a command."""
