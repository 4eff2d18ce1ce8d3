"""Readers of damaged repos: what cannot be read is in quarantine or one sentence, and what is read can be written."""

import random
import shutil
from pathlib import Path
from typing import Any

import orjson

from planner.artifacts.repo import Repo
from planner.artifacts.rule_settings import decisive_part
from planner.artifacts.tracked_issue import TrackedIssue, passed_over
from planner.context import ContextBuilder
from planner.errors import PlannerError
from planner.policies.heuristic import HeuristicPolicy
from tests.conftest import CORPUS
from tests.fuzz.damage import damaged, damaged_bytes

CONFIG = {
    "toolchain_priority": ["codex", "claude"],
    "toolchains": {"codex": {"timeout_minutes": 45, "env": {"A": "b"}}},
    "speculation": {"default_parallelism": 2, "auto_trigger": {"risk_levels": ["high"], "on_critical_path": True}},
    "routing": {"rules": [{"match": {"dk_risk": ["high"], "title_pattern": "x"}, "use": ["codex"], "parallelism": 2}]},
    "control": {"action_low": 0.1},
    "scheduling": {"max_concurrent_tokens": 1000},
    "gates": {"test_command": "true"},
}
ISSUE = {
    "id": "1",
    "title": "One",
    "status": "open",
    "tags": ["a"],
    "dk_risk": "high",
    "dk_attempts": 1,
    "description": "d",
    "updated": "2026-01-01T00:00:00Z",
}
NOW_MS = 1_800_000_000_000


def attempt(draw: random.Random, directory: Path) -> None:
    """One repo with one damaged file; AssertionError with that file when a reader chokes."""
    root = directory / "repo"
    shutil.rmtree(root, ignore_errors=True)
    sources = [path for path in sorted(CORPUS.glob(".cyntra/archives/*")) if (path / "proof.json").exists()]
    names = [source.name for source in draw.sample(sources, 2)]
    shutil.copytree(CORPUS, root, ignore=lambda folder, found: _others(folder, found, names))
    (root / ".cyntra" / "config.yaml").write_bytes(orjson.dumps(CONFIG))
    (root / ".beads").mkdir(exist_ok=True)
    (root / ".beads" / "issues.jsonl").write_bytes(orjson.dumps(ISSUE) + b"\n" + orjson.dumps({**ISSUE, "id": "2"}))
    (root / ".beads" / "deps.jsonl").write_bytes(orjson.dumps({"from": "1", "to": "2", "type": "blocks"}))
    (root / ".cyntra" / "dynamics").mkdir(exist_ok=True)
    report = {"action_summary": {"by_domain": {"code": 0.2}, "global_action_rate": 0.7}}
    (root / ".cyntra" / "dynamics" / "dynamics_report.json").write_bytes(orjson.dumps(report))
    path = draw.choice([path for path in sorted(root.rglob("*")) if path.is_file()])
    path.write_bytes(_damaged_file(draw, path))
    check(root, path)


def _others(folder: str, found: list[str], names: list[str]) -> list[str]:
    return [name for name in found if Path(folder).name == "archives" and name not in names]


def _damaged_file(draw: random.Random, path: Path) -> bytes:
    data = path.read_bytes()
    if draw.random() < 0.5:
        return damaged_bytes(draw, data)
    try:
        if path.suffix == ".jsonl":
            return b"\n".join(orjson.dumps(damaged(draw, orjson.loads(line))) for line in data.splitlines())
        return orjson.dumps(damaged(draw, orjson.loads(data)))
    except (orjson.JSONDecodeError, TypeError):
        return damaged_bytes(draw, data)


def check(root: Path, path: Path) -> None:
    """AssertionError with the damaged file when reading it ends in anything but a result or an error of ours."""
    for read in (_read_runs, _read_rule):
        try:
            read(root)
        except PlannerError:
            continue
        except Exception as error:
            found = f"{type(error).__name__}: {error}\n{path.relative_to(root)}\n{path.read_bytes()!r}"
            raise AssertionError(found) from error


def _read_runs(root: Path) -> None:
    repo = Repo(root).read_all()
    orjson.dumps([[run.summary, run.executed_plan] for run in repo.runs])
    orjson.dumps(repo.quarantine.entries)
    builder = ContextBuilder(repo)
    for issue_id in repo.issues:
        orjson.dumps(builder.build(issue_id, created_ms=NOW_MS))


def _read_rule(root: Path) -> None:
    repo = Repo(root)
    rule = HeuristicPolicy(decisive_part(repo.config), dynamics=repo.dynamics)
    known: list[Any] = [TrackedIssue.of(issue) for issue in repo.issues.values() if not passed_over(issue)]
    for issue in known:
        rule.plan(issue, ["codex"])
    orjson.dumps([repo.blocking, decisive_part(repo.config)])
