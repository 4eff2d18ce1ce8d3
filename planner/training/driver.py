"""Starting the training loop: here for one worker, else with Ray Train, DDP over gloo on CPUs, over nccl on GPUs."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from cluster.nodes import alive_nodes
from planner.errors import ClusterError, PlannerError, UsageError
from planner.places import place_of
from planner.runs.checkpoint import RunState, checkpoint_path, read_run
from planner.training.courier import RAY, Courier, courier

ROOM_WITHIN_S = "10"
"""How long an elastic attempt waits for room for its workers, before it counts again what there is: a node that has
just died may have been counted. Ray waits for a minute."""
GROWS_EVERY_S = 60.0
"""How often an elastic training looks whether there is room for more workers: for each time that it finds some, all
start anew from the last epoch."""
COUNT_S = 1.0
"""How often it looks whether nodes have come or gone."""
MAX_DEATHS = 2
"""How often workers may die before another epoch is finished."""
Progress = Callable[[dict[str, Any]], None]
"""Called with each finished epoch's metrics."""
Train = Callable[[Path, Progress], RunState]
"""Trains the run of a directory (see planner.training.loop.start_run) to its end."""


@contextmanager
def trainer(
    workers: int,
    *,
    min_workers: int | None = None,
    gpu: bool = False,
    address: str | None = None,
    track: Sequence[str] = (),
) -> Iterator[Train]:
    """The way to train on so many workers, or on ``min_workers`` at least, for the length of a ``with`` block.

    ``track`` as in planner.training.loop.train.
    One worker without an address needs no Ray: Ray Train starts seven processes, 25 s for the least training.
    ClusterError when there is no GPU for it.
    """
    if min_workers is not None and min_workers > workers:
        raise UsageError(f"--min-workers {min_workers}: more than --workers {workers}")
    if workers == 1 and not (address or os.environ.get("RAY_ADDRESS")):
        if gpu:
            _require_gpu()
        yield lambda run, progress: train_here(run, gpu=gpu, progress=progress, track=track)
        return
    from cluster.connect import connect

    with connect(address, None if gpu else workers):
        yield lambda run, progress: train_with_ray(
            run, workers=workers, min_workers=min_workers, gpu=gpu, progress=progress, track=track
        )


def train_here(
    run: Path, *, gpu: bool = False, progress: Progress = lambda metrics: None, track: Sequence[str] = ()
) -> RunState:
    """Run the loop in this process, on one thread as a Ray Train worker does, so that the weights are the same."""
    import torch

    from planner.training.loop import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(run, gpu=gpu, report=progress, track=track)
    finally:
        torch.set_num_threads(threads)


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ClusterError(f"--gpu: torch {torch.__version__} finds no GPU here: leave out --gpu, or name a --address")


def train_with_ray(
    run: Path,
    *,
    workers: int,
    min_workers: int | None = None,
    gpu: bool = False,
    progress: Progress = lambda metrics: None,
    track: Sequence[str] = (),
) -> RunState:
    """Run the loop on ``workers`` Ray Train workers until the run is finished.

    With ``min_workers`` on as many as there is room for from these up, anew whenever that changes: global batches,
    their order and the steps of the learning rate stay the same, rounding and dropout do not.
    ``run`` holds a run.json (see planner.training.loop.start_run). After a worker's death all are started anew, twice
    without a finished epoch at most, and go on from the last checkpoint; an error that would come again is raised at
    once. ClusterError when Ray lacks the CPUs or GPUs.
    """
    import ray

    resources = ray.cluster_resources()
    least = workers if min_workers is None else min_workers
    for name, needed in (("CPU", least), ("GPU", least if gpu else 0)):
        if resources.get(name, 0) < needed:
            raise ClusterError(
                f"{least} workers need {needed} {name}, Ray has {resources.get(name, 0):g}: take fewer workers"
                + (" or leave out --gpu" if name == "GPU" else "")
            )
    if least < workers:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", ROOM_WITHIN_S)
    state = read_run(run)
    weights = checkpoint_path(Path(state.init_from)) if state.init_from and state.last is None else None
    with (
        _Follower(run / "metrics.jsonl", progress),
        _counting_nodes(ray) if least < workers else contextlib.nullcontext(),
        courier(ray, place_of(state.dataset), (run / RAY).resolve(), weights) as carried,
    ):
        deaths, reached = 0, state.epoch
        while True:
            try:
                _fit(run, workers if least == workers else (least, workers), gpu, carried, track)
                break
            except Exception as error:
                certain = _certain(error)
                if certain is not None:
                    raise certain from None
                epoch = read_run(run).epoch
                deaths, reached = deaths + 1 if epoch == reached else 1, epoch
                if deaths > MAX_DEATHS:
                    raise ClusterError(
                        f"training failed: {_cause(error)}; the same command goes on from here"
                    ) from error
    return read_run(run)


def _fit(run: Path, workers: int | tuple[int, int], gpu: bool, carried: Courier, track: Sequence[str]) -> None:
    """One attempt: Ray's own retries would also repeat errors that must come again."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _worker,
        train_loop_config={"run": run.resolve(), "gpu": gpu, "courier": carried, "track": list(track)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, elastic_resize_monitor_interval_s=GROWS_EVERY_S),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        run_config=RunConfig(name=f"attempt-{_attempt(run)}", storage_path=str((run / RAY).resolve())),
    )
    with _own_sigint():
        trainer.fit()


@contextmanager
def _own_sigint() -> Iterator[None]:
    """Ray Train's handler of Ctrl-C outlives its training, and lets the first two pass unheard."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _certain(error: BaseException) -> PlannerError | None:
    """The error of ours that a worker raised, if one did."""
    if isinstance(error, PlannerError):
        return error
    within = [*getattr(error, "worker_failures", {}).values(), getattr(error, "_base_exc", None), error.__cause__]
    found = (_certain(inner) for inner in within if isinstance(inner, BaseException))
    return next((inner for inner in found if inner is not None), None)


def _worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train

    from planner.training.loop import train

    carried: Courier = settings["courier"]
    is_first = ray.train.get_context().get_world_rank() == 0
    with carried.run_at(settings["run"], writes=is_first) as mirror:
        train(
            mirror.path,
            gpu=settings["gpu"],
            report=mirror.pushing_after(lambda metrics: ray.train.report(metrics)),
            opened=carried.open_dataset(),
            weights=carried.open_weights(),
            track=settings["track"],
        )


def _attempt(run: Path) -> int:
    """A name Ray has not used for this run: reusing one would silently resume Ray's own state."""
    directory = run / RAY
    return len(list(directory.glob("attempt-*"))) if directory.exists() else 0


def _cause(error: BaseException) -> str:
    """The last line of the innermost error's text."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _counting_nodes(ray: Any) -> Iterator[None]:
    """Let Ray Train count the nodes whenever one has come or gone.

    By itself it does so every 20 s, and waits meanwhile for room on a node that has died (Ray 2.60, measured).
    """
    over = threading.Event()

    def count() -> None:
        counted = None
        while not over.wait(COUNT_S):
            with contextlib.suppress(Exception):  # not there yet, or another Ray's: it counts every 20 s all the same
                nodes = alive_nodes(ray)
                if nodes != counted:
                    coordinator = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
                    ray.get(coordinator.get_reserved_resources.remote("", recompute=True), timeout=COUNT_S)
                    counted = nodes

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Follower:
    """Reads a metrics file as it grows and hands each line on; Ray's own reports reach the driver only at the end."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._offset = path.stat().st_size if path.exists() else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Follower":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    def _follow(self) -> None:
        while not self._stop.wait(0.3):
            self._read()

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if line.endswith(b"\n"):
                    self._offset += len(line)
                    self._progress(orjson.loads(line))
