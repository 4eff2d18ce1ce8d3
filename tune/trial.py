"""One trial of a search, as Ray Tune's workers run it: the training loop of everything else, reporting to Tune.

Kept apart from the search, so that workers need not import Optuna.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planner.config import TrainConfig
from planner.places import Mirror, place_of
from planner.runs.checkpoint import RunState, read_run
from planner.training.courier import Courier

METRIC = "best_val_log_likelihood"
"""Best validation joint log-likelihood per example so far, in nats; higher is better."""
EPOCHS = "epochs"
"""Epochs trained so far."""
REASON = "reason"
"""Why a trial failed."""


def run_trial(arguments: dict[str, Any], carried: Courier) -> None:
    """Train in the directory ``run``, or go on there, on the dataset with the settings ``config``.

    ``track``: who follows it besides TensorBoard.
    """
    import ray.tune

    try:
        with carried.run_at(Path(arguments["run"])) as mirror:
            _train(mirror, TrainConfig.model_validate(arguments["config"]), carried, arguments["track"])
    except Exception as error:
        # Settings that cannot be trained end their trial, not the search, and are not tried again.
        ray.tune.report({METRIC: float("-inf"), REASON: f"{type(error).__name__}: {error}"})


def _train(mirror: Mirror, config: TrainConfig, carried: Courier, track: Sequence[str]) -> None:
    import ray.tune

    from planner.training.loop import start_run, train

    run = mirror.path
    if run.exists() and not (run / "run.json").exists():
        # Killed while the run was being made; there is nothing in it yet.
        shutil.rmtree(run)
    dataset, opened = place_of(carried.dataset.place), carried.open_dataset()
    state = start_run(run, config, dataset, init_from=None, workers=1, resume=True, opened=opened)
    if state.finished:
        ray.tune.report(_result(state))
    report = mirror.pushing_after(lambda metrics: ray.tune.report(_result(read_run(run))))
    train(run, report=report, opened=opened, track=track)


def _result(state: RunState) -> dict[str, Any]:
    return {METRIC: state.best_metric, EPOCHS: state.epoch + 1}
