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

from planner.errors import DatasetError
from planner.runs.checkpoint import read_run
from planner.training.driver import train_with_ray
from planner.training.loop import train
from tests.planner.small_runs import REPO, begin, command, curve, weights

BIN = Path(sys.executable).parent
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


def worker_of(torchrun: int) -> int:
    """The process that torchrun has started to train."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    trainers = [pid for pid in children if b"planner.training" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(trainers[0])
