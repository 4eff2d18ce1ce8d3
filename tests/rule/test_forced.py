"""The queue and the overlay of `planner run` against kernel 0.1.0, where it is installed, on drawn repos."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.dispatch.overlay import obstacle, run_overlay
from bench.dispatch.queue import read_queue
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain
from planner.artifacts.tracked_issue import Neighbourhoods, TrackedIssue
from planner.errors import ArtifactError
from planner.policies.heuristic import HeuristicPolicy
from tests.rule.pairs import KERNEL, Draw, ask_kernel, draw_issue, draw_pair, write_pair

NEEDS_KERNEL = pytest.mark.skipif(
    KERNEL is None, reason="the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA"
)
NOW_MS = 1_800_000_000_000


def repos(draw: Draw, directory: Path, n: int) -> Iterator[tuple[dict[str, Any], Repo]]:
    for number in range(n):
        pair = draw_pair(draw)
        write_pair(pair, directory / str(number))
        yield pair, Repo(directory / str(number))


@NEEDS_KERNEL
def test_the_queue_is_the_kernels(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    draw = Draw(seed)
    asked, ours = [], []
    for number in range(60):
        pair = draw_pair(draw)
        issues = [draw_issue(draw, str(number)) for number in range(draw.randint(2, 8))]
        edges = [draw.sample([issue["id"] for issue in issues], 2) for _ in range(draw.randint(0, 5))]
        pair |= {"issues": issues, "deps": [{"from": a, "to": b} for a, b in edges], "target": None}
        write_pair(pair, tmp_path / str(number))
        repo = Repo(tmp_path / str(number))
        queue = read_queue(repo, HeuristicPolicy.of_repo(repo), NOW_MS)
        # The kernel was asked without its limit on tokens.
        asked.append(pair)
        ours.append((queue.ready, {key for key, why in queue.waiting.items() if "estimated tokens" in why}))
    answers = ask_kernel(asked, str(KERNEL))
    assert sum(len(ready) for ready, _ in ours) > 50
    for (ready, too_large), answer, pair in zip(ours, answers, asked, strict=True):
        assert isinstance(answer, list), answer
        assert ready == [issue_id for issue_id in answer if issue_id not in too_large], f"seed {seed}: {pair}"


@NEEDS_KERNEL
def test_what_the_overlay_forces_is_what_the_kernel_decides(tmp_path: Path) -> None:
    """Whatever the config, the universe, the dynamics report, the issue and the tools; or it is said beforehand."""
    seed = random.randrange(2**32)
    draw = Draw(seed)
    asked: list[dict[str, Any]] = []
    wanted: list[list[Any]] = []
    for pair, repo in repos(draw, tmp_path, 120):
        issue = TrackedIssue.of(repo.issues[pair["target"]])
        tools = [Toolchain(name, name, Path(name)) for name in pair["tools"]]
        action = Action(*draw.choice([("serial_handoff", 1), *[("speculate_vote", n) for n in (1, 2, 3)]]), 30, "NA")
        overlay = run_overlay(repo, action, issue, tools, {})
        pair = {**pair, "configs": {**pair["configs"], "forced.yaml": overlay}, "config": "forced.yaml"}
        write_pair(pair, again := tmp_path / f"again-{len(asked)}-{draw.random()}")
        tracker = Neighbourhoods({key: TrackedIssue.of(i) for key, i in repo.issues.items()}, repo.blocking)
        path = again / ".cyntra" / "forced.yaml"
        try:
            reason = obstacle(repo, path, action, issue, tracker.is_on_critical_path(issue.issue_id), pair["tools"])
        except ArtifactError:
            continue
        if reason is None:
            asked.append(pair)
            wanted.append([action.swarm_id, action.max_candidates_bin, 1800])
    answers = ask_kernel(asked, str(KERNEL))
    assert len(asked) > 40
    decided = [(want, answer, pair) for want, answer, pair in zip(wanted, answers, asked, strict=True)]
    for want, answer, pair in decided:
        assert answer in (want, "nothing"), f"seed {seed}: {pair}"
    assert sum(answer == want for want, answer, _ in decided) > 30
