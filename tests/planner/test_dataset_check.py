"""Tests of the feasibility checks: what near-duplicates, baselines and the size of validation say of a dataset."""

import math
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from planner.dataset.storage import Dataset, load_dataset
from planner.errors import DatasetError
from planner.evaluation.dataset_check import check_dataset, judge, policies_trained_on
from planner.evaluation.evaluate import evaluate_run
from planner.policies.most_frequent import SMOOTHING, MostFrequent
from tests.trained_runs import trained


def with_labels_by_risk(source: Path, target: Path, noise: float) -> Dataset:
    """A copy whose labels follow from the issue's risk, but for a share ``noise`` of labels drawn from those four."""
    shutil.copytree(source, target)
    dataset = load_dataset(source)
    names = [feature.name for feature in dataset.info.context_features]
    risks = [names.index(f"risk_{risk}") for risk in ("low", "medium", "high", "critical")]
    draw = np.random.default_rng(0)
    chosen = dataset.space.valid_indices("code")[[0, 7, 14, 21]]
    for name, split in dataset.splits.items():
        risk = np.asarray(split.context_features)[:, risks].argmax(axis=1)
        drawn = draw.integers(0, 4, len(risk))
        np.save(target / name / "labels.npy", chosen[np.where(draw.random(len(risk)) < noise, drawn, risk)])
    return load_dataset(target)


def test_labels_that_follow_from_the_issue_leave_a_ceiling_of_one_and_are_enough(
    synthetic: tuple[Path, Path], tmp_path: Path
) -> None:
    report = check_dataset(with_labels_by_risk(synthetic[1], tmp_path / "dataset", 0.0)).to_json()
    same, nearest = report["agreement"]
    assert same["near_duplicates"] == "same issue features" and same["agreement"] == 1.0
    assert same["ceiling"] == (1.0, 1.0) and 0.2 < same["chance"] < 0.4
    assert nearest["agreement"] > nearest["chance"] + 0.3
    assert report["enough"] and report["reasons"] == []


def test_half_random_labels_set_the_ceiling_that_theory_says_and_ask_for_more_validation(
    synthetic: tuple[Path, Path], tmp_path: Path
) -> None:
    report = check_dataset(with_labels_by_risk(synthetic[1], tmp_path / "dataset", 0.5)).to_json()
    (same, _) = report["agreement"]
    # Of the four labels one has probability 5/8 and three have 1/8.
    expected = (5 / 8) ** 2 + 3 * (1 / 8) ** 2
    assert same["agreement"] == pytest.approx(expected, abs=0.12)
    low, high = same["ceiling"]
    assert low < 5 / 8 < expected**0.5 == pytest.approx(high, abs=0.1)
    assert report["validation_needed"] > report["splits"]["val"]["examples"]
    assert not report["enough"]
    assert report["reasons"][-1].endswith(f"takes {report['validation_needed']}")


def test_labels_drawn_at_random_are_too_little_whatever_their_number(synthetic: tuple[Path, Path]) -> None:
    report = check_dataset(load_dataset(synthetic[1])).to_json()
    assert not report["enough"]
    assert "no more often than chance" in report["reasons"][0]
    for row in report["agreement"]:
        assert row["excess_low"] <= 0 <= row["excess_high"]


def test_the_baselines_losses_are_those_of_hand_calculation(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    report = check_dataset(dataset).to_json()["validation"]
    valid = dataset.space.valid_indices("code")
    labels = dataset.splits["val"].labels
    assert report["random"]["joint"] == pytest.approx(math.log(len(valid)))
    shares = [np.mean(valid[:, 0] == label) for label in labels[:, 0]]
    assert report["random"]["swarm_id"] == pytest.approx(-np.mean(np.log(shares)))
    assert report["random"]["max_iterations_bin"] == pytest.approx(0.0, abs=1e-9)
    counts = Counter(map(tuple, np.asarray(dataset.splits["train"].labels).tolist()))
    total = sum(counts.values()) + SMOOTHING * len(valid)
    by_hand = -np.mean([math.log((counts[tuple(label)] + SMOOTHING) / total) for label in labels.tolist()])
    assert report["most frequent"]["joint"] == pytest.approx(by_hand)
    favourite = max(map(tuple, valid.tolist()), key=lambda action: counts[action])
    matches = np.mean([tuple(label) == favourite for label in labels.tolist()])
    assert report["most frequent"]["exact_match"] == pytest.approx(matches)


def test_values_are_counted_against_the_examples_that_show_them(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    values = check_dataset(dataset).to_json()["values"]
    labels = np.asarray(dataset.splits["train"].labels)
    candidates = Counter(labels[:, 1].tolist())
    assert values["max_candidates_bin"] == {
        "possible": 4,
        "seen": len(candidates),
        "rarest": min(candidates.values()),
        "examples_per_seen": len(labels) / len(candidates),
    }
    assert values["joint"]["possible"] == len(dataset.space.valid_actions("code"))
    assert values["max_iterations_bin"]["possible"] == 1


def test_a_trained_runs_loss_is_the_one_that_evaluation_reports(synthetic: tuple[Path, Path], tmp_path: Path) -> None:
    trained(synthetic[1], tmp_path / "run", "epochs=2")
    dataset = load_dataset(synthetic[1])
    report = check_dataset(dataset, policies_trained_on(dataset, {"mine": tmp_path / "run"})).to_json()
    evaluated = evaluate_run(tmp_path / "run").to_json()["splits"]["val"]["all"]["policies"]
    mine = evaluated["FeatureMLP"]
    assert report["validation"]["mine"]["joint"] == pytest.approx(-mine["log_likelihood"])
    assert report["validation"]["mine"]["exact_match"] == pytest.approx(mine["exact_match"])


def test_a_run_on_another_dataset_is_refused(
    synthetic: tuple[Path, Path], corpus_dataset: Path, tmp_path: Path
) -> None:
    trained(synthetic[1], tmp_path / "run")
    with pytest.raises(DatasetError, match="mine: not trained on"):
        policies_trained_on(load_dataset(corpus_dataset), {"mine": tmp_path / "run"})


def test_a_few_real_runs_are_too_little_data_and_the_command_says_so(corpus_dataset: Path, tmp_path: Path) -> None:
    report_path = tmp_path / "check.json"
    command = [sys.executable, "-c", "from planner.cli import main; main()", "dataset", "check", str(corpus_dataset)]
    done = subprocess.run([*command, "--out", str(report_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = orjson.loads(report_path.read_bytes())
    assert not report["enough"] and "verdict: too little data" in done.stdout
    assert all(reason in done.stdout for reason in report["reasons"])


def test_an_empty_validation_is_a_reason_of_its_own(corpus_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_dataset, tmp_path / "dataset")
    empty = tmp_path / "dataset" / "val"
    for path in empty.glob("*.npy"):
        array = np.load(path)
        np.save(path, array[:1] if path.name == "outcome_bounds.npy" else array[:0])
    dataset = load_dataset(tmp_path / "dataset")
    report = check_dataset(dataset).to_json()
    assert report["validation"] == {} and any("validation is empty" in reason for reason in report["reasons"])
    assert judge(MostFrequent(dataset), dataset.splits["train"])["joint"] > 0


def test_a_handful_of_examples_is_not_compared_with_one_another(
    synthetic: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.evaluation.dataset_check.MIN_EXAMPLES", 10_000)
    report = check_dataset(load_dataset(synthetic[1])).to_json()
    assert report["agreement"] == [] and not report["enough"]
    assert report["reasons"][0].startswith("fewer than 10000 examples")
