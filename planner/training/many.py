"""Many small runs side by side, one CPU each: what a comparison or an ablation trains. Finished runs are not redone."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from planner.config import TrainConfig
from planner.errors import ClusterError
from planner.places import Place, place_of
from planner.runs.checkpoint import read_run
from planner.training.courier import Courier, courier
from planner.training.loop import start_run, train

SECONDS = "seconds.json"
MAX_DEATHS = 3
"""How often the worker or the node of a run may die."""

Progress = Callable[[str, int, int], None]


def train_many(
    dataset: Place, runs: Mapping[Path, TrainConfig], progress: Progress, *, track: Sequence[str] = ()
) -> None:
    """Train every run (directory -> settings) that is not finished. Ray must be connected; ``track`` as in train.

    ClusterError when workers or nodes have died too often.
    """
    import ray

    if not runs:
        return
    # A node or worker that dies gives its run to another, which goes on from the last checkpoint.
    remote = ray.remote(num_cpus=1, max_retries=MAX_DEATHS)(_train_one)
    with courier(ray, dataset, next(iter(runs)).parent.resolve()) as carried:
        waiting = [
            remote.remote(config.model_dump(), carried, run.resolve(), tuple(track)) for run, config in runs.items()
        ]
        total = len(waiting)
        while waiting:
            progress("train", total - len(waiting), total)
            finished, waiting = ray.wait(waiting)
            try:
                ray.get(finished)
            except ray.exceptions.RayTaskError:
                raise  # an error of the training itself
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"a run's worker or node has died {MAX_DEATHS + 1} times: {str(error).splitlines()[0]}; what was "
                    "finished is kept, the same command goes on"
                ) from None
        progress("train", total, total)


def training_seconds(run: Path) -> float | None:
    """How long the run trained; None for one that was interrupted, whose time nobody knows."""
    path = run / SECONDS
    return orjson.loads(path.read_bytes()) if path.exists() else None


def _train_one(config: dict[str, Any], carried: Courier, run: Path, track: Sequence[str]) -> None:
    with carried.run_at(run) as mirror:
        path, settings = mirror.path, TrainConfig.model_validate(config)
        resume = (path / "run.json").exists()
        if resume and read_run(path).finished:
            return
        dataset, opened = place_of(carried.dataset.place), carried.open_dataset()
        start_run(path, settings, dataset, init_from=None, workers=1, resume=resume, opened=opened)
        started = time.monotonic()
        train(path, report=mirror.pushing_after(lambda metrics: None), opened=opened, track=track)
        if not resume:
            (path / SECONDS).write_bytes(orjson.dumps(time.monotonic() - started))
