"""The throwaway clone of one execution: branch main at the base commit, one open issue, a fresh kernel directory."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from bench.planning.git import git
from planner.contracts.bench import BenchCase
from planner.errors import BenchError


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


@dataclass(frozen=True)
class _Source:
    """What a clone takes over from its repo."""

    objects: Path
    object_format: str
    user: str
    """The repo's own user as a section of a config file, which a clone would not inherit; agents commit under it."""


def _check_out(repo: Path, commit: str, clone: Path) -> None:
    """A repo that borrows the objects of ``repo``: `git clone --shared` without a remote, at half its cost."""
    source = _source(repo)
    git(repo, "init", "--quiet", "--template=", "--initial-branch=main", *_init_options(source), "--", str(clone))
    alternates = clone / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_bytes(os.fsencode(source.objects) + b"\n")
    with (clone / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(source.user)
    git(clone, "checkout", "--quiet", "-B", "main", commit, "--")


def _init_options(source: _Source) -> list[str]:
    """The options of `git init` that follow from the repo; git before 2.29 knows SHA-1 only, and no such option."""
    return [] if source.object_format == "sha1" else [f"--object-format={source.object_format}"]


@cache
def _source(repo: Path) -> _Source:
    """Read once per process, for every execution makes a clone."""
    objects = (repo / git(repo, "rev-parse", "--git-path", "objects")).resolve()
    try:
        object_format = git(repo, "rev-parse", "--show-object-format")
    except subprocess.CalledProcessError:
        object_format = "sha1"
    values = {key: value for key in ("name", "email") if (value := _setting(repo, f"user.{key}"))}
    lines = [f"\t{key} = {_quoted(value)}\n" for key, value in values.items()]
    return _Source(objects, object_format, f"[user]\n{''.join(lines)}" if lines else "")


def _quoted(value: str) -> str:
    """A value as a git config file holds it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _setting(repo: Path, key: str) -> str:
    """A setting of the repo itself; nothing when it has none."""
    try:
        return git(repo, "config", "--local", key)
    except subprocess.CalledProcessError:
        return ""
