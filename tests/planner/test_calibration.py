"""Calibration: temperatures undo overconfidence, and a promised risk is kept as often as promised."""

from pathlib import Path

import numpy as np
import pytest

from planner.config import load_config
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.evaluation.calibrate import calibrate_run
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import choose_threshold, fit_temperature, hoeffding_bentkus, scale, smallest_sample
from planner.training.loop import start_run, train


def test_the_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    truth = scale(random.normal(size=(4000, 5)), 1.0)
    labels = np.array([random.choice(5, p=np.exp(row)) for row in truth])
    assert fit_temperature(scale(truth, 1 / 3), labels) == pytest.approx(3.0, rel=0.15)


def test_scaling_keeps_forbidden_values_forbidden() -> None:
    scaled = scale(np.array([[0.0, -np.inf, -1.0]]), 2.0)
    assert scaled[0, 1] == -np.inf
    assert np.exp(scaled).sum() == pytest.approx(1.0)


def test_the_promise_is_kept_at_least_as_often_as_promised() -> None:
    random = np.random.default_rng(1)
    broken, used = 0, 0
    for _ in range(200):
        confidence = random.random(600)
        loss = (random.random(600) > 0.8 + 0.2 * confidence).astype(float)
        found = choose_threshold(confidence, loss, max_risk=0.1, level=0.9)
        true_risk = 0.2 - 0.2 * (1 + found.value) / 2
        broken += found.guaranteed and true_risk > 0.1
        used += found.guaranteed
    assert used > 150
    assert broken / 200 <= 0.1


def test_without_enough_examples_nothing_is_promised() -> None:
    n = smallest_sample(0.1, 0.95) - 1
    found = choose_threshold(np.linspace(0, 1, n), np.zeros(n), max_risk=0.1, level=0.95)
    assert not found.guaranteed
    assert found.value > 1


def test_the_p_value_is_the_binomial_tail_at_most_times_e() -> None:
    assert hoeffding_bentkus(0.0, 29, 0.1) == pytest.approx(0.9**29)
    assert hoeffding_bentkus(0.2, 50, 0.1) == 1.0


def trained(dataset: Path, run: Path, *overrides: str) -> Path:
    config = load_config("mlp_planner", None, ["epochs=3", *overrides])
    start_run(run, config, dataset, init_from=None, workers=1, resume=False)
    train(run)
    return run


def test_a_joint_head_has_one_temperature(corpus_dataset: Path, tmp_path: Path) -> None:
    run = trained(corpus_dataset, tmp_path / "run", "model.action_head=joint")
    calibration = calibrate_run(run)
    assert list(calibration.temperatures) == ["joint"]
    inputs = inputs_of_split(load_dataset(corpus_dataset).splits["train"])
    (raw,), (found,) = (
        LearnedPolicy(run, calibrated=False).head_log_probs(inputs),
        LearnedPolicy(run).head_log_probs(inputs),
    )
    np.testing.assert_allclose(found, scale(raw, calibration.temperatures["joint"]))
    assert not np.allclose(found, raw)


def test_a_calibrated_run_carries_its_temperatures(corpus_dataset: Path, tmp_path: Path) -> None:
    run = trained(corpus_dataset, tmp_path / "run")
    calibration = calibrate_run(run)
    inputs = inputs_of_split(load_dataset(corpus_dataset).splits["train"])
    raw = LearnedPolicy(run, calibrated=False).head_log_probs(inputs)
    found = LearnedPolicy(run).head_log_probs(inputs)
    expected = scale(raw[2], calibration.temperatures["max_minutes_bin"])
    np.testing.assert_allclose(found[2], expected)
    assert not calibration.guaranteed  # so few examples cannot show 0.1 at 0.95
