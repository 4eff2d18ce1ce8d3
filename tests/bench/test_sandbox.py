"""The sandbox: its repo, its repair tools, and the history that is recorded in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.testbeds.sandbox.create import MAX_ISSUES, create_sandbox
from bench.testbeds.sandbox.record import record_history
from planner.errors import BenchError
from tests.bench.sandbox_runs import (
    ISSUES,
    REAL,
    REPOSITORY,
    SEED,
    clone_of,
    read_issues,
)


def gate_passes(repo: Path, issue: dict[str, Any]) -> bool:
    command = issue["dk_quality_gates"]["test"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, shell=True, cwd=repo, env=environment, capture_output=True).returncode == 0


def test_the_same_seed_gives_the_same_commit_and_bytes(sandbox: Path, tmp_path: Path) -> None:
    again = create_sandbox(tmp_path / "again", issues=ISSUES, seed=SEED, seconds_per_minute=1.0)
    other = create_sandbox(tmp_path / "other", issues=1, seed=4, seconds_per_minute=1.0)

    def head(repo: Path) -> str:
        return subprocess.run(["git", "rev-parse", "main"], cwd=repo, capture_output=True, text=True).stdout

    assert head(again) == head(sandbox) != head(other)
    files = [path.relative_to(sandbox) for path in sandbox.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 30
    assert all((again / path).read_bytes() == (sandbox / path).read_bytes() for path in files)


def test_too_many_issues_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=str(MAX_ISSUES)):
        create_sandbox(tmp_path / "repo", issues=MAX_ISSUES + 1)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="not empty"):
        create_sandbox(tmp_path)


def test_every_gate_fails_in_a_new_sandbox(sandbox: Path) -> None:
    issues = read_issues(sandbox)
    assert len(issues) == ISSUES
    assert not [issue["id"] for issue in issues if gate_passes(sandbox, issue)]


def test_issues_have_the_fields_of_real_ones(sandbox: Path) -> None:
    lines = (REAL.parent / ".beads" / "issues.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines if line.endswith("}")]
    real = {key: type(value) for issue in parsed for key, value in issue.items()}
    for issue in read_issues(sandbox):
        assert {"id", "title", "dk_risk", "dk_size", "dk_quality_gates", "context_files"} <= issue.keys()
        assert issue.keys() <= real.keys() | {"dk_speculate"}
    created = [issue["created"] for issue in read_issues(sandbox)]
    assert created == sorted(created)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("codex", []),
        ("codex", ["exec", "-", "--sandbox", "workspace-write"]),
        ("codex", ["exec", "-", "--full-auto", "--surprise"]),
        ("claude", ["--print", "prompt.md", "--model", "m", "--dangerously-skip-permissions"]),
        ("claude", ["--print", "@/nowhere/prompt.md", "--model", "m", "--dangerously-skip-permissions"]),
        ("opencode", ["run", "--format", "json", "--file"]),
        ("crush", ["run", "--quiet"]),
    ],
)
def test_tools_reject_other_arguments(tools: Path, tmp_path: Path, tool: str, arguments: list[str]) -> None:
    done = subprocess.run([tools / tool, *arguments], cwd=tmp_path, input="", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tool}: ") and "Traceback" not in done.stderr


def test_a_tool_works_out_of_a_copied_package(tmp_path: Path, sandbox: Path) -> None:
    """As from an installed wheel: nothing but the package's own files is there."""
    site = tmp_path / "site"
    shutil.copytree(REPOSITORY / "bench", site / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir; from pathlib import Path; "
    code += f"print(toolchain_dir(Path({str(tmp_path / 'bin')!r})))"
    subprocess.run([sys.executable, "-c", code], cwd=site, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "bin" / "crush"], cwd=sandbox, input="", capture_output=True, text=True)
    assert done.returncode == 2


@pytest.mark.parametrize("workers", [1, 4])
def test_history_is_recorded_in_order_and_failures_are_reopened(
    sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    repo = clone_of(sandbox, tmp_path / "repo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[tuple[int, int]] = []
    text = (repo / ".cyntra" / "config.yaml").read_text().replace("seconds_per_minute: 1", "seconds_per_minute: 0.02")
    (repo / ".cyntra" / "config.yaml").write_text(text)
    done = record_history(
        repo, runs=4, seed=1, workers=workers, issues=["2", "1"], progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [name.split("-")[1] for name in done] == ["2", "1", "2", "1"]
    assert {path.name for path in (repo / ".cyntra" / "archives").iterdir()} == set(done)
    assert {issue["status"] for issue in read_issues(repo)} <= {"open", "done"}
    assert not list((repo / ".workcells").iterdir())
    assert not list((repo / ".cyntra").glob("history*"))
    events = [json.loads(line) for line in (repo / ".cyntra" / "logs" / "events.jsonl").read_text().splitlines()]
    for issue in ("1", "2"):
        of_issue = [event["type"] for event in events if event["issue_id"] == issue]
        assert [kind for kind in of_issue if kind.startswith("issue.")][::2] == ["issue.started"] * 2
