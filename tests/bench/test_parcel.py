"""A repo that travels: what a clone on another node has, by content, once per node, safe to delete."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.executors.cyntra import clone as clones
from bench.executors.cyntra.clone import make_clone
from bench.executors.cyntra.executor import CyntraExecutor
from bench.executors.cyntra.parcel import pack_repo, unpacked
from planner.artifacts.repo import Repo
from planner.errors import BenchError
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_clones import add, git
from tests.bench.test_ledger import bench_case


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's own, and a home in which no settings of git's are."""
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    clones.source_of.cache_clear()
    return tmp_path / "cache"


def clone_at(repo: Path, commit: str, place: Path) -> Path:
    case = bench_case("1").model_copy(update={"base_commit": commit})
    make_clone(repo, case, {"id": "1"}, place, copy_universes=True)
    return place


def test_a_clone_from_a_parcel_is_a_clone_from_the_repo(kernel_repo: KernelRepo, cache: Path, tmp_path: Path) -> None:
    (kernel_repo.root / "universes").mkdir()
    (kernel_repo.root / "universes" / "u.yaml").write_text("a: 1\n")
    (tmp_path / "home" / "ignored").write_text("*.secret\n")
    kernel_repo.git("config", "core.excludesFile", str(tmp_path / "home" / "ignored"))
    (kernel_repo.root / ".git" / "info").mkdir(exist_ok=True)
    (kernel_repo.root / ".git" / "info" / "exclude").write_text("*.own\n")
    add(kernel_repo, "old", "x")
    old = kernel_repo.git("rev-parse", "main")
    add(kernel_repo, "new", "x")
    dropped = kernel_repo.git("rev-parse", "main")
    kernel_repo.git("reset", "--quiet", "--hard", "main~1")
    parcel = pack_repo(kernel_repo.root, {old, dropped})
    (tmp_path / "home" / "ignored").unlink()
    original = kernel_repo.root.rename(tmp_path / "gone")
    repo = unpacked(parcel)
    assert repo.is_relative_to(cache)
    for number, commit in enumerate(parcel.commits):
        clone = clone_at(repo, commit, tmp_path / f"clone-{number}")
        assert git(clone, "rev-list", "HEAD") == git(original, "rev-list", commit)
        assert git(clone, "log", "-1", "--format=%s") == git(original, "log", "-1", "--format=%s", commit)
        git(clone, "fsck")
        assert git(clone, "config", "user.email") == "tester@example.org"
        for name in ("a.secret", "a.own"):
            (clone / name).touch()
        assert git(clone, "status", "--porcelain", "--", "*.secret", "*.own") == ""
        assert (clone / "universes" / "u.yaml").read_text() == "a: 1\n"


def test_a_parcel_is_unpacked_once_and_again_when_the_cache_was_emptied(kernel_repo: KernelRepo, cache: Path) -> None:
    commit = kernel_repo.git("rev-parse", "main")
    parcel = pack_repo(kernel_repo.root, {commit})
    assert parcel.key == pack_repo(kernel_repo.root, {commit}).key
    first = unpacked(parcel)
    made = first.stat().st_ino
    assert unpacked(parcel) == first and first.stat().st_ino == made
    shutil.rmtree(cache)
    assert git(unpacked(parcel), "cat-file", "-t", commit) == "commit"
    kernel_repo.git("config", "user.name", "Another")
    clones.source_of.cache_clear()
    assert pack_repo(kernel_repo.root, {commit}).key != parcel.key


def test_a_shallow_repo_travels_and_one_with_lfs_files_does_not(
    kernel_repo: KernelRepo, cache: Path, tmp_path: Path
) -> None:
    for number in range(3):
        add(kernel_repo, f"file{number}", "x")
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{kernel_repo.root}", "shallow")
    head = git(tmp_path / "shallow", "rev-parse", "HEAD")
    clone = clone_at(unpacked(pack_repo(tmp_path / "shallow", {head})), head, tmp_path / "clone")
    assert git(clone, "log", "--format=%s").split() == ["file2", "file1"]
    git(clone, "fsck")
    (kernel_repo.root / "data").mkdir()
    add(kernel_repo, "data/.gitattributes", "*.bin filter=lfs\n")
    with pytest.raises(BenchError, match="git-lfs do not travel"):
        pack_repo(kernel_repo.root, {kernel_repo.git("rev-parse", "main")})


def test_kernel_and_tools_are_those_of_the_node_and_a_node_without_them_says_which(
    kernel_repo: KernelRepo, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = CyntraExecutor.prepare(Repo(kernel_repo.root), SMALL_KERNEL)
    assert executor.on_this_node(None) is executor
    parcel = executor.packed({kernel_repo.git("rev-parse", "main")})
    elsewhere = kernel_repo.tools.rename(tmp_path / "elsewhere")
    for known in (None, parcel):
        with pytest.raises(BenchError, match="claude, codex, opencode not on PATH there"):
            executor.on_this_node(known)
    monkeypatch.setenv("PATH", f"{elsewhere}{os.pathsep}{os.environ['PATH']}")
    there = executor.on_this_node(parcel)
    assert [tool.executable for tool in there.toolchains] == [elsewhere / tool.name for tool in executor.toolchains]
    assert there.source.is_relative_to(cache) and str(elsewhere) in there.environment["PATH"]
    assert subprocess.run([*there.command, "--config"], capture_output=True).returncode == 1  # it is there, and starts
