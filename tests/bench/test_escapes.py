"""What an agent may try to read or change of the user's, in an execution with namespaces and in one without."""

import os
from pathlib import Path
from typing import Any

import pytest

from bench.containment.namespaces import find_bubblewrap, why_not
from planner.contracts.bench import BenchOutcome
from planner.errors import BenchError
from tests.bench.benches import executor_of
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_executor import SERIAL, execute

pytestmark = pytest.mark.skipif(find_bubblewrap() is None, reason=f"no namespaces here: {why_not()}")

ESCAPES = {
    "reads a key in the home": 'cat "$HOME/.ssh/id"',
    "reads the user's settings of git": 'grep -q pager "$HOME/.gitconfig"',
    "reads the environment of another process": "cat /proc/{driver}/environ",
    "pushes into the repo by its path": "git commit -q --allow-empty -m x && git push {repo} HEAD:refs/heads/mine",
    "reads the ledger": "cat {repo}/.cyntra/planner/bench/ledger.sqlite",
    "puts a hook into the repo": "echo x > {repo}/.git/hooks/post-commit",
    "overwrites the repo's objects": 'echo x > "$(cat $(git rev-parse --git-path objects/info/alternates))/pack/x"',
}
"""What a tool does -> in shell; it has worked if that ends with 0."""
TOOL = """#!/bin/sh
git log -1 > /dev/null && {attempt} && touch solved.txt
echo '{{"cost": 0}}'
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with a key, and a login of one of the tools."""
    files = {
        ".ssh/id": "secret",
        ".codex/auth.json": "login",
        ".claude/auth.json": "login",
        ".gitconfig": "[core]\npager = x",
    }
    for name, text in files.items():
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def attempt(repo: KernelRepo, shell: str, **options: Any) -> BenchOutcome:
    """What came of an attempt by the tool codex: it passes if the attempt has worked."""
    ledger = repo.root / ".cyntra/planner/bench/ledger.sqlite"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("verdict")
    (repo.root / ".git" / "hooks").mkdir(exist_ok=True)
    repo.write_tool("codex", TOOL.format(attempt=shell.format(repo=repo.root, driver=os.getpid())))
    outcome = execute(repo, SERIAL, extra_path=[repo.tools], **options)
    assert outcome.fault is None, outcome.fault
    return outcome


@pytest.mark.parametrize("what", ESCAPES)
def test_an_agent_gets_nowhere_in_namespaces_and_gets_there_without(
    home: Path, kernel_repo: KernelRepo, what: str
) -> None:
    outcome = attempt(kernel_repo, ESCAPES[what], sandbox="auto")
    assert (outcome.passed, outcome.isolation) == (False, "namespaces")
    outcome = attempt(kernel_repo, ESCAPES[what], sandbox="off")
    assert (outcome.passed, outcome.isolation) == (True, "supervisor")


def test_an_agent_finds_its_own_login_but_not_that_of_a_tool_which_is_not_used(
    home: Path, kernel_repo: KernelRepo
) -> None:
    (kernel_repo.tools / "claude").unlink()
    login = "$HOME/.codex/auth.json"
    shell = f'test ! -e "$HOME/.claude" && grep -q login "{login}" && echo new > "{login}"'
    assert attempt(kernel_repo, shell, sandbox="require").passed
    assert (home / ".codex/auth.json").read_text() == "new\n"


def test_a_place_that_is_allowed_is_read_and_is_written_only_where_that_is_allowed_too(
    home: Path, kernel_repo: KernelRepo
) -> None:
    read, write = f'grep -q secret "{home}/.ssh/id"', f'echo mine > "{home}/.ssh/id"'
    assert attempt(kernel_repo, read, sandbox="auto", allowed=[str(home / ".ssh")]).passed
    assert not attempt(kernel_repo, write, sandbox="auto", allowed=[str(home / ".ssh")]).passed
    assert attempt(kernel_repo, write, sandbox="auto", allowed=[f"{home / '.ssh'}:rw"]).passed
    with pytest.raises(BenchError, match="--allow-path /nowhere: there is no"):
        executor_of(kernel_repo.root, SMALL_KERNEL, sandbox="auto", allowed=["/nowhere"])
