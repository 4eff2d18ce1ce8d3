"""Training: the same curve whatever the workers, the same end after a kill, and a model that learns."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from planner.actions import Action
from planner.config import TrainConfig
from planner.dataset.build import build_dataset
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.errors import ConfigError
from planner.runs.checkpoint import read_run
from planner.runs.learned import LearnedPolicy
from planner.training.driver import train_with_ray, trainer
from planner.training.loop import start_run, train, training_examples
from tests.planner.compared import write_compared
from tests.planner.recording_tracker import heard
from tests.planner.small_runs import REPO, begin, command, config, curve, weights


@pytest.fixture(scope="module")
def dataset(synthetic: tuple[Path, Path]) -> Path:
    """The synthetic dataset."""
    return synthetic[1]


def losses(run: Path) -> list[float]:
    """Train loss and validation log-likelihood of every epoch."""
    return [value for line in curve(run) for value in (line["train_loss"], line["val_log_likelihood"])]


def test_two_workers_go_the_way_of_one(dataset: Path, trained: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    subprocess.run([*launcher, *command(dataset, tmp_path / "run")], cwd=REPO, check=True, capture_output=True)
    assert read_run(tmp_path / "run").workers == 2
    assert len(load_dataset(dataset).splits["train"]) % 11 == 1, "the last batch leaves a worker without examples"
    assert losses(tmp_path / "run") == pytest.approx(losses(trained), abs=1e-6)


def test_ray_train_with_two_workers_goes_the_same_way(
    dataset: Path, trained: Path, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    run = begin(tmp_path / "run", dataset, workers=2)
    reported: list[dict[str, Any]] = []
    on_interrupt = signal.getsignal(signal.SIGINT)
    state = train_with_ray(run, workers=2, progress=reported.append, track=["tests.planner.recording_tracker:Recorder"])
    assert signal.getsignal(signal.SIGINT) == on_interrupt, "else later Ctrl-C of the same command are not heard"
    assert state.finished and [line["epoch"] for line in reported] == [0, 1, 2]
    assert losses(run) == pytest.approx(losses(trained), abs=1e-6)
    calls = heard(run)
    assert [call.get("epoch") for call in calls] == [None, 0, 1, 2, None], "of two workers one is followed"
    assert len({call["process"] for call in calls}) == 1 and calls[0]["process"] != os.getpid()


def test_one_worker_trains_in_this_process_without_ray_and_ends_in_the_same_weights(
    dataset: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = begin(tmp_path / "run", dataset)
    reported: list[dict[str, Any]] = []
    torch.set_num_threads(2)
    with trainer(1) as train_run:
        assert train_run(run, reported.append).finished
    assert [line["epoch"] for line in reported] == [0, 1, 2]
    assert weights(run) == weights(trained)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert not (run / "ray").exists()


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    dataset: Path, trained: Path, tmp_path: Path
) -> None:
    train(begin(tmp_path / "again", dataset))
    assert weights(tmp_path / "again") == weights(trained)
    train(begin(tmp_path / "other", dataset, "seed=1"))
    assert weights(tmp_path / "other") != weights(trained)


def test_a_killed_run_goes_on_to_the_same_end(dataset: Path, tmp_path: Path) -> None:
    longer = ("epochs=30", "patience=100", "model.dropout=0.0")
    run = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", *command(dataset, run, overrides=longer)], cwd=REPO, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(curve(run)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= read_run(run).epoch < 29
    begin(run, dataset, *longer, resume=True)
    train(run)
    train(begin(tmp_path / "whole", dataset, *longer))
    assert weights(run) == weights(tmp_path / "whole")
    assert read_run(run).best_metric == read_run(tmp_path / "whole").best_metric
    assert {line["epoch"]: line for line in curve(run)}[29] == curve(tmp_path / "whole")[29]
    assert {path.name for path in (run / "checkpoints").iterdir()} <= {
        Path(str(name)).name for name in (read_run(run).last, read_run(run).best)
    }


EVERYTHING = (
    "model.dropout=0.3",
    "optimizer=muon",
    "ema=0.9",
    "bootstrap=true",
    "value_weights=effective",
    "model.value_head=true",
    "model.action_head=joint",
    "epochs=4",
)
"""Every part of a run that has a state of its own."""


@pytest.mark.parametrize("optimizer", ["muon", "adam_atan2", "adamw"])
def test_a_run_that_stops_after_each_epoch_goes_the_way_of_one_that_does_not(
    optimizer: str, dataset: Path, tmp_path: Path
) -> None:
    settings = (*EVERYTHING, f"optimizer={optimizer}")
    train(begin(tmp_path / "whole", dataset, *settings))

    class Stop(Exception):
        pass

    def stop(metrics: dict[str, Any]) -> None:
        raise Stop

    run = begin(tmp_path / "parts", dataset, *settings)
    for _ in range(4):
        with pytest.raises(Stop):
            train(run, report=stop)
    assert curve(run) == curve(tmp_path / "whole")
    assert weights(run) == weights(tmp_path / "whole")
    assert set(weights(run)) == {"model.safetensors", "optimizer.safetensors", "trained.safetensors"}


def test_averaged_weights_are_the_ones_that_are_validated_and_saved(dataset: Path, tmp_path: Path) -> None:
    settings = ("epochs=1", "ema=0.95", "lr=0.05")
    train(begin(tmp_path / "averaged", dataset, *settings))
    train(begin(tmp_path / "plain", dataset, "epochs=1", "lr=0.05"))
    averaged, plain = LearnedPolicy(tmp_path / "averaged"), LearnedPolicy(tmp_path / "plain")
    trained = load_file(averaged.checkpoint / "trained.safetensors")
    saved = averaged.model.state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in plain.model.state_dict().items())
    assert any(not torch.equal(saved[name], tensor) for name, tensor in trained.items())
    split = load_dataset(dataset).splits["val"]
    heads = averaged.head_log_probs(inputs_of_split(split))
    likelihood = sum(head[np.arange(len(split)), split.labels[:, i]].mean() for i, head in enumerate(heads))
    assert curve(tmp_path / "averaged")[0]["val_log_likelihood"] == pytest.approx(likelihood)
    assert curve(tmp_path / "plain")[0]["val_log_likelihood"] != pytest.approx(likelihood)


@pytest.mark.parametrize("setting", ["optimizer=muon", "value_weights=inverse", "model.action_head=joint"])
def test_other_settings_learn_too(setting: str, dataset: Path, tmp_path: Path) -> None:
    train(begin(tmp_path / "run", dataset, setting, "epochs=6", "lr=0.01"))
    found = [line["train_loss"] for line in curve(tmp_path / "run")]
    assert found[-1] < found[0]


def test_an_ensembles_members_see_resamples_that_their_seeds_determine() -> None:
    drawn = [training_examples(100, config("bootstrap=true", f"seed={seed}")) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert len(drawn[0]) == 100 and len(np.unique(drawn[0])) < 80
    assert np.array_equal(training_examples(100, config()), np.arange(100))


def test_resuming_a_finished_run_changes_nothing(dataset: Path, trained: Path) -> None:
    before = weights(trained), curve(trained)
    begin(trained, dataset, resume=True)
    train(trained)
    assert (weights(trained), curve(trained)) == before


def test_a_checkpoint_holds_everything_that_is_needed_to_decide(dataset: Path, trained: Path, tmp_path: Path) -> None:
    split = load_dataset(dataset).splits["val"]
    here = LearnedPolicy(trained).head_log_probs(inputs_of_split(split))
    state = read_run(trained)
    shutil.copytree(trained / str(state.best), tmp_path / "alone")
    policy = LearnedPolicy(tmp_path / "alone")
    for a, b in zip(here, policy.log_probs_of(split.contexts()), strict=True):
        assert np.array_equal(a, b)
    job_types = split.table["job_type"]
    for row, job_type in enumerate(job_types):
        assert policy.space.is_valid(policy.space.decode([head[row] for head in here], job_type), job_type)


def test_early_stopping_keeps_the_best_epoch(dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", dataset, "epochs=40", "patience=2", "lr=0.05", "model.hidden=64")
    state = train(run)
    scores = [line["val_log_likelihood"] for line in curve(run)]
    assert state.finished and len(scores) < 40
    assert state.best_epoch == int(np.argmax(scores)) == len(scores) - 3
    assert state.best_metric == max(scores)
    assert state.best == f"checkpoints/epoch-{state.best_epoch:03d}"


def test_a_model_learns_a_small_dataset_by_heart(tmp_path: Path, ray_cluster: Any) -> None:
    from benchmarks.archives import write_repo

    write_repo(tmp_path / "repo", 30, seed=1)
    build_dataset(tmp_path / "repo", tmp_path / "dataset")
    settings = ("epochs=200", "patience=1000", "lr=0.02", "weight_decay=0", "model.hidden=64", "batch_size=32")
    run = begin(tmp_path / "run", tmp_path / "dataset", *settings)
    train(run)
    found = [line["train_loss"] for line in curve(run)]
    assert found[0] > 2 and found[-1] < 0.1
    split = load_dataset(tmp_path / "dataset").splits["train"]
    policy = LearnedPolicy(run / str(read_run(run).last))
    heads = policy.head_log_probs(inputs_of_split(split))
    for row, label in enumerate(split.labels):
        chosen = policy.space.decode([head[row] for head in heads], split.table["job_type"][row])
        assert policy.space.index(chosen) == tuple(label)


def test_tensorboard_events_are_written(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    assert [round(event.value, 4) for event in events.Scalars("train_loss")] == [
        round(line["train_loss"], 4) for line in curve(trained)
    ]


def test_training_starts_from_the_weights_it_is_given(dataset: Path, trained: Path, tmp_path: Path) -> None:
    frozen = ("lr=1e-12", "weight_decay=0", "epochs=1")
    train(begin(tmp_path / "run", dataset, *frozen, init_from=trained))
    new, old = LearnedPolicy(tmp_path / "run"), LearnedPolicy(trained)
    for name, tensor in old.model.state_dict().items():
        assert torch.allclose(tensor, new.model.state_dict()[name], atol=1e-9)


def test_a_run_that_decides_alike_where_labels_differ_says_that_it_has_collapsed(dataset: Path, tmp_path: Path) -> None:
    stubborn = TrainConfig(class_path="tests.planner.models_for_tests@Stubborn", epochs=2)
    start_run(tmp_path / "run", stubborn, dataset, init_from=None, workers=1, resume=False)
    state = train(tmp_path / "run")
    last = curve(tmp_path / "run")[-1]
    assert last["val_label_entropy_swarm"] > 0.5 and last["val_decision_entropy_swarm"] == 0
    assert last["val_entropy_swarm"] > 0.3, "its head is unsure all the same"
    assert state.note is not None and "collapsed" in state.note and "swarm (entropy of its decisions 0.00" in state.note


def compared(context: dict[str, Any]) -> list[ActionOutcome]:
    """Long and serial is best for the risky, short and parallel for the others; utilities differ by 0.5."""
    risky = context["issue"]["dk_risk"] in ("high", "critical")
    serial, vote = Action("serial_handoff", 1, 120, "NA"), Action("speculate_vote", 2, 15, "NA")
    return [
        ActionOutcome(serial, 1.0, 1000, 1000, False, 0.9 if risky else 0.4),
        ActionOutcome(vote, 1.0, 1000, 2000, False, 0.4 if risky else 0.9),
    ]


@pytest.fixture(scope="module")
def compared_dataset(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contexts of which two actions have been compared."""
    return write_compared(dataset, tmp_path_factory.mktemp("compared") / "dataset", compared)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_best_epoch_is_that_of_smallest_regret_where_actions_were_compared(
    labels: str, compared_dataset: Path, tmp_path: Path
) -> None:
    run = begin(tmp_path / "run", compared_dataset, f"labels={labels}", "epochs=12", "lr=0.002", "cost_sensitive=true")
    state = train(run)
    regrets = [line["val_regret"] for line in curve(run)]
    assert state.selected_by == "regret"
    assert state.best_metric == min(regrets) < regrets[0]
    assert state.best_epoch == regrets.index(min(regrets))


def test_the_metric_that_selects_can_be_chosen(dataset: Path, compared_dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "likelihood", compared_dataset, "select_by=log_likelihood")
    assert train(run).best_metric == max(line["val_log_likelihood"] for line in curve(run))
    values = begin(tmp_path / "values", compared_dataset, "policy_weight=0", "model.value_head=true")
    assert train(values).best_metric == max(line["val_pass_log_likelihood"] for line in curve(values))
    with pytest.raises(ConfigError, match="select_by regret"):
        begin(tmp_path / "regret", dataset, "select_by=regret")
