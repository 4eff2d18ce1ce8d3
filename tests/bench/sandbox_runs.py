"""The sandbox of the tests: its issues, its stand-in kernel's command line, and what an invocation left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bench.testbeds.sandbox.record import ForcedAction, forcing_config
from bench.testbeds.sandbox.toolchains.launchers import TOOLS

REAL = Path(__file__).parents[1] / "fixtures" / "corpus" / ".cyntra"
REPOSITORY = Path(__file__).parents[2]
ISSUES = 6
SEED = 7
"""Its first issue is one that codex repairs at once."""


def clone_of(sandbox: Path, target: Path) -> Path:
    """A copy to run in."""
    subprocess.run(["git", "clone", "--quiet", str(sandbox), str(target)], check=True)
    return target


class Run:
    """What one invocation of the stand-in left."""

    def __init__(self, repo: Path, done: "subprocess.CompletedProcess[str]") -> None:
        self.exit_code, self.output = done.returncode, done.stdout + done.stderr
        folder = repo / ".cyntra"
        self.archives = sorted((folder / "archives").iterdir()) if (folder / "archives").is_dir() else []
        log = folder / "logs" / "events.jsonl"
        self.events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        self.issues = {issue["id"]: issue for issue in read_issues(repo)}

    def document(self, name: str) -> dict[str, Any]:
        return json.loads((self.archives[-1] / name).read_text())

    def files(self) -> set[str]:
        archive = self.archives[-1]
        return {path.relative_to(archive).as_posix() for path in archive.rglob("*") if path.is_file()}


def read_issues(repo: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (repo / ".beads" / "issues.jsonl").read_text().splitlines()]


def set_issue(repo: Path, number: str, **changes: Any) -> None:
    lines = [{**issue, **changes} if issue["id"] == number else issue for issue in read_issues(repo)]
    (repo / ".beads" / "issues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def force(repo: Path, action: ForcedAction, **settings: Any) -> None:
    """Put the forcing config of an action, with other settings over it, beside the repo's config."""
    document = forcing_config(action)
    document["toolchains"] = {
        tool: {**document["toolchains"][tool], **settings.get("toolchains", {}).get(tool, {})} for tool in TOOLS
    }
    document |= {key: value for key, value in settings.items() if key != "toolchains"}
    (repo / ".cyntra" / "forced.yaml").write_text(yaml.safe_dump(document))


def kernel_command(*arguments: str, config: str = "forced.yaml") -> list[str]:
    return [
        sys.executable,
        "-m",
        "bench.testbeds.sandbox.kernel",
        "--config",
        f".cyntra/{config}",
        "run",
        "--once",
        *arguments,
    ]


def kernel_environment(tools: Path) -> dict[str, str]:
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}
