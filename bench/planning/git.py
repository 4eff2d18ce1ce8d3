"""git as the bench calls it: without hooks, prompts, or the caller's git variables."""

import os
import subprocess
from pathlib import Path

from planner.errors import BenchError

_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


def git(directory: Path, *arguments: str) -> str:
    """Run git in ``directory`` and return its stdout, stripped; CalledProcessError with its stderr otherwise."""
    return git_bytes(directory, *arguments).decode("utf-8", "replace").strip()


def git_bytes(directory: Path, *arguments: str, given: bytes = b"") -> bytes:
    """The same for what is no text; ``given`` is its stdin."""
    try:
        return subprocess.run(
            ["git", *_NO_HOOKS, *arguments],
            cwd=directory,
            env=_git_environment(),
            input=given,
            capture_output=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        raise BenchError(f"cannot run git in {directory}: install git, or check that the directory exists") from None
    except subprocess.CalledProcessError as error:
        error.stderr = error.stderr.decode("utf-8", "replace")
        raise


def _git_environment() -> dict[str, str]:
    """Ours without git's own variables: GIT_DIR and its kin would send git to another repo."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
