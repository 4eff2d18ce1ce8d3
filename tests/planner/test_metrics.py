"""The table of metrics: a row that is added from outside shows in every table and every JSON file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.judging.judge_runs import score_runs
from bench.judging.relabel import relabel
from planner.display.comparison import print_ablation, print_comparison
from planner.display.evaluation import print_evaluation
from planner.display.regret import print_regret
from planner.errors import ConfigError
from planner.evaluation.compare import compare
from planner.evaluation.evaluate import evaluate_run
from planner.scoring.metric import Metric, cell, register, withdraw
from tests.bench.ledgers import rows_of, ten_cases, write_ledger
from tests.trained_runs import trained
from tune.ablate import ablate

VOTES = Metric(
    "votes",
    "VOTES",
    "share",
    None,
    2,
    True,
    of_decisions=lambda judged: np.array([action.swarm_id == "speculate_vote" for action in judged.chosen], float),
    of_choice=lambda choice: ((choice.outcomes.actions[:, 0] == 1).astype(float), None),
)


@pytest.fixture
def from_outside() -> Iterator[str]:
    register(VOTES)
    yield VOTES.key
    withdraw(VOTES.key)


def test_a_metric_from_outside_is_in_every_table_and_file(
    from_outside: str,
    ray_cluster: Any,
    corpus_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger = write_ledger(tmp_path / "ledger.sqlite", ten_cases())
    relabel(ledger, corpus_dataset, tmp_path / "winners")
    settings: dict[str, Any] = {"seeds": 1, "overrides": ["epochs=1"]}
    run = trained(tmp_path / "winners", tmp_path / "run")
    compared = compare(tmp_path / "winners", tmp_path / "compare", policies=["single_best"], **settings)
    ablated = ablate(tmp_path / "winners", tmp_path / "ablate", arch="mlp_planner", axes=["decoding"], **settings)
    evaluated, judged = evaluate_run(run), score_runs(ledger, {"mlp": run})
    for show in (
        lambda: print_comparison(compared),
        lambda: print_ablation(ablated),
        lambda: print_evaluation(evaluated),
        lambda: print_regret(judged),
    ):
        show()
        assert VOTES.title in capsys.readouterr().out
    for file in ("compare/comparison.md", "ablate/ablation.md"):
        assert VOTES.title in (tmp_path / file).read_text().splitlines()[0]
    for file in ("compare/comparison.json", "ablate/ablation.json", "ablate/ablation.csv"):
        assert f"{from_outside}_low" in (tmp_path / file).read_text()
    assert rows_of(judged.to_json())["best per case"][from_outside] == 1
    assert all(0 <= row[f"{from_outside}_low"] <= row[from_outside] <= 1 for row in compared.to_json()["rows"])
    assert all(from_outside in groups["all"].policies["heuristic"] for groups in evaluated.splits.values())


def test_two_metrics_of_one_key_are_refused(from_outside: str) -> None:
    with pytest.raises(ConfigError, match="votes"):
        register(VOTES)


def test_a_cell_shows_the_number_its_interval_or_that_there_is_none() -> None:
    row = {"votes": 0.12345, "votes_low": 0.1, "votes_high": 0.2}
    assert cell(VOTES, row) == "0.12 [0.10, 0.20]"
    assert cell(VOTES, row, interval=False) == "0.12"
    assert cell(VOTES, {"votes": None}) == "-"
    assert cell(VOTES, {"votes": 3}) == "3"
