"""git as the bench calls it: without hooks, prompts, or the caller's git variables."""

import os
import subprocess
from pathlib import Path

from planner.errors import BenchError

_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


def git(directory: Path, *arguments: str) -> str:
    """Run git in ``directory`` and return its stdout, stripped; CalledProcessError with its stderr otherwise."""
    try:
        done = subprocess.run(
            ["git", *_NO_HOOKS, *arguments],
            cwd=directory,
            env=_git_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
        )
    except FileNotFoundError:
        raise BenchError(f"cannot run git in {directory}: install git, or check that the directory exists") from None
    return done.stdout.strip()


def _git_environment() -> dict[str, str]:
    """Ours without git's own variables: GIT_DIR and its kin would send git to another repo."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
