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
GRACE_EPOCHS = 5
"""Epochs before ASHA may stop a trial, or all when there are fewer."""
REDUCTION = 3
"""ASHA keeps the best third at each rung, and rungs are three times as many epochs apart."""


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
    first = state.epoch + 2

    def report(metrics: dict[str, Any]) -> None:
        now = read_run(run)
        if may_be_stopped(now.epoch + 1, first, config.epochs):
            # Tune then lets it do nothing any more, and ends its process.
            mirror.push()
        ray.tune.report(_result(now))

    train(run, report=mirror.pushing_after(report), opened=opened, track=track)


def may_be_stopped(done: int, first: int, epochs: int) -> bool:
    """Whether ASHA may stop a trial of so many ``epochs`` after those that are ``done``: at a rung.

    A rung that was behind the trial at its ``first`` report of this session is made up for, one with each report.
    """
    rungs = [min(GRACE_EPOCHS, epochs)]
    while rungs[-1] < done:
        rungs.append(rungs[-1] * REDUCTION)
    return done in rungs or done - first < sum(rung < first for rung in rungs)


def _result(state: RunState) -> dict[str, Any]:
    return {METRIC: state.best_metric, EPOCHS: state.epoch + 1}
