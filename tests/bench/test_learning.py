"""From a ledger to winners, and from policies to regret, with numbers worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.ledger import Ledger
from bench.regret import score_runs
from bench.relabel import relabel
from bench.results import hold_out, read_results
from planner.actions import Action
from planner.config import load_config
from planner.contracts import BenchCase, BenchOutcome
from planner.dataset.storage import load_dataset
from planner.errors import BenchError
from planner.evaluation.decisions import labels_of
from planner.training.loop import start_run, train
from tests.bench.test_ledger import ACTIONS, bench_case
from tests.bench.test_objective import FAULT, outcome

SERIAL, VOTE = ACTIONS
LIMIT_MS = 120 * 60_000


def write_ledger(path: Path, cases: Sequence[tuple[BenchCase, dict[Action, BenchOutcome]]]) -> Path:
    with Ledger.open(path) as ledger:
        ledger.add_cases([case for case, _ in cases])
        outcomes = {case.case_id: by_action for case, by_action in cases}
        for execution in ledger.planned():
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcomes[execution.case_id][execution.action]})
    return path


def ten_cases() -> list[tuple[BenchCase, dict[Action, BenchOutcome]]]:
    """The vote passes everywhere; the serial plan, in the first five cases only and ten times as fast."""
    slow = outcome(True, 600_000)
    fast, failed = outcome(True, 60_000), outcome(False, 60_000)
    return [(bench_case(str(i)), {SERIAL: fast if i <= 5 else failed, VOTE: slow}) for i in range(1, 11)]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write_ledger(tmp_path / "ledger.sqlite", ten_cases())


@pytest.fixture(scope="module")
def base(corpus_dataset: Path) -> Path:
    return corpus_dataset


def test_winners_become_labels_and_the_latest_cases_are_held_out(ledger: Path, base: Path, tmp_path: Path) -> None:
    info = relabel(ledger, base, tmp_path / "winners", holdout=0.4)
    dataset = load_dataset(tmp_path / "winners")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 5, "val": 1, "test": 4}
    assert set(labels_of(dataset.splits["train"])) == {SERIAL}
    assert set(labels_of(dataset.splits["test"])) == {VOTE}
    outcomes = dataset.splits["test"].outcomes
    assert outcomes.comparable.all()
    assert dataset.space.action(outcomes.actions[1]) == VOTE
    assert outcomes.passed.tolist() == [0, 1] * 4
    assert outcomes.duration_ms.tolist() == [60_000, 600_000] * 4
    assert info.label_source == "bench_winners"
    assert info.base_dataset_hash == load_dataset(base).info.dataset_hash
    assert info.vocabulary == load_dataset(base).info.vocabulary


def test_winners_keep_the_token_profile_of_their_base(ledger: Path, kernel_dataset: Path, tmp_path: Path) -> None:
    relabel(ledger, kernel_dataset, tmp_path / "winners")
    winners = load_dataset(tmp_path / "winners")
    assert winners.info.token_profile == "kernel"
    first = winners.splits["train"]
    assert winners.info.vocabulary[first.tokens[1]] in ("[KEY:UNIVERSE_ID]", "[UNK]")
    assert winners.info.vocabulary[first.tokens[2]] == "[=]"


def test_a_policy_trains_on_winners_from_another_runs_weights(ledger: Path, base: Path, tmp_path: Path) -> None:
    relabel(ledger, base, tmp_path / "winners")
    config = load_config("mlp_planner", None, ["epochs=2"])
    start_run(tmp_path / "first", config, base, init_from=None, workers=1, resume=False)
    train(tmp_path / "first")
    start_run(tmp_path / "second", config, tmp_path / "winners", init_from=tmp_path / "first", workers=1, resume=False)
    assert train(tmp_path / "second").finished


def test_regret_is_the_utility_lost_against_the_best_of_the_executed(ledger: Path, base: Path, tmp_path: Path) -> None:
    config = load_config("mlp_planner", None, ["epochs=1"])
    start_run(tmp_path / "run", config, base, init_from=None, workers=1, resume=False)
    train(tmp_path / "run")
    report = score_runs(ledger, {"mlp": tmp_path / "run"}, holdout=0.4)
    rows: dict[str, dict[str, Any]] = {row["policy"]: row for row in report["policies"]}
    minute = load_dataset(base).info.minute_seconds * 1000
    limit = 120 * minute

    def utility(passed: bool, ms: int) -> float:
        return passed - 0.1 * min(ms, limit) / limit - 0.1 * min(ms, 3 * limit) / (3 * limit)

    lost = utility(True, 600_000) - utility(False, 60_000)
    # The default plan is the serial one, the first action of every case; it fails in all four held-out cases.
    assert rows["heuristic"]["regret"] == pytest.approx(lost)
    assert rows["heuristic"]["pass_rate"] == 0
    assert rows["heuristic"]["pass_regret"] == 1
    # The serial plan was a little better in five of the six learning cases, but one pass outweighs that.
    assert rows["single best action"]["regret"] == 0
    assert (rows["best per case"]["regret"], rows["best per case"]["pass_rate"]) == (0, 1)
    assert rows["best per case"]["mean_time_s"] == 600
    assert 0 <= rows["mlp"]["regret"] <= lost


def test_cases_that_tell_nothing_are_left_out_and_too_few_are_refused(tmp_path: Path) -> None:
    faulty = [
        (bench_case("1"), {SERIAL: FAULT, VOTE: outcome()}),
        (bench_case("2"), {SERIAL: outcome(), VOTE: outcome()}),
    ]
    results = read_results(write_ledger(tmp_path / "two.sqlite", faulty))
    assert [result.case.issue_id for result in results] == ["2"]
    with pytest.raises(BenchError, match="bench more issues"):
        hold_out(results, 0.4)
    with pytest.raises(BenchError, match="run `planner bench` first"):
        read_results(write_ledger(tmp_path / "one.sqlite", faulty[:1]))
