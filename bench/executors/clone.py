"""The throwaway clone of one execution: branch main at the base commit, one open issue, a fresh kernel directory."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from planner.contracts import BenchCase
from planner.errors import BenchError

_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


def make_clone(repo: Path, case: BenchCase, issue: Mapping[str, Any], clone: Path, *, copy_universes: bool) -> None:
    """Make ``clone`` from ``repo`` for one run of the case's issue; BenchError when git cannot.

    Objects are shared with the repo, not linked or copied; there is no remote, so that no push reaches the repo.
    """
    try:
        _check_out(repo, case.base_commit, clone)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"cannot clone {repo} at {case.base_commit}: {error.stderr.strip()}") from None
    for name in (".beads", ".cyntra"):
        _remove(clone / name)
        (clone / name).mkdir()
    # The issue alone: its blockers and dependents would be scheduled with it.
    try:
        line = orjson.dumps(open_issue(issue, case))
    except TypeError as error:
        raise BenchError(f"issue {case.issue_id!r} cannot be written again: {error}") from None
    (clone / ".beads" / "issues.jsonl").write_bytes(line + b"\n")
    (clone / ".beads" / "deps.jsonl").touch()
    if copy_universes and (repo / "universes").is_dir():
        _remove(clone / "universes")
        shutil.copytree(repo / "universes", clone / "universes", symlinks=True)


def _remove(path: Path) -> None:
    """Remove what the repo has under a name that is ours, and not what a link there leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def open_issue(issue: Mapping[str, Any], case: BenchCase) -> dict[str, Any]:
    """The issue as it was in the case's context: open, with that many attempts, and more allowed."""
    attempts = case.context.issue.dk_attempts
    allowed = issue.get("dk_max_attempts")
    return {
        **issue,
        "id": case.issue_id,
        "status": "open",
        "dk_attempts": attempts,
        # Two more: at the maximum Cyntra escalates the issue to a human instead of ending the run.
        "dk_max_attempts": max(allowed if isinstance(allowed, int) else 3, attempts + 2),
    }


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


def _check_out(repo: Path, commit: str, clone: Path) -> None:
    options = ("--quiet", "--shared", "--no-checkout", "--single-branch", "--branch=main", "--template=")
    git(repo, "clone", *options, *_identity(repo), "--", str(repo), str(clone))
    git(clone, "checkout", "--quiet", "-B", "main", commit, "--")
    git(clone, "remote", "remove", "origin")


@cache
def _identity(repo: Path) -> tuple[str, ...]:
    """Options that give a clone the repo's own user, whom it does not inherit; agents commit under that name.

    Read once per process: every execution makes a clone.
    """
    values = {key: _setting(repo, key) for key in ("user.name", "user.email")}
    return tuple(f"--config={key}={value}" for key, value in values.items() if value)


def _setting(repo: Path, key: str) -> str:
    """A setting of the repo itself; nothing when it has none."""
    try:
        return git(repo, "config", "--local", key)
    except subprocess.CalledProcessError:
        return ""


def _git_environment() -> dict[str, str]:
    """Ours without git's own variables: GIT_DIR and its kin would send git to another repo."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
