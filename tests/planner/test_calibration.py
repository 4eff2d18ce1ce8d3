"""Calibration: temperatures undo overconfidence, and a promised risk is kept as often as promised."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from planner.dataset.storage import inputs_of_split, load_dataset
from planner.display.evaluation import print_calibration
from planner.evaluation.calibrate import calibrate_run
from planner.runs.checkpoint import checkpoint_path
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import (
    choose_threshold,
    fit_temperature,
    hoeffding_bentkus,
    out_of_fold,
    scale,
    smallest_sample,
)
from tests.trained_runs import trained


def test_the_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    truth = scale(random.normal(size=(4000, 5)), 1.0)
    labels = np.array([random.choice(5, p=np.exp(row)) for row in truth])
    assert fit_temperature(scale(truth, 1 / 3), labels) == pytest.approx(3.0, rel=0.15)


def test_scaling_keeps_forbidden_values_forbidden() -> None:
    scaled = scale(np.array([[0.0, -np.inf, -1.0]]), 2.0)
    assert scaled[0, 1] == -np.inf
    assert np.exp(scaled).sum() == pytest.approx(1.0)


def test_a_temperature_above_one_makes_less_sure() -> None:
    log_odds = [np.subtract(*scale(np.array([[2.0, 0.0]]), temperature)[0]) for temperature in (0.5, 1.0, 2.0)]
    assert log_odds == pytest.approx([4.0, 2.0, 1.0])


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6])
def test_the_promise_is_kept_at_least_as_often_as_promised(share: float) -> None:
    random = np.random.default_rng(1)
    broken, used = 0, 0
    for _ in range(200):
        confidence = random.random(600)
        loss = (random.random(600) < share * (1 - confidence)).astype(float)
        found = choose_threshold(confidence, loss, max_risk=0.1, level=0.9)
        # The mean of share * (1 - confidence) above the threshold: at 0 it is well beyond what is promised.
        broken += found.guaranteed and share * (1 - found.value) / 2 > 0.1
        used += found.guaranteed
    assert used > 150
    assert broken / 200 <= 0.1


@pytest.mark.parametrize("order", [(0.0, 1.0), (1.0, 0.0)])
def test_decisions_of_one_confidence_are_accepted_together_or_not_at_all(order: tuple[float, float]) -> None:
    confidence: NDArray[np.float64] = np.repeat([0.9, 0.5], [40, 100])
    loss = np.concatenate([np.zeros(40), np.repeat(order, 50)])
    found = choose_threshold(confidence, loss, max_risk=0.1, level=0.9)
    assert (found.value, found.accepted, found.risk) == (0.9, 40, 0)


def test_the_search_ends_at_the_first_threshold_that_fails() -> None:
    # 20 losses after 40 decisions without: at the 60th a third is lost. With 940 more without it is 2 % again.
    confidence = np.linspace(1, 0.1, 1000)
    loss = np.concatenate([np.zeros(40), np.ones(20), np.zeros(940)])
    found = choose_threshold(confidence, loss, max_risk=0.1, level=0.9)
    assert 40 <= found.accepted < 60
    assert found.value == confidence[found.accepted - 1]


def test_a_surer_promise_accepts_less() -> None:
    random = np.random.default_rng(2)
    confidence = random.random(600)
    loss = (random.random(600) < 0.8 - confidence).astype(float)
    accepted = [choose_threshold(confidence, loss, max_risk=0.1, level=level).accepted for level in (0.5, 0.9, 0.99)]
    assert accepted[0] > accepted[1] > accepted[2] > 0


def test_without_enough_examples_nothing_is_promised() -> None:
    n = smallest_sample(0.1, 0.95) - 1
    found = choose_threshold(np.linspace(0, 1, n), np.zeros(n), max_risk=0.1, level=0.95)
    assert not found.guaranteed
    assert found.value > 1


def test_just_enough_faultless_examples_make_the_promise() -> None:
    n = smallest_sample(0.1, 0.95)
    assert n == 29  # 0.9 ** 28 is more than 0.05, 0.9 ** 29 is less
    found = choose_threshold(np.full(n, 0.7), np.zeros(n), max_risk=0.1, level=0.95)
    assert (found.guaranteed, found.value, found.accepted, found.examples, found.risk) == (True, 0.7, n, n, 0.0)


def binomial_tail(k: int, n: int, p: float) -> float:
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def hoeffding(risk: float, n: int, max_risk: float) -> float:
    divergence = risk * math.log(risk / max_risk) + (1 - risk) * math.log((1 - risk) / (1 - max_risk))
    return math.exp(-n * divergence)


def test_the_p_value_is_the_smaller_of_hoeffdings_and_e_times_the_binomial_tail() -> None:
    assert hoeffding_bentkus(0.0, 29, 0.1) == pytest.approx(0.9**29)
    assert hoeffding_bentkus(0.2, 50, 0.1) == hoeffding_bentkus(0.1, 50, 0.1) == 1.0
    # Far below the bound Bentkus' inequality is the sharper one, and near the bound neither says anything.
    sharper = math.e * binomial_tail(20, 400, 0.1)
    assert sharper < hoeffding(0.05, 400, 0.1)
    assert hoeffding_bentkus(0.05, 400, 0.1) == pytest.approx(sharper)
    assert math.e * binomial_tail(1, 20, 0.1) > hoeffding(0.05, 20, 0.1)
    assert hoeffding_bentkus(0.05, 20, 0.1) == pytest.approx(hoeffding(0.05, 20, 0.1))


def test_a_part_of_a_loss_counts_as_a_whole_one_and_noise_of_the_sum_as_none() -> None:
    assert hoeffding_bentkus(20.5 / 400, 400, 0.1) == pytest.approx(math.e * binomial_tail(21, 400, 0.1))
    mean = np.nextafter(20 / 400, 1)
    assert 400 * mean > 20
    assert hoeffding_bentkus(float(mean), 400, 0.1) == pytest.approx(math.e * binomial_tail(20, 400, 0.1))


def test_few_examples_move_the_temperature_little_and_many_as_far_as_they_say() -> None:
    # Always right, with a probability of 0.6: without a prior the sharpest temperature there is would be the best.
    right = np.log([[0.6, 0.4]])
    found = {
        n: fit_temperature(np.repeat(right, n, axis=0), np.zeros(n, dtype=np.int64)) for n in (0, 1, 4, 100, 10_000)
    }
    assert found[0] == 1
    assert 0.9 < found[1] < 1
    assert 0.7 < found[4] < found[1]
    assert found[10_000] < found[100] < 0.5
    wrong = fit_temperature(right, np.array([1]))
    assert 1 < wrong < 1.1


def test_a_head_that_says_the_same_at_every_temperature_keeps_its_own() -> None:
    assert fit_temperature(np.zeros((5, 1)), np.zeros(5, dtype=np.int64)) == 1


def test_an_example_is_scaled_by_what_other_issues_say() -> None:
    heads = [np.log(np.tile([0.6, 0.4], (12, 1)))]
    labels: NDArray[np.int64] = np.zeros((12, 1), dtype=np.int64)
    issues = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    labels[:2] = 1
    (found,) = out_of_fold(heads, labels, issues)
    # Issues 0 and 5 share a fold; the two wrong ones are unknown to it, and known to all others.
    of_others = fit_temperature(heads[0][2:10], labels[2:10, 0])
    np.testing.assert_allclose(found[[0, 1, 10, 11]], scale(heads[0], of_others)[:4])
    without_1 = np.array([i for i in range(12) if issues[i] != 1])
    np.testing.assert_allclose(
        found[2:4], scale(heads[0], fit_temperature(heads[0][without_1], labels[without_1, 0]))[:2]
    )
    np.testing.assert_allclose(heads[0], np.log(np.tile([0.6, 0.4], (12, 1))))


def boasting(dataset: Path, run: Path, *overrides: str) -> Path:
    """A run whose policy is nearly sure of everything."""
    trained(dataset, run, "epochs=3", *overrides)
    weights = load_file(checkpoint_path(run) / "model.safetensors")
    weights["heads.linear.weight"] = 30 * weights["heads.linear.weight"]
    save_file(weights, checkpoint_path(run) / "model.safetensors")
    return run


def test_a_joint_head_has_one_temperature(corpus_dataset: Path, tmp_path: Path) -> None:
    run = boasting(corpus_dataset, tmp_path / "run", "model.action_head=joint")
    calibration = calibrate_run(run)
    assert list(calibration.temperatures) == ["joint"]
    inputs = inputs_of_split(load_dataset(corpus_dataset).splits["train"])
    (raw,), (found,) = (
        LearnedPolicy(run, calibrated=False).head_log_probs(inputs),
        LearnedPolicy(run).head_log_probs(inputs),
    )
    np.testing.assert_allclose(found, scale(raw, calibration.temperatures["joint"]))
    assert not np.allclose(found, raw)


def test_a_calibrated_run_carries_its_temperatures(
    corpus_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = boasting(corpus_dataset, tmp_path / "run")
    calibration = calibrate_run(run)
    inputs = inputs_of_split(load_dataset(corpus_dataset).splits["train"])
    raw = LearnedPolicy(run, calibrated=False).head_log_probs(inputs)
    found = LearnedPolicy(run).head_log_probs(inputs)
    assert calibration.temperatures["max_minutes_bin"] > 1.2
    expected = scale(raw[2], calibration.temperatures["max_minutes_bin"])
    np.testing.assert_allclose(found[2], expected)
    assert not calibration.guaranteed  # so few examples cannot show 0.1 at 0.95
    errors = calibration.ece_before, calibration.ece_cross_validated, calibration.ece_after
    assert errors[0] is not None and errors[1] is not None and errors[2] is not None
    assert errors[0] - 0.1 > errors[1] > errors[2]
    print_calibration(calibration, run)
    assert "not kept" not in capsys.readouterr().out


def test_temperatures_that_make_unseen_confidences_worse_are_not_kept(
    corpus_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(corpus_dataset, tmp_path / "run", "epochs=3", "model.action_head=joint")
    calibration = calibrate_run(run)
    assert calibration.ece_before is not None and calibration.ece_cross_validated is not None
    assert calibration.ece_cross_validated > calibration.ece_before == calibration.ece_after
    assert (calibration.temperatures, calibration.temperatures_kept) == ({"joint": 1.0}, False)
    print_calibration(calibration, run)
    assert "not kept: on cross-validation they make the calibration error larger" in " ".join(
        capsys.readouterr().out.split()
    )
