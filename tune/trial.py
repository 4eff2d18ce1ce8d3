"""One trial of a search, as Ray Tune's workers run it: the training loop of everything else, reporting to Tune.

Kept apart from the search, so that workers need not import Optuna.
"""

import shutil
from pathlib import Path
from typing import Any

from planner.config import TrainConfig
from planner.places import place_of
from planner.runs.checkpoint import RunState, read_run

METRIC = "best_val_log_likelihood"
"""Best validation joint log-likelihood per example so far, in nats; higher is better."""
EPOCHS = "epochs"
"""Epochs trained so far."""
REASON = "reason"
"""Why a trial failed."""


def run_trial(arguments: dict[str, Any]) -> None:
    """Train in the directory ``run``, or go on there, on ``dataset`` with the settings ``config``.

    ``track``: who follows it besides TensorBoard.
    """
    import ray.tune

    from planner.training.loop import start_run, train

    run = Path(arguments["run"])
    if run.exists() and not (run / "run.json").exists():
        # Killed while the run was being made; there is nothing in it yet.
        shutil.rmtree(run)
    try:
        config = TrainConfig.model_validate(arguments["config"])
        state = start_run(run, config, place_of(arguments["dataset"]), init_from=None, workers=1, resume=True)
        if state.finished:
            ray.tune.report(_result(state))
        train(run, report=lambda metrics: ray.tune.report(_result(read_run(run))), track=arguments["track"])
    except Exception as error:
        # Settings that cannot be trained end their trial, not the search, and are not tried again.
        ray.tune.report({METRIC: float("-inf"), REASON: f"{type(error).__name__}: {error}"})


def _result(state: RunState) -> dict[str, Any]:
    return {METRIC: state.best_metric, EPOCHS: state.epoch + 1}
