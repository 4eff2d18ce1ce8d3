"""Deaths and certain errors in training: what dies goes on, and an error that must come again is raised at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from planner.config import TrainConfig
from planner.errors import DatasetError
from planner.runs.checkpoint import read_run
from planner.training.driver import train_with_ray
from planner.training.loop import start_run, train
from tests.planner.recording_tracker import heard
from tests.planner.small_runs import REPO, begin, command, curve, weights
from tune.search import run_search

BIN = Path(sys.executable).parent
KILLS_ONCE = "tests.planner.recording_tracker:KillsOnce"
LONG = ("epochs=30", "patience=100", "model.dropout=0.0")


def test_an_error_that_would_come_again_is_raised_at_once(
    corpus_dataset: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    moved = shutil.copytree(corpus_dataset, tmp_path / "dataset")
    run = begin(tmp_path / "run", moved)
    shutil.rmtree(moved)
    with pytest.raises(DatasetError, match=r"no dataset\.json; build one"):
        train_with_ray(run, workers=1)
    assert [path.name for path in (run / "ray").iterdir()] == ["attempt-0"]


def test_torchrun_starts_a_killed_worker_again_and_it_goes_on_to_the_same_end(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    module = command(corpus_dataset, run, overrides=LONG)
    torchrun = [str(BIN / "torchrun"), "--nproc-per-node", "1", "--max-restarts", "2", "-m", *module]
    process = subprocess.Popen(torchrun, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(curve(run)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert read_run(run).finished
    train(begin(tmp_path / "whole", corpus_dataset, *LONG))
    assert weights(run) == weights(tmp_path / "whole")


def test_a_worker_that_dies_under_ray_train_is_replaced_and_the_weights_are_the_same(
    corpus_dataset: Path, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    run = begin(tmp_path / "killed", corpus_dataset, "epochs=4")
    assert train_with_ray(run, workers=1, track=[KILLS_ONCE]).finished
    assert begun_at(run) == [0, 2]
    train(begin(tmp_path / "whole", corpus_dataset, "epochs=4"))
    assert (weights(run), curve(run)) == (weights(tmp_path / "whole"), curve(tmp_path / "whole"))


def test_a_trial_whose_worker_dies_goes_on_to_the_same_weights(
    corpus_dataset: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    run_search(corpus_dataset, tmp_path / "tune", trials=1, epochs=4, track=[KILLS_ONCE])
    run, whole = tmp_path / "tune/trials/000", tmp_path / "whole"
    assert read_run(run).finished and begun_at(run) == [0, 2]
    settings = TrainConfig.model_validate(read_run(run).config)
    start_run(whole, settings, corpus_dataset, init_from=None, workers=1, resume=False)
    train(whole)
    assert (weights(run), curve(run)) == (weights(whole), curve(whole))


def begun_at(run: Path) -> list[int]:
    """The epochs at which its sessions began."""
    return [call["start"]["next_epoch"] for call in heard(run) if "start" in call]


def worker_of(torchrun: int) -> int:
    """The process that torchrun has started to train."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    trainers = [pid for pid in children if b"planner.training" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(trainers[0])
