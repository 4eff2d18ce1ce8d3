"""Which places of the user's an execution in namespaces sees: those that its programs are installed in, and no more."""

from pathlib import Path

import pytest

from bench.containment.namespaces import Namespaces
from bench.executors.cyntra.needed_places import namespaces_for
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain
from tests.bench.conftest import KernelRepo


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of the user's."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def program(path: Path, first_line: str = "#!/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first_line}\n")
    path.chmod(0o755)
    return path


def places(repo: KernelRepo, *programs: Path, search_path: str = "/usr/bin") -> Namespaces:
    made = Repo(repo.root)
    tools = [Toolchain(path.name, path.name, path) for path in programs[1:]]
    return namespaces_for(repo.root, made.config, made.issues, [str(programs[0])], tools, search_path)


def test_what_links_and_first_lines_lead_to_comes_along(home: Path, kernel_repo: KernelRepo) -> None:
    node = program(home / ".nvm/versions/v22/bin/node")
    script = program(home / ".nvm/versions/v22/lib/tool/cli.js", "#!/usr/bin/env node")
    link = home / ".local/bin/tool"
    link.parent.mkdir(parents=True)
    link.symlink_to(script)
    python = program(home / ".python/bin/python3")
    kernel = program(home / "kernel/.venv/bin/cyntra", f"#!{home}/kernel/.venv/bin/python")
    (home / "kernel/.venv/bin/python").symlink_to(python)
    shown = places(kernel_repo, kernel, link, search_path=f"{node.parent}:/usr/bin").shown
    assert {home / "kernel/.venv", home / ".python", home / ".local/bin", script.parent, node.parents[1]} <= {*shown}
    assert home not in shown and home / "kernel" not in shown and home / ".local" not in shown


def test_a_program_beside_all_of_the_users_files_is_shown_alone(home: Path, kernel_repo: KernelRepo) -> None:
    kernel, tool = program(home / "cyntra"), program(kernel_repo.root / "agent")
    found = places(kernel_repo, kernel, tool)
    assert {kernel, tool} <= {*found.shown}
    assert {home, kernel_repo.root} <= {*found.hidden} and not {home, kernel_repo.root} & {*found.shown}


def test_a_gates_program_is_shown_and_compilers_are_but_no_secrets(home: Path, kernel_repo: KernelRepo) -> None:
    gate = program(kernel_repo.root / ".venv/bin/pytest")
    kernel_repo.write_config(gates={"test_command": f"{gate} -q"})
    kernel_repo.write_issues({"id": "1", "dk_quality_gates": {"lint": str(program(home / "lint/bin/ruff"))}})
    for name in (".cargo/bin/cargo", ".cargo/credentials.toml", ".ssh/id", ".codex/auth.json", ".claude/auth.json"):
        program(home / name)
    found = places(kernel_repo, program(home / "kernel/bin/cyntra"), program(home / "tools/codex"))
    assert {kernel_repo.root / ".venv", home / "lint", home / ".cargo/bin"} <= {*found.shown}
    assert not {home / ".cargo", home / ".ssh"} & {*found.shown}
    assert found.writable == (home / ".codex",)
