"""What each baseline chooses, with numbers worked out by hand; and one that is added from outside."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.judging.relabel import relabel
from planner.actions import Action
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import Dataset, inputs_of_split, load_dataset
from planner.encoding.inputs import Inputs
from planner.errors import ConfigError, DatasetError
from planner.evaluation.compare import compare
from planner.evaluation.decisions import decide_by_score
from planner.evaluation.evaluate import evaluate_run
from planner.policies.neighbours import Neighbourhood
from planner.policies.policy import admitted, normalise
from planner.policies.registry import baseline, baselines, withdraw
from tests.bench.ledgers import judged, rows_of, ten_cases, write_ledger
from tests.planner.compared import write_compared
from tests.trained_runs import trained

SERIAL, VOTE = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
LONG = SERIAL._replace(max_minutes_bin=120)


def outcomes(utilities: dict[Action, float]) -> list[ActionOutcome]:
    return [ActionOutcome(action, 1.0, 1000, 1000, False, utility) for action, utility in utilities.items()]


def decided(name: str, dataset: Dataset, split: str = "train") -> list[Action]:
    return decide_by_score(baselines()[name].fit(dataset), dataset.splits[split]).actions


def test_the_most_frequent_label_and_the_single_best_action_are_two_things(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    # The vote wins narrowly in four of five examples, and loses a lot in the fifth.
    count = iter(range(1000))

    def mostly(context: dict[str, Any]) -> list[ActionOutcome]:
        return outcomes({SERIAL: 0.8, VOTE: 0.81 if next(count) % 5 else 0.1})

    dataset = load_dataset(write_compared(corpus_dataset, tmp_path / "dataset", mostly))
    assert set(decided("most frequent", dataset)) == {VOTE}
    assert set(decided("single best", dataset)) == {SERIAL}


def test_the_single_best_action_is_judged_against_its_own_cases(corpus_dataset: Path, tmp_path: Path) -> None:
    # Serial was tried on the easy examples only; there it was worse than the vote, which was tried on the hard too.
    count = iter(range(1000))

    def easy_and_hard(context: dict[str, Any]) -> list[ActionOutcome]:
        return outcomes({SERIAL: 0.8, VOTE: 0.9} if next(count) % 2 else {VOTE: 0.1, LONG: -0.1})

    dataset = load_dataset(write_compared(corpus_dataset, tmp_path / "dataset", easy_and_hard))
    assert set(decided("single best", dataset)) == {VOTE}


def test_a_groups_own_examples_decide_where_there_are_enough_and_all_examples_elsewhere(
    synthetic: tuple[Path, Path], tmp_path: Path
) -> None:
    base = load_dataset(synthetic[1])
    contexts = [c for split in base.splits.values() for c in split.contexts() if c["job_type"] == "code"]
    hints = [group(context) for context in contexts]
    large = max(set(hints), key=lambda one: (hints[: len(hints) * 3 // 5].count(one), one))

    def by_group(context: dict[str, Any]) -> list[ActionOutcome]:
        return outcomes({SERIAL: 0.9, VOTE: 0.1} if group(context) == large else {SERIAL: 0.1, VOTE: 0.9})

    dataset = load_dataset(write_compared(synthetic[1], tmp_path / "dataset", by_group))
    split = dataset.splits["train"]
    own = [group(context) for context in split.contexts()]
    gains = baselines()["per group"].fit(dataset).score(inputs_of_split(split), "code") * 0.05
    serial, vote = (dataset.space.valid_actions("code").index(action) for action in (SERIAL, VOTE))
    n, of_large = len(own), own.count(large)
    overall = 0.4 * (2 * of_large - n) / n
    assert 1 < of_large < n
    assert {own.count(one) < 4 for one in own} == {True, False}
    for at in range(n):
        count = own.count(own[at])
        mine = count * (0.4 if own[at] == large else -0.4)
        expected = (mine + max(4 - count, 0) * overall) / max(count, 4)
        # Both actions gain the same, with opposite signs.
        assert gains[at, serial] - gains[at, vote] == pytest.approx(2 * expected, rel=1e-4)


def group(context: dict[str, Any]) -> str:
    return context["issue"]["dk_tool_hint"] or (context["issue"]["tags"] or [""])[0]


def test_neighbours_are_the_examples_with_the_same_features(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    split = dataset.splits["train"]
    code = np.flatnonzero(np.array(split.table["job_type"]) == "code")
    among = code[::2]
    nearest, distances = Neighbourhood(dataset, among, 4).of(inputs_of_split(split).take(among), "code")
    assert nearest.shape == (len(among), 4)
    assert np.isin(nearest, among).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    # Each finds itself, or one that is its equal.
    assert (distances[:, 0] == 0).all()
    assert (nearest[:, 0] == among).mean() > 0.5


@pytest.mark.parametrize("name", [name for name, one in baselines().items() if one.needs_outcomes])
def test_without_compared_actions_those_that_need_them_say_what_to_do(name: str, corpus_dataset: Path) -> None:
    assert name not in baselines("compare", load_dataset(corpus_dataset))
    with pytest.raises(DatasetError, match="planner bench"):
        baselines()[name].fit(load_dataset(corpus_dataset))


class AlwaysTheVote:
    """A policy as somebody else would write it."""

    name = "always the vote"

    def __init__(self, dataset: Dataset) -> None:
        self.space = dataset.space

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Votes wherever it may."""
        votes = [1.0 if action.swarm_id == "speculate_vote" else 1e-6 for action in self.space.valid_actions(job_type)]
        allowed = admitted(inputs, self.space, job_type)
        return normalise(np.broadcast_to(np.array(votes), allowed.shape), allowed)


@pytest.fixture
def from_outside() -> Iterator[str]:
    baseline()(AlwaysTheVote)
    yield AlwaysTheVote.name
    withdraw(AlwaysTheVote.name)


def test_a_baseline_from_outside_is_in_every_report(
    from_outside: str, ray_cluster: Any, corpus_dataset: Path, tmp_path: Path
) -> None:
    ledger = write_ledger(tmp_path / "ledger.sqlite", ten_cases())
    relabel(ledger, corpus_dataset, tmp_path / "winners")
    compared = compare(tmp_path / "winners", tmp_path / "out", policies=["always_the_vote"])
    assert {row.policy for row in compared.rows} == {from_outside}
    run = trained(tmp_path / "winners", tmp_path / "run")
    # The vote passes everywhere, and what it is set beside fails in the held-out cases.
    assert rows_of(judged(ledger, {"mlp": run}))[from_outside]["pass_rate"] == 1
    assert all(from_outside in groups["all"].policies for groups in evaluate_run(run).splits.values())


def test_two_baselines_of_one_name_are_refused(from_outside: str) -> None:
    other = type("AlwaysTheVote", (AlwaysTheVote,), {})
    with pytest.raises(ConfigError, match="always the vote"):
        baseline()(other)
