"""Today's rule is the kernel's rule: the recorded answers, and fresh ones where the kernel is installed."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.beads import read_blocking, read_issues
from planner.artifacts.dynamics import read_dynamics
from planner.artifacts.records import Quarantine
from planner.artifacts.rule_settings import decisive_part
from planner.artifacts.tracked_issue import Neighbourhoods, TrackedIssue
from planner.artifacts.universe import NO_UNIVERSE, load_kernel_config, load_universes
from planner.policies.heuristic import HeuristicPolicy
from tests.rule.pairs import FIXTURE, KERNEL, Draw, ask_kernel, draw_pair, write_pair


def decide(pair: dict[str, Any], repo: Path) -> list[Any]:
    """Our rule's answer, from the same files."""
    write_pair(pair, repo)
    quarantine = Quarantine(repo)
    universe = load_universes(repo).get("u", NO_UNIVERSE)
    rule = HeuristicPolicy(
        decisive_part(load_kernel_config(repo / ".cyntra" / "config.yaml")),
        dynamics=read_dynamics(repo / ".cyntra"),
        max_run_minutes=universe.max_run_minutes,
        routing_overrides=universe.routing_overrides,
    )
    issues = {key: TrackedIssue.of(issue) for key, issue in read_issues(repo, quarantine).items()}
    tracker = Neighbourhoods(issues, read_blocking(repo, quarantine))
    assert quarantine.entries == []
    plan = rule.plan(issues[pair["target"]], pair["tools"], tracker.is_on_critical_path(pair["target"]))
    return [plan.swarm_id, plan.candidates, plan.timeout_seconds]


def differences(pairs: list[dict[str, Any]], directory: Path) -> list[str]:
    """The pairs in which our rule and the kernel differ, as text to look at."""
    found = []
    for number, pair in enumerate(pairs):
        ours = decide(pair, directory / str(number))
        if ours != pair["answer"]:
            found.append(f"ours {ours}, the kernel's {pair['answer']}: {json.dumps(pair)}")
    return found


def test_the_rule_answers_as_the_kernel_did_in_every_recorded_pair(tmp_path: Path) -> None:
    pairs = orjson.loads(gzip.decompress(FIXTURE.read_bytes()))
    assert len(pairs) >= 2000
    assert {pair["answer"][0] for pair in pairs} == {"serial_handoff", "speculate_vote"}
    assert {pair["answer"][1] for pair in pairs} >= {1, 2, 3, 4}
    wrong = differences(pairs, tmp_path)
    assert not wrong, f"{len(wrong)} of {len(pairs)} differ, the first: {wrong[0]}"


@pytest.mark.skipif(
    KERNEL is None, reason="the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA"
)
def test_the_rule_answers_as_the_kernel_does_in_pairs_never_seen(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    draw = Draw(seed)
    pairs = [draw_pair(draw) for _ in range(60)]
    answers = ask_kernel(pairs, str(KERNEL))
    decided = [{**pair, "answer": answer} for pair, answer in zip(pairs, answers, strict=True) if answer != "nothing"]
    assert len(decided) > 30
    wrong = differences(decided, tmp_path)
    assert not wrong, f"seed {seed}: {wrong[0]}"
