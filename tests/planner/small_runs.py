"""Runs of a small MLP: how a test begins one, and what it left."""

from pathlib import Path
from typing import Any

import orjson

from planner.config import TrainConfig, load_config
from planner.runs.checkpoint import read_run
from planner.training.loop import start_run

SMALL = ("model.hidden=16", "model.layers=1", "model.dropout=0.0", "batch_size=11", "epochs=3", "warmup_steps=2")
"""The synthetic dataset has 177 examples to train on: batches of 11 leave a last one that two workers cannot share."""
REPO = Path(__file__).parents[2]


def config(*overrides: str) -> TrainConfig:
    """A small MLP without dropout, with overrides."""
    return load_config("mlp_planner", None, [*SMALL, *overrides])


def begin(run: Path, dataset: Path, *overrides: str, **options: Any) -> Path:
    """A new run that nobody has trained yet."""
    start_run(run, config(*overrides), dataset, **{"init_from": None, "workers": 1, "resume": False, **options})
    return run


def curve(run: Path) -> list[dict[str, Any]]:
    """The metrics of every epoch."""
    return [orjson.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def weights(run: Path) -> dict[str, bytes]:
    """Every file of the last checkpoint that holds numbers."""
    state = read_run(run)
    assert state.last is not None
    return {path.name: path.read_bytes() for path in sorted((run / state.last).glob("*.safetensors"))}


def command(dataset: Path, run: Path, *options: str, overrides: tuple[str, ...] = ()) -> list[str]:
    """The arguments of `python -m planner.training` for a small run."""
    settings = [part for setting in (*SMALL, *overrides) for part in ("--set", setting)]
    return ["planner.training", str(dataset), "--out", str(run), *settings, *options]
