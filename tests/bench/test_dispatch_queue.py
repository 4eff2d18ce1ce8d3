"""The order in which `planner run` takes issues up; tests/rule compares it with the kernel's own."""

from typing import Any

import pytest

from bench.dispatch.queue import Queue, read_queue
from planner.artifacts.repo import Repo
from planner.policies.heuristic import HeuristicPolicy
from tests.bench.conftest import KernelRepo

NOW_MS = 1_796_000_000_000
DAYS_AGO = "2026-11-01T00:00:00Z"
HOURS_AGO = "2026-11-29T19:00:00Z"


def queue_of(repo: KernelRepo, *issues: dict[str, Any], blocks: tuple[tuple[str, str], ...] = ()) -> Queue:
    repo.write_issues(*issues)
    deps = "".join(f'{{"from": "{a}", "to": "{b}"}}\n' for a, b in blocks)
    (repo.root / ".beads/deps.jsonl").write_text(deps)
    found = Repo(repo.root)
    return read_queue(found, HeuristicPolicy.of_repo(found), NOW_MS)


def test_the_critical_path_goes_first_then_priority_then_risk(kernel_repo: KernelRepo) -> None:
    queue = queue_of(
        kernel_repo,
        {"id": "late", "dk_priority": "P3"},
        {"id": "risky", "dk_priority": "P1", "dk_risk": "high"},
        {"id": "urgent", "dk_priority": "P0"},
        {"id": "plain", "dk_priority": "P1"},
        {"id": "root", "dk_priority": "P3", "dk_size": "XL"},
        {"id": "leaf"},
        blocks=(("root", "leaf"),),
    )
    assert queue.ready == ["root", "urgent", "risky", "plain", "late"]
    assert queue.waiting == {"leaf": "blocked by root"}


def test_an_issue_that_waits_too_long_moves_up(kernel_repo: KernelRepo) -> None:
    queue = queue_of(
        kernel_repo,
        {"id": "path", "dk_size": "XL"},
        {"id": "second", "dk_priority": "P2"},
        {"id": "hours", "dk_priority": "P2", "ready_since": HOURS_AGO},
        {"id": "days", "dk_priority": "P3", "ready_since": DAYS_AGO},
    )
    assert queue.ready == ["path", "days", "hours", "second"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "running"}, "status 'running'"),
        ({"tags": ["needs-human"]}, "left to a human (escalation)"),
        ({"dk_attempts": "3"}, "all 3 attempts are used up"),
        ({"dk_attempts": "many"}, "dk_attempts 'many' is no number"),
        ({"dk_estimated_tokens": 10**6}, "estimated tokens exceed the config's max_concurrent_tokens 200000"),
    ],
)
def test_who_is_not_taken_up_is_named_with_the_reason(
    kernel_repo: KernelRepo, fields: dict[str, Any], reason: str
) -> None:
    queue = queue_of(kernel_repo, {"id": "1", **fields})
    assert queue.ready == [] and reason in queue.waiting["1"]
