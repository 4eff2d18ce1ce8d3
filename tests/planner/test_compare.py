"""Every policy in one table: on winners with regret, resumable, and refused where it cannot be."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.judging.relabel import relabel
from planner.errors import ConfigError
from planner.evaluation.compare import MEMBERS, compare
from planner.evaluation.comparison_rows import RiskTarget
from tests.bench.ledgers import ten_cases, write_ledger
from tests.planner.recording_tracker import heard
from tests.planner.test_trackers import RECORDER


@pytest.fixture
def winners(tmp_path: Path, corpus_dataset: Path) -> Path:
    relabel(write_ledger(tmp_path / "ledger.sqlite", ten_cases()), corpus_dataset, tmp_path / "winners")
    return tmp_path / "winners"


def test_policies_on_winners_are_judged_by_regret_and_finished_runs_are_kept(
    ray_cluster: Any, winners: Path, tmp_path: Path
) -> None:
    chosen = ["heuristic", "single_best", "safe_values", "most_frequent_nearby", "mlp_planner"]
    report = compare(
        winners,
        tmp_path / "out",
        policies=chosen,
        seeds=2,
        overrides=["epochs=1"],
        promise=RiskTarget(0.9, 0.5),
        track=[RECORDER],
    ).to_json()
    assert {name: heard(tmp_path / "out/runs" / name)[-1]["finished"] for name in ("mlp_planner-0", "value-4")} == {
        "mlp_planner-0": True,
        "value-4": True,
    }
    rows = {(row["policy"], row["split"], row["issues"]): row for row in report["rows"]}
    # In the held-out cases the serial plan, today's rule's, fails and the vote passes (utilities as in test_judging).
    rule = rows["heuristic", "test", "all"]
    assert rule["regret"] == pytest.approx(rule["risk_accepted"])
    assert rule["regret"] > 0.9
    # On train the serial plan is a little better: nothing there tells that it will fail.
    assert rows["single best", "test", "all"]["regret"] > 0.9
    # Each action was tried five times in train, too rarely to be called safe: today's rule stays.
    assert rows["safe values", "test", "all"]["regret"] == pytest.approx(rule["regret"])
    assert rows["mlp_planner", "test", "all"]["parameters"] > 1000
    assert (tmp_path / "out/comparison.md").read_text().count("\n") == 2 + len(report["rows"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*/run.json")}
    assert len(before) == 2 + MEMBERS
    again = compare(
        winners, tmp_path / "out", policies=chosen, seeds=2, overrides=["epochs=1"], promise=RiskTarget(0.9, 0.5)
    ).to_json()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again["rows"] == report["rows"]
    assert orjson.loads((tmp_path / "out/comparison.json").read_bytes()) == again


def test_a_policy_that_needs_outcomes_is_refused_where_there_are_none(corpus_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="single_best: not here; choose from heuristic"):
        compare(corpus_dataset, tmp_path, policies=["single_best"])
