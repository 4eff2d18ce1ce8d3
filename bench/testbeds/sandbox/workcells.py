"""Workcells of the stand-in kernel: git worktrees in which tools run, and their archives."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.testbeds.sandbox.beads import repo_lock
from bench.testbeds.sandbox.documents import Cell, Patch, write_json

WORKCELLS = ".workcells"
_ARCHIVED = (".workcell", "manifest.json", "prompt.md", "proof.json", "rollout.json", "telemetry.jsonl")


class MissingMainError(Exception):
    """The repo has no local branch named main."""


def main_commit(repo_root: Path) -> str:
    """The commit of the local branch `main`."""
    done = _git(repo_root, "rev-parse", "--verify", "--quiet", "refs/heads/main", check=False)
    if done.returncode != 0:
        raise MissingMainError(f"{repo_root}: no local branch named main; create it with `git branch main`")
    return done.stdout.strip()


def new_workcell_id(repo_root: Path, kernel_dir: Path, issue_id: str, speculate_tag: str | None) -> str:
    """wc-<issue>-<UTC second>[-spec-<tool>], with a number behind it when that is taken."""
    second = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    first = f"wc-{issue_id}-{second}" + (f"-{speculate_tag}" if speculate_tag else "")
    workcell_id, number = first, 1
    while (kernel_dir / "archives" / workcell_id).exists() or (repo_root / WORKCELLS / workcell_id).exists():
        number += 1
        workcell_id = f"{first}-{number}"
    return workcell_id


def open_workcell(repo_root: Path, cell: Cell) -> None:
    """Make the worktree on a branch of its own and the file that marks it."""
    branch = _git_branch(cell)
    with repo_lock(repo_root):
        _git(repo_root, "worktree", "add", "--quiet", "-b", branch, str(cell.path), cell.base_commit)
    (cell.path / "logs").mkdir(exist_ok=True)
    marker: dict[str, Any] = {
        "id": cell.workcell_id,
        "issue_id": str(cell.issue["id"]),
        "created": branch.split("/")[2][:16],
        "parent_commit": cell.base_commit,
        "speculate_tag": cell.speculate_tag,
        "branch_name": branch,
    }
    write_json(cell.path / ".workcell", marker)


def read_patch(cell: Cell) -> Patch:
    """What the tool committed since the base commit."""
    head = _git(cell.path, "rev-parse", "HEAD").stdout.strip()
    files, insertions, deletions = [], 0, 0
    if head != cell.base_commit:
        for line in _git(cell.path, "diff", "--numstat", cell.base_commit, head).stdout.splitlines():
            added, removed, name = line.split("\t")
            files.append(name)
            insertions += int(added) if added.isdigit() else 0
            deletions += int(removed) if removed.isdigit() else 0
    return Patch(head, tuple(files), insertions, deletions)


def archive_workcell(kernel_dir: Path, cell: Cell) -> Path:
    """Copy the run's documents and logs to the archive, file by file."""
    target = kernel_dir / "archives" / cell.workcell_id
    target.mkdir(parents=True)
    for name in _ARCHIVED:
        if (cell.path / name).is_file():
            shutil.copyfile(cell.path / name, target / name)
    logs = [path for path in sorted((cell.path / "logs").iterdir()) if path.stat().st_size > 0]
    for path in logs:
        (target / "logs").mkdir(exist_ok=True)
        shutil.copyfile(path, target / "logs" / path.name)
    return target


def close_workcell(repo_root: Path, cell: Cell) -> None:
    """Remove the worktree and its branch. All processes of the workcell have ended."""
    branch = _git_branch(cell)
    # A tool that was killed while it committed leaves its lock on the branch behind.
    git_directory = Path(_git(repo_root, "rev-parse", "--path-format=absolute", "--git-common-dir").stdout.strip())
    (git_directory / "refs" / "heads" / f"{branch}.lock").unlink(missing_ok=True)
    with repo_lock(repo_root):
        _git(repo_root, "worktree", "remove", "--force", str(cell.path))
        _git(repo_root, "branch", "--quiet", "-D", branch)


def _git_branch(cell: Cell) -> str:
    return f"wc/{cell.issue['id']}/{cell.workcell_id.removeprefix('wc-' + str(cell.issue['id']) + '-')}"


def _git(directory: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=check)
