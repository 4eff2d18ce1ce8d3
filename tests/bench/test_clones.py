"""Clones of repos as people have them: shallow, partial, with LFS files, with settings that hold in one place alone."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.executors.cyntra import clone as clones
from bench.executors.cyntra.clone import make_clone
from planner.errors import BenchError
from tests.bench.conftest import KernelRepo
from tests.bench.test_ledger import bench_case


@pytest.fixture
def cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """A clone of a repo at its main, as an execution works in it; the user's home is empty but for what a test puts."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    clones.source_of.cache_clear()

    def make(repo: Path) -> Path:
        commit = git(repo, "rev-parse", "main")
        case = bench_case("1").model_copy(update={"base_commit": commit})
        clone = tmp_path / f"clone of {repo.name}"
        make_clone(repo, case, {"id": "1"}, clone, copy_universes=False)
        return clone

    return make


def git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repo, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def add(repo: KernelRepo, name: str, content: str) -> None:
    (repo.root / name).write_text(content)
    repo.git("add", "--all")
    repo.git("commit", "--quiet", "--message", name)


def test_a_clone_of_a_shallow_repo_has_its_history_and_is_whole(
    kernel_repo: KernelRepo, cloned: Callable[[Path], Path], tmp_path: Path
) -> None:
    for number in range(3):
        add(kernel_repo, f"file{number}", "x")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{kernel_repo.root}", str(shallow))
    clone = cloned(shallow)
    assert git(clone, "log", "--format=%s").split() == ["file2", "file1"]
    git(clone, "fsck")


def test_a_partial_clone_that_lacks_files_is_refused_with_the_cure(
    kernel_repo: KernelRepo, cloned: Callable[[Path], Path], tmp_path: Path
) -> None:
    add(kernel_repo, "file", "content")
    kernel_repo.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    url = f"file://{kernel_repo.root}"
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", url, str(partial))
    with pytest.raises(BenchError, match=r"lacks \d+ files .*git fetch --refetch"):
        cloned(partial)


def test_an_lfs_file_is_what_it_is_in_the_users_checkout(
    kernel_repo: KernelRepo, cloned: Callable[[Path], Path], tmp_path: Path
) -> None:
    content = b"large\0content"
    oid = hashlib.sha256(content).hexdigest()
    place = kernel_repo.root / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    add(kernel_repo, "data.bin", pointer)
    add(kernel_repo, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    for key, value in (("smudge", "git-lfs smudge -- %f"), ("clean", "git-lfs clean -- %f"), ("required", "true")):
        kernel_repo.git("config", f"filter.lfs.{key}", value)
    clone = cloned(kernel_repo.root)
    assert (clone / "data.bin").read_bytes() == content
    assert git(clone, "status", "--porcelain", "--untracked-files=no") == ""
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "cell"))
    assert (tmp_path / "cell" / "data.bin").read_bytes() == content
    place.unlink()
    clones.source_of.cache_clear()
    moved = kernel_repo.root.rename(tmp_path / "moved")
    with pytest.raises(BenchError, match="git lfs pull"):
        cloned(moved)


def test_an_identity_that_holds_in_the_repo_alone_holds_in_the_clone_and_no_hook_or_signature(
    kernel_repo: KernelRepo, cloned: Callable[[Path], Path], tmp_path: Path
) -> None:
    for key in ("user.name", "user.email"):
        kernel_repo.git("config", "--unset", key)
    work = tmp_path / "home" / "work"
    work.write_text("[user]\n name = Työ\n email = work@example.org\n[core]\n excludesFile = ~/ignored\n")
    (tmp_path / "home" / "ignored").write_text("*.secret\n")
    hooks = tmp_path / "home" / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / "home" / ".gitconfig").write_text(
        f'[includeIf "gitdir:{kernel_repo.root}/"]\n path = {work}\n'
        f"[commit]\n gpgSign = true\n[gpg]\n program = false\n[core]\n hooksPath = {hooks}\n"
    )
    (kernel_repo.root / ".git" / "info" / "exclude").write_text("*.own\n")
    clone = cloned(kernel_repo.root)
    for name in ("a.secret", "b.own", "c.txt"):
        (clone / name).write_text("")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message=agent")
    assert git(clone, "log", "-1", "--format=%an <%ae>") == "Työ <work@example.org>"
    names = git(clone, "show", "--name-only", "--format=", "HEAD").split()
    assert "c.txt" in names and not {"a.secret", "b.own"} & set(names)


@pytest.mark.skipif(os.name != "posix", reason="worktrees are tried on POSIX alone")
def test_a_linked_worktree_is_cloned_as_its_repo_is(
    kernel_repo: KernelRepo, cloned: Callable[[Path], Path], tmp_path: Path
) -> None:
    kernel_repo.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    assert git(cloned(tmp_path / "linked"), "log", "--format=%s") == "base"
