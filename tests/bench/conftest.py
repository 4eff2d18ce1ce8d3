"""A Cyntra repo with scripted agents on PATH, and a look at what a bench may leave behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

SMALL_KERNEL = [sys.executable, str(Path(__file__).with_name("small_kernel.py"))]
SOLVES = """#!/bin/sh
cat > prompt.txt
sleep {sleep}
echo done > solved.txt
echo "working on it"
echo '{{"confidence": 0.9, "cost": {cost}}}'
"""
NEVER_SOLVES = """#!/bin/sh
cat > /dev/null
echo '{"cost": 0.5}'
"""


class KernelRepo:
    """A git repo with issues and a config, and the directory of its scripted agents."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "repo"
        self.tools = directory / "tools"
        self.tools.mkdir()
        (self.root / ".beads").mkdir(parents=True)
        (self.root / ".cyntra").mkdir()
        (self.root / ".gitignore").write_text(".beads/\n.cyntra/\n.workcells/\n")
        for arguments in (
            ("init", "--quiet", "--initial-branch=main"),
            ("config", "user.name", "Tester"),
            ("config", "user.email", "tester@example.org"),
            ("add", "."),
            ("commit", "--quiet", "--message=base"),
        ):
            self.git(*arguments)
        self.write_config()

    def git(self, *arguments: str) -> str:
        """Run git in the repo."""
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def write_config(self, seconds_per_minute: float = 60.0, **overrides: Any) -> None:
        """Write the kernel's config; ``overrides`` replace whole sections."""
        names = ("codex", "claude", "opencode")
        config = {
            "toolchain_priority": list(names),
            "toolchains": {name: {"enabled": True, "path": name, "timeout_minutes": 60} for name in names},
            "speculation": {"enabled": True, "default_parallelism": 2, "max_parallelism": 3},
            "sandbox": {"seconds_per_minute": seconds_per_minute},
        }
        (self.root / ".cyntra" / "config.yaml").write_text(yaml.safe_dump({**config, **overrides}))

    def write_issues(self, *issues: Mapping[str, Any]) -> None:
        """Write the tracker: each issue is open and asks for solved.txt unless it says otherwise."""
        lines = [
            {"status": "open", "title": "A title", "dk_quality_gates": {"test": "test -f solved.txt"}, **issue}
            for issue in issues
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.root / ".beads" / "issues.jsonl").write_text(text)

    def write_tool(self, name: str, text: str) -> Path:
        """Write one scripted agent."""
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def state(self) -> dict[str, Any]:
        """Everything about the repo that a bench must not change: contents, modes, and when it was last written."""
        own = self.root / ".cyntra" / "planner"
        entries = [path for path in sorted(self.root.rglob("*")) if not path.is_relative_to(own)]
        files = {
            str(path.relative_to(self.root)): (
                # The directory of ours is made in this one.
                path.lstat().st_mtime_ns if path != own.parent else None,
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() else None,
            )
            for path in entries
        }
        return {
            "files": files,
            "status": self.git("--no-optional-locks", "status", "--porcelain"),
            "refs": self.git("for-each-ref"),
            "head": self.git("symbolic-ref", "HEAD"),
            "worktrees": self.git("worktree", "list"),
        }


@pytest.fixture
def kernel_repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelRepo:
    """A repo with issues "1" and "2" and three agents: codex fails the gate, claude is cheap, opencode is slow."""
    repo = KernelRepo(tmp_path)
    repo.write_issues({"id": "1"}, {"id": "2"})
    repo.write_tool("codex", NEVER_SOLVES)
    repo.write_tool("claude", SOLVES.format(sleep=0.2, cost=0.1))
    repo.write_tool("opencode", SOLVES.format(sleep=0.6, cost=0.3))
    monkeypatch.setenv("PATH", f"{repo.tools}{os.pathsep}{os.environ['PATH']}")
    return repo


@pytest.fixture
def processes_with() -> Callable[[str], list[str]]:
    """A function that lists the command lines of living processes which contain a text."""

    def find(text: str) -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if text in command:
                    found.append(command)
        return found

    return find


@pytest.fixture(scope="session")
def grouped_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See tests.bench.grouped. Tests must not change it."""
    from tests.bench.grouped import write_grouped_ledger

    return write_grouped_ledger(tmp_path_factory.mktemp("grouped"))


@pytest.fixture(scope="session")
def grouped_winners(grouped_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the same, the agents of a problem wherever chance puts them. Tests must not change it."""
    from bench.judging.relabel import relabel
    from tests.bench.grouped import HOLDOUT

    out = tmp_path_factory.mktemp("winners") / "winners"
    relabel(grouped_ledger, None, out, by="pair", holdout=HOLDOUT)
    return out


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sandbox whose minutes are seconds: a loaded machine fixes what an idle one does. Tests must not change it."""
    from bench.testbeds.sandbox.create import create_sandbox
    from tests.bench.sandbox_runs import ISSUES, SEED

    return create_sandbox(tmp_path_factory.mktemp("sandbox") / "repo", issues=ISSUES, seed=SEED, seconds_per_minute=1.0)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the sandbox's repair tools."""
    from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir

    return toolchain_dir(tmp_path_factory.mktemp("tools"))
