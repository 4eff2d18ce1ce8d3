"""Metrics against numbers worked out by hand, and reports whose groups add up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import make_outcomes
from planner.dataset.storage import load_dataset
from planner.errors import DatasetError
from planner.evaluation.decisions import Decisions, decide_jointly, losses
from planner.evaluation.evaluate import evaluate_run, log_probs_on
from planner.evaluation.metrics import Logged, entropy, metrics
from planner.runs.learned import LearnedPolicy
from planner.scoring.bootstrap import mean_interval, ratio_interval
from planner.scoring.reliability import expected_calibration_error
from tests.planner.mutations import damaged_copy
from tests.trained_runs import trained

SERIAL, VOTE = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
LABELS = [SERIAL, VOTE, VOTE, SERIAL]
CHOSEN = [
    SERIAL,  # all four agree
    VOTE._replace(max_minutes_bin=15),  # same topology, fewer minutes
    SERIAL,  # another topology
    SERIAL._replace(max_minutes_bin="NA"),  # same topology, no limit
]
LOGGED = Logged(LABELS, np.array([True, True, True, False]), np.array([600_000, 1_200_000, 1_000, 3_000_000]), 60.0)
REGRET = np.array([0.2, np.nan, 0.0, 0.7])
LEARNED = Decisions("learned", CHOSEN, np.array([0.9, 0.2, 0.6, 0.3]), np.log([0.9, 0.1, 0.2, 0.3]), REGRET)
RULE = Decisions("rule", [SERIAL, VOTE, SERIAL, SERIAL], np.full(4, np.nan), np.full(4, np.nan), np.full(4, np.nan))


def test_metrics_are_those_worked_out_by_hand() -> None:
    found = metrics(LEARNED, LOGGED, np.arange(4), abstain_below=0.5, default=RULE)
    assert found["examples"] == 4
    assert found["accuracy_swarm_id"] == found["accuracy_max_candidates_bin"] == 0.75
    assert found["accuracy_max_minutes_bin"] == 0.5
    assert found["accuracy_max_iterations_bin"] == 1.0
    assert found["exact_match"] == 0.25
    assert found["log_likelihood"] == pytest.approx(np.log([0.9, 0.1, 0.2, 0.3]).mean())
    assert found["same_topology"] == 3
    assert found["mean_duration_s"] == pytest.approx((600 + 1200 + 3000) / 3)
    # 600 s of 30 minutes passed; 1200 s are more than 15 minutes; the third of them did not pass.
    assert found["success_under_budget"] == pytest.approx(1 / 3)
    assert found["entropy_swarm"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert found["top1_share"] == 0.5
    assert found["abstain_rate"] == 0.5
    # Where it abstained it would have lost 1 (a disagreement) and 0.7 (a known regret), the rule agrees both times.
    assert found["risk_default"] == 0
    assert found["abstain_cost"] == pytest.approx(-0.85)
    assert found["risk_accepted"] == pytest.approx((0.2 + 0.0) / 2)
    # Of the second example a single action was executed.
    assert found["regret"] == pytest.approx(0.3)
    # Four bins of one example each: |0.9 - 1|, |0.2 - 0|, |0.6 - 0|, |0.3 - 0|.
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.3) / 4)


def test_plans_of_one_swarm_with_other_numbers_of_candidates_are_another_topology() -> None:
    decisions = replace(LEARNED, actions=[SERIAL, VOTE._replace(max_candidates_bin=3), VOTE, SERIAL])
    found = metrics(decisions, LOGGED, np.arange(4), abstain_below=0.5, default=RULE)
    assert (found["accuracy_swarm_id"], found["same_topology"]) == (1.0, 3)
    assert found["mean_duration_s"] == pytest.approx((600 + 1 + 3000) / 3)
    assert found["success_under_budget"] == pytest.approx(2 / 3)


def test_a_bin_of_the_calibration_error_counts_by_its_examples() -> None:
    # Two bins: the three least sure, right twice in three, and the two surest, right once in two.
    confidence, correct = np.array([0.9, 0.5, 0.6, 0.8, 0.4]), np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    wanted = 3 / 5 * abs(0.5 - 2 / 3) + 2 / 5 * abs(0.85 - 1 / 2)
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(wanted)


def test_a_decision_at_the_threshold_is_no_abstention_and_a_run_of_just_its_budget_is_within_it() -> None:
    found = metrics(LEARNED, LOGGED, np.arange(4), abstain_below=0.6, default=RULE)
    assert found["abstain_rate"] == 0.5
    exact = replace(LOGGED, duration_ms=np.array([30 * 60_000, 15 * 60_000, 0, 0]))
    assert metrics(LEARNED, exact, np.arange(2), abstain_below=0.5, default=RULE)["success_under_budget"] == 1


def test_a_capped_choice_is_counted_and_may_have_lost_everything_when_risk_is_promised() -> None:
    at_most = np.where([True, False, False, False], 1.2, REGRET)
    decisions = replace(LEARNED, capped=np.array([True, False, False, False]), regret_at_most=at_most)
    assert losses(decisions, LABELS).tolist() == pytest.approx([1.0, 1.0, 0.0, 0.7])
    found = metrics(decisions, LOGGED, np.arange(4), abstain_below=0.5, default=RULE)
    assert found["capped_choices"] == 1
    assert found["regret_at_most"] == pytest.approx((1.2 + 0.0 + 0.7) / 3)
    assert found["risk_accepted"] == pytest.approx((1.0 + 0.0) / 2)
    assert found["regret"] == pytest.approx(0.3)


def test_choices_are_counted_over_the_rows_that_are_asked_for() -> None:
    decisions = replace(LEARNED, capped=np.array([True, False, False, True]))
    found = metrics(decisions, LOGGED, np.array([1, 3]), abstain_below=0.5, default=RULE)
    assert (found["examples"], found["capped_choices"]) == (2, 1)
    # Two and one candidates, 15 minutes and no limit; over all four one of four decisions has two candidates.
    assert found["entropy_candidates"] == pytest.approx(np.log(2))
    over_all = metrics(decisions, LOGGED, np.arange(4), abstain_below=0.5, default=RULE)
    assert over_all["entropy_candidates"] == over_all["entropy_swarm"] < np.log(2)


def test_calibration_of_confidences_of_which_one_is_missing_is_absent() -> None:
    assert expected_calibration_error(np.array([0.5, np.nan]), np.array([1.0, 0.0])) is None


def test_a_policy_without_probabilities_never_abstains_and_has_no_calibration() -> None:
    found = metrics(RULE, LOGGED, np.arange(4), abstain_below=0.5, default=RULE)
    assert (found["abstain_rate"], found["abstain_cost"], found["ece"], found["log_likelihood"]) == (
        0,
        None,
        None,
        None,
    )
    assert found["exact_match"] == 0.75


def test_metrics_of_no_examples_are_absent_and_no_crash() -> None:
    found = metrics(LEARNED, LOGGED, np.arange(0), abstain_below=0.5, default=RULE)
    assert found["examples"] == 0 and found["exact_match"] is None and found["ece"] is None


def test_a_sandbox_minute_shortens_the_budget() -> None:
    shorter = Logged(LABELS, LOGGED.passed, LOGGED.duration_ms, 10.0)
    found = metrics(LEARNED, shorter, np.arange(4), abstain_below=0.5, default=RULE)
    assert found["success_under_budget"] == 0.0


def test_calibration_error_is_nearly_zero_for_honest_confidences_and_large_for_boasts() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0, 1, 50_000)
    correct = (random.uniform(0, 1, 50_000) < confidence).astype(float)
    honest, boasting = (expected_calibration_error(c, correct) for c in (confidence, np.full(50_000, 0.99)))
    assert honest is not None and honest < 0.02
    assert boasting is not None and boasting == pytest.approx(0.49, abs=0.02)


def test_entropy_is_zero_for_one_value_and_log_n_for_n_equal_ones() -> None:
    assert entropy(["a", "a"]) == 0
    assert entropy([1, 2, 3, "NA"]) == pytest.approx(np.log(4))
    assert entropy([]) is None


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        mean, low, high = mean_interval(random.normal(3, 1, 60), resamples=400, seed=trial)
        assert low <= mean <= high
        covered += low <= 3 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_bootstrap_is_repeatable_and_narrows_with_more_cases() -> None:
    values = np.random.default_rng(2).normal(size=400)
    assert mean_interval(values) == mean_interval(values)
    _, low, high = mean_interval(values[:40])
    _, narrow_low, narrow_high = mean_interval(values)
    assert narrow_high - narrow_low < high - low
    assert all(np.isnan(mean_interval([])))


def test_the_interval_of_a_ratio_draws_both_values_of_a_case_together() -> None:
    lost = np.random.default_rng(3).exponential(size=200)
    assert ratio_interval(0.25 * lost, lost) == pytest.approx((0.25, 0.25, 0.25))
    ratio, low, high = ratio_interval(np.random.default_rng(4).permutation(lost), lost)
    assert ratio == pytest.approx(1) and low < 0.9 and high > 1.1
    assert all(np.isnan(ratio_interval(lost, 0 * lost)))


class FourRows:
    """As much of a split as joint decoding reads: one code job and one world job, each with the same head scores."""

    labels = np.array([[0, 0, 0, 1], [1, 1, 0, 0]])
    table: dict[str, Any] = {"job_type": ["code", "fab-world"]}  # noqa: RUF012
    outcomes = make_outcomes([[], []], ActionSpace.default(["serial_handoff"]))

    def __len__(self) -> int:
        return 2


def test_decisions_are_valid_for_their_job_type_and_their_confidences_are_joint_probabilities() -> None:
    space = ActionSpace.from_document(
        {
            **ActionSpace.default(["serial_handoff", "speculate_vote"]).to_document(),
            "max_candidates_bins": [1, 2],
            "max_minutes_bins": [15],
            "max_iterations_bins": [1, "NA"],
        }
    )
    # Serial is likelier by itself, two candidates are likelier by themselves, and both together are not allowed.
    heads = [np.log(np.tile(p, (2, 1))) for p in ([0.6, 0.4], [0.2, 0.8], [1.0], [0.5, 0.5])]
    found = decide_jointly("hand", heads, FourRows(), space)  # type: ignore[arg-type]
    assert found.actions[0] == Action("speculate_vote", 2, 15, "NA")
    # code: serial 1: 0.12, vote 1: 0.08, vote 2: 0.32, each times 0.5 for "NA".
    assert found.confidence[0] == pytest.approx(0.32 / 0.52)
    assert np.exp(found.label_log_prob[0]) == pytest.approx(0.12 / 0.52)
    assert found.actions[1].swarm_id == "speculate_vote"
    assert found.confidence[1] == pytest.approx(0.16 / 0.52)
    assert np.exp(found.label_log_prob[1]) == pytest.approx(0.16 / 0.52)


@pytest.fixture(scope="module")
def run(corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MLP trained on the excerpt for two epochs."""
    return trained(corpus_dataset, tmp_path_factory.mktemp("runs") / "run", "epochs=2", "model.hidden=8")


def test_a_report_sets_the_policy_beside_the_rule_and_its_groups_add_up(run: Path, corpus_dataset: Path) -> None:
    report = evaluate_run(run).to_json()
    dataset = load_dataset(corpus_dataset)
    orjson.dumps(report)
    assert set(report["splits"]) == {name for name, split in dataset.splits.items() if len(split)}
    for name, groups in report["splits"].items():
        policies = groups["all"]["policies"]
        assert {"FeatureMLP", "heuristic", "most frequent"} <= set(policies)

        def examples(prefix: str, groups: dict[str, Any] = groups) -> int:
            return sum(
                group["policies"]["heuristic"]["examples"] for key, group in groups.items() if key.startswith(prefix)
            )

        n = len(dataset.splits[name])
        assert examples("all") == examples("job_type=") == examples("domain=") == n
        assert examples("seen issues") + examples("unseen issues") == n
        assert examples("seen issues") == dataset.info.splits[name].of_seen_issues
        assert len(groups) >= 3


def test_another_action_space_is_refused(run: Path, corpus_dataset: Path, tmp_path: Path) -> None:
    space = load_dataset(corpus_dataset).info.action_space.model_dump()
    other = damaged_copy(
        corpus_dataset, tmp_path / "other", action_space={**space, "swarm_ids": ["serial_handoff", "round_table"]}
    )
    with pytest.raises(DatasetError, match="round_table"):
        evaluate_run(run, other)


def test_a_dataset_with_another_vocabulary_is_encoded_anew(corpus_dataset: Path, tmp_path: Path) -> None:
    small = ("model.d_model=16", "model.layers=1", "model.heads=2", "n_similar=2")
    path = trained(corpus_dataset, tmp_path / "run", *small, arch="transformer_planner")
    policy, dataset = LearnedPolicy(path), load_dataset(corpus_dataset)
    here = log_probs_on(policy, dataset, dataset.splits["val"])
    turned = damaged_copy(corpus_dataset, tmp_path / "turned", vocabulary=dataset.info.vocabulary[::-1])
    ids = np.load(turned / "val" / "tokens.npy")
    np.save(turned / "val" / "tokens.npy", len(dataset.info.vocabulary) - 1 - ids)
    other = load_dataset(turned)
    for a, b in zip(here, log_probs_on(policy, other, other.splits["val"]), strict=True):
        assert np.allclose(a, b, atol=1e-6)
