"""Where the kernel's program is, and where its tools are looked for."""

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from planner.artifacts.toolchains import find_command
from planner.errors import BenchError

TOOL_DIRECTORIES = "planner.tool_directories"
"""Entry points by name of a kernel's command: functions that return the directory of the tools it brings along."""


def find_kernel(words: Sequence[str], extra_path: Sequence[Path]) -> tuple[tuple[str, ...], str]:
    """The kernel's command line with an absolute program, and the PATH on which it and its tools are looked for.

    ``extra_path`` directories come before the user's PATH; BenchError when the kernel is not there.
    """
    search_path = os.pathsep.join([*map(str, extra_path), os.environ.get("PATH", os.defpath)])
    program = find_command(words[0], search_path)
    if program is None:
        raise BenchError(
            f"{words[0]!r} is not on PATH: install Cyntra, or name its command with --cyntra (in a sandbox repo: "
            "cyntra-sandbox)"
        )
    return (str(Path(program).absolute()), *words[1:]), search_path


def tool_directories(command: Sequence[str]) -> list[Path]:
    """Where the tools are that the kernel called ``command`` brings along; nowhere for the real one."""
    found = entry_points(group=TOOL_DIRECTORIES, name=Path(command[0]).name)
    return [entry.load()() for entry in found]
