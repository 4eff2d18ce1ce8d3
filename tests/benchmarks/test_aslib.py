"""Small scenarios whose PAR10 and closed gap are known by hand, through the same policies, decisions and regret."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.aslib import SINGLE_BEST, VIRTUAL_BEST, Result, cost_text, evaluate, main, read_feature_cost, report
from benchmarks.scenario import Scenario, impute, read_scenario, write_fold
from benchmarks.selectors import PairwiseForest, choose_gate
from planner.errors import ConfigError, DatasetError

CUTOFF_S = 100.0
SOLVERS = ("fast", "slow", "thorough")
PROBLEMS = 120
"""A third are easy: fast takes 1 s, slow 81 s. On the others fast fails and slow takes 81 s. thorough always takes 90 s
but for the problems that nobody solves."""
UNSOLVED = (0, 1)


def seconds_of(solver: str, number: int) -> float | None:
    """The solver's time on a problem; None where it fails."""
    if number in UNSOLVED:
        return None
    if solver == "fast":
        return 1.0 if number % 3 == 0 else None
    return 81.0 if solver == "slow" else 90.0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f_kind tells the easy problems from the others, f_noise tells nothing; some values are missing."""
    directory = tmp_path_factory.mktemp("scenario")
    noise = np.random.default_rng(0).uniform(size=PROBLEMS)
    numbers = range(PROBLEMS)
    pq.write_table(
        pa.table(
            {
                "issue_id": [f"p{number}" for number in numbers],
                "f_kind": [float(number % 3 == 0) for number in numbers],
                "f_noise": [None if number % 20 == 7 else value for number, value in enumerate(noise.tolist())],
                "fold": [1 + number // 3 % 4 for number in numbers],
                "cutoff_s": [CUTOFF_S] * PROBLEMS,
            }
        ),
        directory / "issues.parquet",
    )
    # The order of the rows must not matter.
    cells = [(solver, number) for solver in SOLVERS[::-1] for number in reversed(numbers)]
    times = [seconds_of(*cell) for cell in cells]
    pq.write_table(
        pa.table(
            {
                "issue_id": [f"p{number}" for _, number in cells],
                "action_id": [solver for solver, _ in cells],
                "passed": [time is not None for time in times],
                "duration_s": [CUTOFF_S if time is None else time for time in times],
            }
        ),
        directory / "outcomes.parquet",
    )
    return directory


@pytest.fixture(scope="module")
def scenario(directory: Path) -> Scenario:
    return read_scenario(directory)


def by_name(results: list[Result]) -> dict[str, Result]:
    return {result.policy: result for result in results}


def test_a_scenario_is_read_whatever_the_order_of_its_rows(scenario: Scenario) -> None:
    assert scenario.solvers == ["fast", "slow", "thorough"]
    assert scenario.par10[3].tolist() == [1.0, 81.0, 90.0]
    assert scenario.par10[4].tolist() == [1000.0, 81.0, 90.0]
    assert scenario.par10[0].tolist() == [1000.0] * 3
    assert scenario.utility[4].tolist() == [-1.0, -0.081, -0.09]


def test_features_that_tell_the_best_solver_close_the_gap_that_a_constant_choice_leaves(scenario: Scenario) -> None:
    results = evaluate(scenario, policies=["utility_forest", "nearest_neighbours"], folds=4)
    found = by_name(results)
    # The single best is slow: it loses 80 s on each of the 39 easy problems that can be solved.
    lost_s = found[SINGLE_BEST].regret * 10 * CUTOFF_S
    assert lost_s.sum() == pytest.approx(39 * 80, abs=0.01)
    assert sorted(set(lost_s.round(3).tolist())) == [0.0, 80.0]
    for name in ("utility_forest", "nearest_neighbours"):
        assert found[name].regret.sum() < 0.1 * found[SINGLE_BEST].regret.sum()
        assert found[name].solved.sum() == PROBLEMS - len(UNSOLVED)
    table = {line[:22].strip(): line[22:].split() for line in report(scenario, results, folds=4).splitlines()[1:]}
    # 39 problems in 1 s, 79 in 81 s, 2 in 1000 s; the single best takes 118 times 81 s.
    assert float(table[VIRTUAL_BEST][0]) == pytest.approx((39 + 79 * 81 + 2000) / 120, abs=0.05)
    assert float(table[SINGLE_BEST][0]) == pytest.approx((118 * 81 + 2000) / 120, abs=0.05)
    assert (table[VIRTUAL_BEST][1], table[SINGLE_BEST][1]) == ("1.000", "0.000")
    assert float(table["utility_forest"][1]) > 0.9


def test_learning_from_the_logarithm_of_the_time_is_judged_by_the_time_itself(
    scenario: Scenario, tmp_path: Path
) -> None:
    dataset = write_fold(scenario, 1, tmp_path / "dataset", log_time=True)
    train, test = (dataset.splits[name].outcomes for name in ("train", "test"))
    first = scenario.problems.index(dataset.splits["train"].table["issue_id"][0])
    np.testing.assert_allclose(train.utility[: len(SOLVERS)], scenario.log_utility[first], rtol=1e-6)
    np.testing.assert_allclose(test.utility, scenario.utility[scenario.folds == 1].ravel(), rtol=1e-6)
    # 5 ms is no loss at all, the penalty the whole one, and a hundredth of it log(100) / log(penalty / 5 ms) less.
    assert scenario.log_utility[4, 0] == -1
    fast = Scenario(**{**vars(scenario), "seconds": np.full_like(scenario.seconds, 0.001)})
    assert fast.log_utility[4, 1] == 0
    ten_s = Scenario(**{**vars(scenario), "seconds": np.full_like(scenario.seconds, 10.0)})
    assert ten_s.log_utility[4, 1] == pytest.approx(np.log(100) / np.log(1000 / 0.005) - 1)
    results = by_name(evaluate(scenario, policies=["utility_forest_log"], folds=1))
    assert results["utility_forest_log"].regret.sum() < 0.1 * results[SINGLE_BEST].regret.sum()


def test_features_that_tell_nothing_close_no_gap(scenario: Scenario) -> None:
    blind = Scenario(**{**vars(scenario), "features": np.zeros_like(scenario.features)})
    results = by_name(evaluate(blind, policies=["utility_forest", "nearest_neighbours"], folds=4))
    assert np.array_equal(results["utility_forest"].regret, results[SINGLE_BEST].regret)
    assert results["nearest_neighbours"].regret.sum() > 0.5 * results[SINGLE_BEST].regret.sum()


def test_the_mlp_goes_through_the_training_loop_and_learns_the_feature(scenario: Scenario) -> None:
    results = by_name(
        evaluate(scenario, policies=["mlp_planner"], folds=1, settings=["epochs=15", "label_temperature=0.01"])
    )
    assert results[SINGLE_BEST].regret.sum() > 0
    assert results["mlp_planner"].regret.sum() < 0.1 * results[SINGLE_BEST].regret.sum()


def test_a_fold_is_tested_on_and_learned_from_by_nobody(scenario: Scenario, tmp_path: Path) -> None:
    dataset = write_fold(scenario, 2, tmp_path / "dataset", validation=3)
    ids = {name: set(split.table["issue_id"]) for name, split in dataset.splits.items()}
    of_fold = {
        fold: {p for p, f in zip(scenario.problems, scenario.folds, strict=True) if f == fold} for fold in (2, 3)
    }
    assert (ids["test"], ids["val"]) == (of_fold[2], of_fold[3])
    assert len(ids["train"]) == PROBLEMS - 60 and not ids["train"] & (ids["val"] | ids["test"])
    assert [feature.name for feature in dataset.info.context_features] == ["f_kind", "f_noise"]
    assert dataset.splits["test"].outcomes.comparable.all()
    labels = dict(
        zip(dataset.splits["train"].table["issue_id"], dataset.splits["train"].table["swarm_id"], strict=True)
    )
    # Nobody solved p0: its label is the solver that is best on average.
    assert (labels["p0"], labels["p2"], labels["p12"]) == ("slow", "slow", "fast")


def test_a_missing_feature_becomes_the_median_of_the_problems_to_train_on() -> None:
    features = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0], [100.0, 6.0]])
    assert impute(features, np.array([0, 1])).tolist() == [[1.0, 0.0], [3.0, 0.0], [2.0, 5.0], [100.0, 6.0]]


@pytest.mark.parametrize("policy", ["joint_forest", "gated_forest", "mixed_trees", "pairwise_forest"])
def test_the_forests_of_the_literature_close_the_gap_that_features_tell_of(scenario: Scenario, policy: str) -> None:
    # A third of the features is one of two: told three times, the kind is nearly always among those looked at.
    told = {"features": scenario.features[:, [0, 0, 0, 1]], "feature_names": ["kind_1", "kind_2", "kind_3", "noise"]}
    results = by_name(evaluate(Scenario(**vars(scenario) | told), policies=[policy], folds=1))
    assert results[SINGLE_BEST].regret.sum() > 0
    assert results[policy].regret.sum() < 0.1 * results[SINGLE_BEST].regret.sum()


def test_the_gate_stays_shut_where_leaving_the_single_best_loses_and_opens_where_it_wins() -> None:
    losses = np.tile([[0.5, 1.0], [0.5, 0.0]], (20, 1))
    assert choose_gate(np.tile([0.5, 0.4], (40, 1)), losses + np.array([0.0, 0.2]), single_best=0) == np.inf
    foreseen = np.where(losses == 0.5, 0.5, 0.3)
    # Where the foreseen gain is larger the solver is right, where it is smaller it is wrong.
    foreseen[losses[:, 1] == 0, 1] = 0.1
    assert 0.2 - 1e-9 <= choose_gate(foreseen, losses, single_best=0) < 0.4
    assert choose_gate(losses, losses, single_best=0) < 0.5


def test_a_pair_votes_by_what_the_wrong_solver_costs() -> None:
    # Of problems that cannot be told apart, two in three are a second faster with the first solver; on the third it
    # fails. Most votes by problems would be the first's, most votes by cost are the second's.
    rows = np.zeros((90, 1))
    losses = np.where((np.arange(90) % 3 == 0)[:, None], [1.0, 0.081], [0.08, 0.081])
    forest = PairwiseForest.__new__(PairwiseForest)
    forest.fit(rows, losses, seed=0)
    assert forest.preference(rows[:1]).argmax() == 1


def test_computing_features_is_paid_by_those_who_read_them(scenario: Scenario) -> None:
    cost_s = np.full(PROBLEMS, 19.5)
    free, paid = (
        by_name(evaluate(scenario, policies=["nearest_neighbours"], folds=4, feature_cost_s=cost))
        for cost in (None, cost_s)
    )
    for name in (SINGLE_BEST, VIRTUAL_BEST):
        assert np.array_equal(free[name].regret, paid[name].regret)
    rows = np.concatenate([np.flatnonzero(scenario.folds == fold) for fold in (1, 2, 3, 4)])
    before_s = scenario.par10[rows].min(axis=1) + 10 * CUTOFF_S * free["nearest_neighbours"].regret
    after_s = scenario.par10[rows].min(axis=1) + 10 * CUTOFF_S * paid["nearest_neighbours"].regret
    # 81 s and the cost end after the cutoff, 1 s and the cost do not; what was not solved costs the penalty as before.
    assert {"1", "81", "1000"} == {f"{second:.0f}" for second in before_s} - {"90"}
    np.testing.assert_allclose(after_s, np.where(before_s < 2, before_s + 19.5, 10 * CUTOFF_S), rtol=1e-5)
    assert np.array_equal(paid["nearest_neighbours"].solved, before_s < 2)


def test_the_cost_of_features_is_read_or_given_and_else_refused(
    scenario: Scenario, directory: Path, tmp_path: Path
) -> None:
    assert read_feature_cost(None, scenario) is None
    given = read_feature_cost("2.5", scenario)
    assert given is not None and given.tolist() == [2.5] * PROBLEMS
    assert "counted: 2.5 s" in cost_text(given) and "not counted" in cost_text(None)
    for wrong in ("recorded", "-1", "inf", "much"):
        with pytest.raises(ConfigError, match="--feature-cost"):
            read_feature_cost(wrong, scenario)
    issues = pq.read_table(directory / "issues.parquet")
    costs = [float(i) for i in range(PROBLEMS)]
    pq.write_table(issues.append_column("feature_cost_s", pa.array(costs)), tmp_path / "issues.parquet")
    shutil.copy(directory / "outcomes.parquet", tmp_path)
    recorded = read_feature_cost("recorded", read_scenario(tmp_path))
    assert recorded is not None and recorded.tolist() == costs


def test_what_is_no_scenario_is_refused_with_what_to_do(
    directory: Path,
    tmp_path: Path,
    scenario: Scenario,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(DatasetError, match=r"issues\.parquet: not a readable"):
        read_scenario(tmp_path)
    outcomes = pq.read_table(directory / "outcomes.parquet")
    pq.write_table(pq.read_table(directory / "issues.parquet"), tmp_path / "issues.parquet")
    pq.write_table(outcomes.slice(1), tmp_path / "outcomes.parquet")
    with pytest.raises(DatasetError, match=r"120 problems \(359 found\)"):
        read_scenario(tmp_path)
    pq.write_table(outcomes.drop_columns("passed"), tmp_path / "outcomes.parquet")
    monkeypatch.setattr("sys.argv", ["aslib", str(tmp_path)])
    assert main() == 1
    assert "lacks the columns passed" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="fold 9"):
        write_fold(scenario, 9, tmp_path / "dataset")
    with pytest.raises(ConfigError, match="oracle"):
        evaluate(scenario, policies=["oracle"])
