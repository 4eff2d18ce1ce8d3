"""From a ledger to winners: labels, how sure they are, and what a dataset of them keeps of its base."""

import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.judging.judge_runs import score_runs
from bench.judging.objective import Objective
from bench.judging.relabel import dataset_beside, relabel
from bench.ledger_file import repo_of
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.dataset.storage import load_dataset
from planner.errors import BenchError, DatasetError
from planner.evaluation.decisions import _regret, labels_of
from planner.runs.checkpoint import read_run
from planner.scoring.preferences import Preference
from tests.bench.ledgers import REPLAY, SERIAL, VOTE, bound, ten_cases, told, write_ledger
from tests.bench.test_objective import outcome
from tests.trained_runs import trained

CAPPED = outcome(False, 120_000, status="stopped_early", stopped_by="capped")


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


def test_winners_say_how_sure_they_are(ledger: Path, base: Path, tmp_path: Path) -> None:
    relabel(ledger, base, tmp_path / "winners", holdout=0.4)
    dataset = load_dataset(tmp_path / "winners")
    # Both pass, and then one pass against one failure.
    assert dataset.splits["train"].label_confidence.tolist() == [0.5] * 5
    assert dataset.splits["test"].label_confidence.tolist() == pytest.approx([5 / 6] * 4)
    assert load_dataset(base).splits["train"].label_confidence.tolist() == [1.0] * len(
        load_dataset(base).splits["train"]
    )


def test_a_capped_action_is_told_as_lost_and_nothing_more(ledger: Path, base: Path, tmp_path: Path) -> None:
    fast, slow = outcome(True, 60_000), outcome(True, 90_000)
    cases = [told(str(i), {SERIAL: fast, VOTE: CAPPED if i != 3 else slow}, day=i) for i in range(1, 11)]
    info = relabel(write_ledger(tmp_path / "capped.sqlite", cases), base, tmp_path / "winners", holdout=0.4)
    assert info.counts["capped_outcomes"] == 9
    split = load_dataset(tmp_path / "winners").splits["test"]
    found = split.outcomes
    assert found.capped.tolist() == [False, True] * 4
    assert np.isnan(found.passed[1]) and found.passed[0] == 1
    assert found.time_is_lower_bound.tolist() == [False, True] * 4
    assert found.duration_ms.tolist() == [60_000, 120_000] * 4
    # As if it had just passed after two of 120 minutes.
    assert found.utility[1] == pytest.approx(1 - 0.1 * 2 / 120 - 0.1 * 2 / 360)
    assert found.comparable.all()
    # Whoever decides for it loses next to nothing, or a pass and more.
    regret, capped, at_most = _regret(Preference(found.capped.astype(float)), split)
    assert capped.all() and regret == pytest.approx([0.1 * 1 / 120 * 4 / 3] * 4, rel=1e-3) and (at_most > 1.1).all()
    # Whether the capped rival would have passed is open: its rate may be any.
    assert split.label_confidence.tolist() == pytest.approx([2 / 3] * 4)
    assert split.table["decided_by"] == ["time_bound"] * 4
    train = load_dataset(tmp_path / "winners").splits["train"]
    assert train.label_confidence.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 2, 2 / 3, 2 / 3])
    counted = {name: n for name, n in info.counts.items() if name.startswith("decided_by")}
    assert counted == {"decided_by_passes": 0, "decided_by_time_bound": 10, "decided_by_unknown": 0}
    assert load_dataset(base).splits["test"].table["decided_by"] == [None] * len(load_dataset(base).splits["test"])


def test_a_dataset_of_an_earlier_program_is_read_as_if_nothing_was_capped_and_every_label_sure(
    ledger: Path, base: Path, tmp_path: Path
) -> None:
    relabel(ledger, base, tmp_path / "winners")
    for path in (tmp_path / "winners").rglob("*.npy"):
        if path.name in ("outcome_capped.npy", "outcome_cost_usd.npy", "label_confidence.npy"):
            path.unlink()
    split = load_dataset(tmp_path / "winners").splits["train"]
    assert split.label_confidence.tolist() == [1.0] * len(split)
    assert not split.outcomes.capped.any()


def test_without_a_base_everything_is_fitted_on_the_learning_cases(tmp_path: Path) -> None:
    fast, slow = outcome(True, 60_000), outcome(True, 600_000)
    both = {SERIAL: fast, VOTE: slow}
    cases = [told(str(i), both, day=i, hint="known") for i in range(1, 7)]
    cases += [
        told(str(i), both, day=i, hint="later", swarms=("serial_handoff", "speculate_vote", "z")) for i in (7, 8, 9, 10)
    ]
    ledger = bound(write_ledger(tmp_path / "replay.sqlite", cases), **REPLAY)
    info = relabel(ledger, None, tmp_path / "winners", holdout=0.4)
    assert (info.base_dataset_hash, info.minute_seconds, info.kernel_config) == (None, 60.0, {})
    assert any("KNOWN" in token.upper() for token in info.vocabulary)
    assert not any("LATER" in token.upper() for token in info.vocabulary)
    # Every learning case has the hint's bucket, so its mean is 1; a held-out case would have taken it away.
    means = {feature.name: feature.mean for feature in info.context_features if feature.name.startswith("hint_")}
    assert set(means.values()) == {0.0, 1.0}
    assert info.action_space == cases[0][0].context.action_space
    assert trained(tmp_path / "winners", tmp_path / "run").exists()


def test_the_length_of_a_minute_comes_from_the_ledger_or_its_repo_and_is_never_guessed(tmp_path: Path) -> None:
    untold = write_ledger(tmp_path / "untold.sqlite", ten_cases())
    with pytest.raises(BenchError, match=r"how long a minute.*--repo"):
        relabel(untold, None, tmp_path / "out")
    inside = tmp_path / "repo" / ".cyntra" / "planner" / "bench" / "ledger.sqlite"
    write_ledger(inside, ten_cases())
    (tmp_path / "repo" / ".cyntra" / "config.yaml").write_text("sandbox: {seconds_per_minute: 0.5}\n")
    assert relabel(inside, None, tmp_path / "out").minute_seconds == 0.5
    assert relabel(untold, None, tmp_path / "out", repo=tmp_path / "repo").minute_seconds == 0.5
    with pytest.raises(BenchError, match="no such file"):
        relabel(untold, None, tmp_path / "out", repo=tmp_path / "nowhere")


def test_the_dataset_beside_a_ledger_is_the_default_base_and_no_other(base: Path, tmp_path: Path) -> None:
    planner_directory = tmp_path / "repo" / ".cyntra" / "planner"
    ledger = planner_directory / "bench" / "ledger.sqlite"
    assert dataset_beside(ledger) is None
    shutil.copytree(base, planner_directory / "dataset")
    assert dataset_beside(ledger) == planner_directory / "dataset"
    assert dataset_beside(tmp_path / "ledger.sqlite") is None
    assert (repo_of(ledger), repo_of(tmp_path / "ledger.sqlite")) == (tmp_path / "repo", None)


def test_winners_of_one_objective_are_refused_by_readers_with_another(ledger: Path, base: Path, tmp_path: Path) -> None:
    assert relabel(ledger, base, tmp_path / "winners").objective == [["duration_ms", "min"], ["cost_usd", "min"]]
    run = trained(tmp_path / "winners", tmp_path / "run")
    cheapest = Objective((("cost_usd", "min"),)).to_document()
    other = bound(write_ledger(tmp_path / "other.sqlite", ten_cases()), objective=cheapest)
    with pytest.raises(DatasetError, match=r"cost_usd min: take data of one objective"):
        relabel(other, tmp_path / "winners", tmp_path / "again")
    with pytest.raises(DatasetError, match=r"run, .*duration_ms min, then cost_usd min, and .* cost_usd min"):
        score_runs(other, {"run": run})
    assert relabel(other, base, tmp_path / "cheapest").objective == [["cost_usd", "min"]]
    # What a value head predicts gives the utility of the default objective.
    valued = ["model.value_head=true", "policy_weight=0"]
    with pytest.raises(DatasetError, match="judges by duration_ms min, then cost_usd min"):
        trained(tmp_path / "cheapest", tmp_path / "valued", *valued)
    manifest = tmp_path / "cheapest" / "dataset.json"
    document = orjson.loads(manifest.read_bytes())
    del document["objective"]
    manifest.write_bytes(orjson.dumps(document))
    # A dataset of an earlier program does not say, and had no other than the default one.
    assert trained(tmp_path / "cheapest", tmp_path / "earlier", *valued).exists()


def test_a_policy_trains_on_winners_from_another_runs_weights(ledger: Path, base: Path, tmp_path: Path) -> None:
    relabel(ledger, base, tmp_path / "winners")
    trained(base, tmp_path / "first", "epochs=2")
    trained(tmp_path / "winners", tmp_path / "second", "epochs=2", init_from=tmp_path / "first")
    assert read_run(tmp_path / "second").finished


# --- whose contexts the cases have ------------------------------------------------------------------------------------


def cases_of_builder(builder: str | None) -> list[tuple[BenchCase, dict[Action, BenchOutcome]]]:
    """Ten cases whose contexts that builder made."""
    return [
        (BenchCase.model_validate(case.model_dump() | {"context_builder": builder}), outcomes)
        for case, outcomes in ten_cases()
    ]


@pytest.mark.parametrize("builder", ["planner", "kernel"])
def test_winners_say_whose_contexts_they_have_and_keep_to_a_base_of_the_same(
    builder: str, corpus_dataset: Path, kernel_dataset: Path, tmp_path: Path
) -> None:
    ledger = write_ledger(tmp_path / "ledger.sqlite", cases_of_builder(builder))
    same, other = (corpus_dataset, kernel_dataset)[:: 1 if builder == "planner" else -1]
    info = relabel(ledger, same, tmp_path / "winners")
    assert (info.context_builder, info.token_profile) == (builder, builder)
    with pytest.raises(BenchError, match=rf"has contexts of the profile {builder}, .*: bench again with --profile"):
        relabel(ledger, other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_is_not_judged_on_contexts_of_the_other_builder(kernel_dataset: Path, tmp_path: Path) -> None:
    ledger = write_ledger(tmp_path / "ledger.sqlite", cases_of_builder("planner"))
    run = trained(kernel_dataset, tmp_path / "run", "model.d_model=16", "model.layers=1", arch="transformer_planner")
    with pytest.raises(BenchError, match=r"learned from contexts of the profile kernel, .* has those of planner"):
        score_runs(ledger, {"run": run})


def test_contexts_of_both_builders_are_no_winners_together(corpus_dataset: Path, tmp_path: Path) -> None:
    mixed = [*cases_of_builder("planner")[:5], *cases_of_builder("kernel")[5:]]
    with pytest.raises(BenchError, match="contexts of the profiles planner and kernel: bench each into a ledger"):
        relabel(write_ledger(tmp_path / "ledger.sqlite", mixed), corpus_dataset, tmp_path / "winners")
