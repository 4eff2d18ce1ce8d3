"""Trackers: who follows a training run hears every epoch once, in order, and cannot end it; TensorBoard and MLflow."""

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import ConfigError, TrainingError
from planner.runs.checkpoint import read_run
from planner.training.driver import trainer
from planner.training.loop import train
from planner.training.trackers import load_tracker
from tests.planner.recording_tracker import heard
from tests.planner.small_runs import begin, curve, weights

RECORDER = "tests.planner.recording_tracker:Recorder"
EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def dataset(corpus_dataset: Path) -> Path:
    """Two dozen real examples, some of them in validation."""
    return corpus_dataset


def test_a_tracker_hears_the_start_every_epoch_and_the_end(dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", dataset, "model.hidden=8")
    with trainer(1, track=[RECORDER]) as train_run:
        train_run(run, lambda metrics: None)
    start, *epochs, end = heard(run)
    settings = start["start"]["settings"]
    assert (settings["model.hidden"], settings["model.layers"], settings["lr"]) == (8, 1, 0.002)
    assert "model.value_head" in settings, "what the model has by default is a setting too"
    assert start["start"]["next_epoch"] == 0 and end["finished"] is True
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    for line, recorded in zip(epochs, curve(run), strict=True):
        metrics = line["metrics"]
        assert metrics.pop("examples_per_second") > 0
        assert metrics == {name: value for name, value in recorded.items() if name != "epoch"}
    assert {"val_loss_swarm_id", "val_accuracy_max_minutes_bin", "val_exact_match", "val_ece", "grad_norm"} < set(
        metrics
    )
    assert max(line["epoch"] for line in epochs if line["is_best"]) == read_run(run).best_epoch
    # Asked to go on at its end, the run has no epoch to follow.
    train(run, track=[RECORDER])
    assert len(heard(run)) == 5


def test_the_numbers_of_the_heads_add_up(dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", dataset, "epochs=1")
    train(run)
    (line,) = curve(run)
    heads = ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin")
    # Over valid tuples alone the joint likelihood is a little larger than the product of the heads'.
    assert -line["val_log_likelihood"] <= sum(line[f"val_loss_{head}"] for head in heads) + 1e-9
    assert line["val_exact_match"] <= min(line[f"val_accuracy_{head}"] for head in heads)
    assert 0 <= line["val_ece"] <= 1 and line["grad_norm"] > 0


def test_a_tracker_that_breaks_does_not_end_the_training(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    followed, alone = (begin(tmp_path / name, dataset) for name in ("followed", "alone"))
    train(alone)
    assert train(followed, track=["tests.planner.recording_tracker:Breaks"]).finished
    assert weights(followed) == weights(alone)
    assert len(heard(followed)) == 2, "after its failure it hears nothing"
    assert capfd.readouterr().err.count("tracker Breaks failed and follows no more: OSError('no space left')") == 1


def test_a_tracker_that_cannot_start_is_named_before_the_first_epoch(dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", dataset)
    with pytest.raises(TrainingError, match=r"tracker CannotStart cannot start: ConnectionError"):
        train(run, track=["tests.planner.recording_tracker:CannotStart"])
    assert read_run(run).epoch == -1


def test_a_training_that_fails_says_so_to_its_trackers(dataset: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", dataset, "lr=1e30", "grad_clip=1e30", "warmup_steps=0")
    with pytest.raises(TrainingError):
        train(run, track=[RECORDER])
    assert heard(run)[-1]["finished"] is False


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("no_such_module:Tracker", "no_such_module cannot be imported"),
        ("tests.planner.recording_tracker:Nobody", "has no class Nobody"),
        ("planner.config:TrainConfig", "TrainConfig lacks run_starts, epoch, run_ends"),
        ("json", "write MODULE:CLASS"),
    ],
)
def test_what_is_no_tracker_is_named(path: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_tracker(path)


def test_a_wrong_tracker_is_answered_before_anything_is_made(dataset: Path, tmp_path: Path) -> None:
    for words in (["train"], ["tune", "--trials", "1"], ["ablate", "--seeds", "1"], ["compare", "--seeds", "1"]):
        out = tmp_path / words[0]
        done = CliRunner().invoke(app, [*words, str(dataset), "--out", str(out), "--track", "nowhere:Tracker"])
        assert isinstance(done.exception, ConfigError) and "nowhere" in str(done.exception), words
        assert not (out / "run.json").exists() and not (out / "study.sqlite").exists()


def test_tensorboard_sets_runs_side_by_side(dataset: Path, tmp_path: Path) -> None:
    for name, hidden in (("000", 8), ("001", 16)):
        train(begin(tmp_path / "trials" / name, dataset, f"model.hidden={hidden}"))
    experiment, groups = parallel_coordinates(tmp_path / "trials")
    assert experiment["hparamInfos"][0]["name"] == "model.hidden", "what differs from run to run comes first"
    columns = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"best/val_log_likelihood", "best/val_ece", "grad_norm", "examples_per_second"} <= columns
    assert sorted(group["hparams"]["model.hidden"] for group in groups) == [8, 16]
    assert {"lr", "batch_size", "model.layers", "seed"} <= set(groups[0]["hparams"])
    for group in groups:
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert set(values) == columns, "a run without a value in one of the columns has no line"
        best = read_run(tmp_path / "trials" / group["sessions"][0]["name"].partition("/")[0])
        assert values["best/val_log_likelihood"] == pytest.approx(best.best_metric, abs=1e-6)
        assert 0 <= values["best/val_exact_match"] <= 1


def parallel_coordinates(logdir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What TensorBoard's own server answers to its page of parallel coordinates: which columns, and the runs."""
    from tensorboard import assets, default, program

    board = program.TensorBoard(default.get_plugins(), assets.get_default_assets_zip_provider())
    board.configure(argv=["", "--logdir", str(logdir), "--port", "0", "--load_fast=false", "--host", "127.0.0.1"])
    url = board.launch()

    def ask(name: str, **asked: Any) -> dict[str, Any]:
        body = json.dumps({"experimentName": "", **asked}).encode()
        request = urllib.request.Request(f"{url}data/plugin/hparams/{name}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answered:
            found: dict[str, Any] = json.load(answered)
        return found

    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"]
    groups = ask("session_groups", allowedStatuses=statuses, colParams=[], startIndex=0, sliceSize=100)
    return ask("experiment"), groups["sessionGroups"]


def test_the_mlflow_tracker_of_the_docs_writes_what_mlflow_reads(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed: the extra `dev` has it")
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", EXTENDING.read_text(), re.S) if "mlflow" in code)
    (tmp_path / "mlflow_tracker.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = begin(tmp_path / "run", dataset)
    train(run, track=["mlflow_tracker:MLflow"])
    sys.modules.pop("mlflow_tracker")
    client = mlflow.MlflowClient(f"file://{tmp_path}/mlruns")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED" and found.data.params["model.hidden"] == "16"
    history = client.get_metric_history(found.info.run_id, "val_log_likelihood")
    assert [point.value for point in history] == [line["val_log_likelihood"] for line in curve(run)]
    assert [point.step for point in history] == [0, 1, 2]
