"""How the bench's own small programs are started: as fast as Python can, for they run in every execution."""

import shlex
import sys
from pathlib import Path
from types import ModuleType

LONGEST_SHEBANG = 120
"""Older Linux kernels cut a script's first line at 127 bytes."""


def fast_python() -> list[str]:
    """The start of a command line for a program that needs nothing but the standard library.

    Without site-packages, and by the interpreter behind the virtual environment, Python starts in a third of the time.
    """
    return [str(Path(sys.executable).resolve()), "-S", "-E"]


def fast_module(program: ModuleType) -> list[str]:
    """The start of a command line that calls ``program.main`` with the list of the arguments that follow.

    ``program`` is imported, so that its compiled code is found; it and what it imports may import the standard library
    and each other alone.
    """
    root = Path(str(program.__file__)).parents[program.__name__.count(".")]
    code = f"import sys; sys.path[0] = {str(root)!r}; from {program.__name__} import main; main(sys.argv[1:])"
    return [*fast_python(), "-c", code]


def fast_script(program: ModuleType, *arguments: str) -> str:
    """The text of an executable file that calls ``program.main(*arguments)``.

    ``program`` is imported, not copied, so that its compiled code is found; it may import the standard library alone.
    """
    directory = str(Path(str(program.__file__)).parent)
    name = program.__name__.rpartition(".")[2]
    return (
        f"{_first_lines(fast_python())}import sys\n"
        f"sys.path[0] = {directory!r}\n"
        f"import {name}\n"
        f"{name}.main({', '.join(map(repr, arguments))})\n"
    )


def _first_lines(command: list[str]) -> str:
    shebang = f"#!{command[0]} {command[1]}{command[2].removeprefix('-')}\n"
    if len(shebang.encode()) <= LONGEST_SHEBANG and len(shebang.split()) == 2:
        return shebang
    # A path too long for the first line, or with a space: sh reads these lines as a command, Python as a string.
    return f"#!/bin/sh\n'''exec' {shlex.join(command)} \"$0\" \"$@\"\n' '''\n"
