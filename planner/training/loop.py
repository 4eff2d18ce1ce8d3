"""The training loop that every worker runs, whoever started it: Ray Train, torchrun, or a Tune trial."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from planner.begun_work import ANEW, differences
from planner.config import TrainConfig
from planner.dataset.storage import Dataset, Split, inputs_of_split, load_dataset
from planner.errors import CheckpointError, ConfigError, DatasetError, TrainingError
from planner.models.trial_head import TrialHead
from planner.places import Place, place_of, recorded
from planner.run_directory import RUN_LOCK, remove_run
from planner.runs.batches import batch_positions, batcher_for
from planner.runs.checkpoint import (
    LESSONS,
    PolicyDocument,
    RunState,
    check_same_space,
    checkpoint_path,
    load_weights,
    prune_checkpoints,
    read_run,
    write_run,
)
from planner.training.hardware import Worker, autocast, blocks_to_compile, check_precision
from planner.training.learner import Learner, loss_on, model_for, seed_epoch
from planner.training.log import RunLog
from planner.training.optimizers import set_learning_rate
from planner.training.trial_gate import judge_reading
from planner.training.validation import after_epoch, selection, validate

BOOTSTRAP_STREAM = 2**32 - 1
"""Stands where an epoch's number stands in the seeds of the data order."""

Report = Callable[[dict[str, Any]], None]
"""Called after every epoch, on every worker, with the epoch's metrics."""


def start_run(
    run: Path,
    config: TrainConfig,
    dataset: Place,
    *,
    init_from: Path | None,
    workers: int,
    resume: bool,
    fresh: bool = False,
    gpu: bool = False,
    teacher: Path | None = None,
    judged_on: Place | None = None,
    opened: Dataset | None = None,
) -> RunState:
    """Make the directory of a new run, or check that the one to resume is the same run; returns its state.

    With ``fresh`` a run that stands there is removed, when all else has been found in order. With a ``teacher``,
    ``dataset`` are the lessons in the run's own directory, made of the dataset ``judged_on``.
    ``opened`` is the dataset where it does not lie on this machine as ``dataset`` says, here as in :func:`train`.

    Settings that cannot work are refused here, before any worker starts.
    """
    if not gpu:
        # The GPU is where the workers are, which may be elsewhere: they check it.
        check_precision(config.precision, torch.device("cpu"))
    opened = opened or load_dataset(dataset)
    if not len(opened.splits["train"]):
        raise DatasetError(f"{dataset}: train is empty, there is nothing to learn from")
    if config.n_similar > opened.info.n_similar:
        raise ConfigError(
            f"n_similar {config.n_similar}: the dataset stores {opened.info.n_similar} similar runs, take no more"
        )
    model = model_for(opened, config)
    loss_on(opened, model, config, torch.device("cpu"))
    blocks_to_compile(model, config)
    if init_from is not None:
        check_same_space(init_from, opened.info, model.tools, reads_tokens=model.reads == "tokens")
        load_weights(checkpoint_path(init_from), model, may_lack="value.")
    wanted = RunState(
        config=config.model_dump(),
        dataset=recorded(dataset),
        dataset_hash=opened.info.dataset_hash,
        init_from=str(init_from.resolve()) if init_from else None,
        teacher=str(teacher.resolve()) if teacher else None,
        judged_on=recorded(judged_on) if judged_on else None,
        workers=workers,
        selected_by=selection(opened, config),
    )
    stood_there = (run / "run.json").exists()
    if fresh:
        remove_run(run)
    elif stood_there:
        state = read_run(run)
        if not resume:
            raise CheckpointError(f"{run} holds a run already: {ANEW}")
        require_same(run, state, wanted)
        return state
    if not stood_there and run.exists() and {path.name for path in run.iterdir()} - {LESSONS, RUN_LOCK}:
        raise CheckpointError(f"{run} holds other files than a run: give an empty or new directory as --out")
    run.mkdir(parents=True, exist_ok=True)
    write_run(run, wanted)
    return wanted


def require_same(run: Path, state: RunState, wanted: RunState) -> None:
    """CheckpointError that names what differs between the run that stands there and the one that is asked for."""
    kept = ("config", "dataset_hash", "init_from", "teacher")
    there, now = ({key: getattr(one, key) for key in kept} for one in (state, wanted))
    found = differences(there, now)
    if found:
        named = [one.removeprefix("config.") for one in found]
        raise CheckpointError(f"{run}: a run with other settings stands there: {'; '.join(named)}: {ANEW}")


def train(
    run: Path,
    *,
    gpu: bool = False,
    report: Report = lambda metrics: None,
    opened: Dataset | None = None,
    weights: Path | None = None,
    track: Sequence[str] = (),
) -> RunState:
    """Train the run in ``run`` from its last checkpoint, or from the start, to its end.

    The directory must hold a run.json (see start_run). Every worker calls this; rank 0 alone writes, and alone has
    trackers: TensorBoard, and those of ``track`` (see planner.training.trackers).
    ``weights`` is the checkpoint that the run begins from, where it does not lie on this machine as the run says.
    """
    state = read_run(run)
    config = _config_of(run, state)
    worker = Worker.current(gpu)
    dataset = opened or load_dataset(place_of(state.dataset))
    learner = Learner.start(run, state, config, dataset, worker, weights)
    policy = PolicyDocument.of(config, dataset.info, learner.model.tools)
    with RunLog(run, state, config, worker.rank, track) as log:
        for epoch in range(state.epoch + 1, config.epochs):
            if state.finished:
                break
            began = time.perf_counter()
            metrics: dict[str, Any] = {
                "epoch": epoch,
                "workers": worker.world,
                **train_epoch(learner, dataset, config, worker, epoch),
            }
            speed = len(learner.loss.examples) / (time.perf_counter() - began)
            metrics |= validate(learner.average.model, dataset, config, worker.device)
            state = after_epoch(state, metrics, config)
            if worker.rank == 0:
                state.workers = worker.world
                state.last = learner.save(run, policy.model_copy(update={"epoch": epoch}))
                state.best = state.last if state.best_epoch == epoch else state.best
                write_run(run, state)
                prune_checkpoints(run, {state.last, str(state.best)})
            log.write(metrics, is_best=state.best_epoch == epoch, examples_per_second=speed)
            report(metrics)
    if worker.rank == 0 and state.best is not None and isinstance(learner.model.heads, TrialHead):
        best = model_for(dataset, config)
        load_weights(run / state.best, best)
        gates = judge_reading(run / state.best, best, dataset, config)
        state.note = "; ".join(f"{mode} issues: {gate.sentence}" for mode, gate in gates.items())
        write_run(run, state)
    if worker.world > 1:
        dist.barrier()
    return read_run(run)


def train_epoch(
    learner: Learner, dataset: Dataset, config: TrainConfig, worker: Worker, epoch: int
) -> dict[str, float]:
    """One pass over train. Each worker takes its share of every global batch, so that the sum of gradients is that of
    one worker; returns the mean loss over the examples, the learning rate, and the mean gradient norm over the
    steps, before it is clipped."""
    learner.model.train()
    seed_epoch(config.seed, epoch, worker.rank)
    split = dataset.splits["train"]
    batcher = batcher_for(learner.model, inputs_of_split(split), config.n_similar, worker.device)
    examples = learner.loss.examples
    steps_per_epoch = math.ceil(len(examples) / config.batch_size)
    # On the worker's device, because nccl sums nothing that lies elsewhere.
    total = torch.zeros((), dtype=torch.float64, device=worker.device)
    norms = torch.zeros((), dtype=torch.float64, device=worker.device)
    drawn = examples[training_examples(len(examples), config)]
    lengths = None if batcher.lengths is None else batcher.lengths[drawn]
    batches = batch_positions(len(drawn), config.batch_size, config.seed, epoch, lengths)
    for step, positions in enumerate(batches, start=epoch * steps_per_epoch):
        batch = drawn[positions]
        share = batch[worker.rank :: worker.world]
        with autocast(config.precision, worker.device):
            prediction = learner.wrapped(batcher.batch(share))
        losses = learner.loss(prediction, share)
        # DDP averages gradients over workers; the sum over the global batch, divided by its size, is what we want.
        loss = losses.sum() * worker.world / len(batch)
        if not torch.isfinite(loss):
            broken = share[~losses.isfinite().cpu().numpy()]
            raise TrainingError(f"loss is {loss.item()} in epoch {epoch}, examples {_names(split, broken)}")
        set_learning_rate(learner.optimizer, config, step, config.epochs * steps_per_epoch)
        learner.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(learner.model.parameters(), config.grad_clip)
        if not torch.isfinite(norm):
            raise TrainingError(f"gradient norm is {norm.item()} in epoch {epoch}, batch {_names(split, batch)}")
        learner.optimizer.step()
        learner.average.update(step)
        total += losses.detach().double().sum()
        norms += norm.detach().double()
    if worker.world > 1:
        dist.all_reduce(total)
    return {
        "train_loss": total.item() / len(drawn),
        "lr": learner.optimizer.param_groups[0]["lr"],
        "grad_norm": norms.item() / steps_per_epoch,
    }


def training_examples(n: int, config: TrainConfig) -> NDArray[np.int64]:
    """The examples of an epoch, (n,): each once, or with ``bootstrap`` a resample that the seed determines."""
    if not config.bootstrap:
        return np.arange(n)
    return np.random.default_rng((config.seed, BOOTSTRAP_STREAM)).integers(0, n, n)


def _config_of(run: Path, state: RunState) -> TrainConfig:
    try:
        return TrainConfig.model_validate(state.config)
    except ValidationError as error:
        raise CheckpointError(f"{run / 'run.json'}: broken config: {error.errors(include_url=False)[0]}") from None


def _names(split: Split, positions: NDArray[np.int64]) -> list[str]:
    return [split.table["example_id"][position] for position in positions]
