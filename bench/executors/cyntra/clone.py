"""The throwaway clone of one execution: branch main at the base commit, one open issue, a fresh kernel directory."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from bench.containment.fast_python import fast_python
from bench.executors.cyntra import lfs_filter
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


def borrowed_from(repo: Path) -> list[Path]:
    """What clones of ``repo`` read of it and of the user's home: objects, LFS files, the user's list of excludes."""
    places = [source_of(repo).objects]
    for place in places:
        # Objects may be borrowed in turn, as by a clone made with --reference.
        alternates = place / "info" / "alternates"
        lines = alternates.read_text().splitlines() if alternates.is_file() else []
        places += [path for line in lines if line and (path := (place / line).resolve()) not in places]
    excludes = setting(repo, EXCLUDES)
    return [*places, places[0].parent / "lfs", *([Path(excludes).expanduser()] if excludes else [])]


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
class Source:
    """What a clone takes over from its repo."""

    objects: Path
    object_format: str
    settings: str
    """Sections of a config file that a clone would not inherit."""
    shallow: bytes | None
    """Where the history ends in a shallow repo, as git's own file says it."""
    excludes: bytes
    """The repo's own patterns of files that git is to overlook."""


EXCLUDES = "core.excludesFile"
CARRIED = ("user.name", "user.email", EXCLUDES, "core.autocrlf", "core.eol", "core.symlinks")
"""Settings that hold in the repo, wherever they come from: an includeIf for its directory would not reach a clone."""


def _check_out(repo: Path, commit: str, clone: Path) -> None:
    """A repo that borrows the objects of ``repo``: `git clone --shared` without a remote, at half its cost."""
    source = source_of(repo)
    require_files(repo, commit)
    git(repo, "init", "--quiet", "--template=", "--initial-branch=main", *init_options(source), "--", str(clone))
    internals = clone / ".git"
    for path, content in (
        (internals / "objects" / "info" / "alternates", os.fsencode(source.objects) + b"\n"),
        (internals / "info" / "exclude", source.excludes),
        (internals / "shallow", source.shallow),
    ):
        if content:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    with (internals / "config").open("a", encoding="utf-8") as config:
        config.write(source.settings)
    git(clone, "checkout", "--quiet", "-B", "main", commit, "--")


def init_options(source: Source) -> list[str]:
    """The options of `git init` that follow from the repo; git before 2.29 knows SHA-1 only, and no such option."""
    return [] if source.object_format == "sha1" else [f"--object-format={source.object_format}"]


@cache
def source_of(repo: Path) -> Source:
    """Read once per process, for every execution makes a clone."""
    objects, shallow, excludes = (
        (repo / git(repo, "rev-parse", "--git-path", name)).resolve() for name in ("objects", "shallow", "info/exclude")
    )
    try:
        object_format = git(repo, "rev-parse", "--show-object-format")
    except subprocess.CalledProcessError:
        object_format = "sha1"
    sections = [
        f"[{section}]\n\t{key} = {quoted(value)}\n"
        for section, key in (name.split(".") for name in CARRIED)
        if (value := setting(repo, f"{section}.{key}"))
    ]
    # An agent's commit is to wait for nobody's passphrase, and to run none of the user's hooks.
    sections.append("[commit]\n\tgpgSign = false\n[tag]\n\tgpgSign = false\n[core]\n\thooksPath = /dev/null\n")
    return Source(
        objects,
        object_format,
        "".join([*sections, *_filters(repo, objects.parent / "lfs")]),
        shallow.read_bytes() if shallow.is_file() else None,
        excludes.read_bytes() if excludes.is_file() else b"",
    )


@cache
def require_files(repo: Path, commit: str) -> None:
    """BenchError when a partial clone lacks files of the commit: there is no remote here to get them from."""
    if not setting(repo, "extensions.partialClone") and not setting(repo, "remote.origin.promisor"):
        return
    listed = git(repo, "rev-list", "--objects", "--no-walk", "--no-object-names", "--missing=print", commit)
    missing = sum(line.startswith("?") for line in listed.splitlines())
    if missing:
        raise BenchError(
            f"{repo}: a partial clone that lacks {missing} files of {commit[:12]}: get them with "
            "`git fetch --refetch --no-filter origin`, then bench again"
        )


def _filters(repo: Path, store: Path) -> list[str]:
    """The repo's own filters, as a clone needs them; LFS without git-lfs is served from the repo's own store."""
    try:
        listed = git(repo, "config", "--null", "--get-regexp", r"^filter\.")
    except subprocess.CalledProcessError:
        return []
    lines = []
    for entry in listed.split("\0"):
        name, _, value = entry.partition("\n")
        _, _, rest = name.partition(".")
        driver, _, key = rest.rpartition(".")
        lines.append(f"[filter {quoted(driver)}]\n\t{key} = {quoted(value)}\n" if driver else "")
    if "filter.lfs." in listed and shutil.which("git-lfs") is None:
        program = shlex.join([*fast_python(), str(lfs_filter.__file__), str(store)])
        lines.append(f'[filter "lfs"]\n\tprocess = {quoted(program)}\n')
    return lines


def quoted(value: str) -> str:
    """A value as a git config file holds it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def setting(repo: Path, key: str) -> str:
    """A setting that holds in the repo; nothing when there is none."""
    try:
        return git(repo, "config", "--includes", "--get", key)
    except subprocess.CalledProcessError:
        return ""
