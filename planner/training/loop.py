"""The training loop that every worker runs, whoever started it: Ray Train, torchrun, or a Tune trial."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from planner.actions import HEADS
from planner.config import TrainConfig
from planner.dataset.storage import Dataset, Split, load_dataset, tool_versions
from planner.errors import CheckpointError, ConfigError, DatasetError, TrainingError
from planner.models.base import ModelSpec, build_model
from planner.models.heads import weighted_cross_entropy
from planner.models.inputs import inputs_of_split
from planner.training.batches import batch_positions, batcher_for
from planner.training.checkpoint import (
    PolicyDocument,
    RunState,
    checkpoint_path,
    load_optimizer,
    load_weights,
    prune_checkpoints,
    read_policy,
    read_run,
    save_checkpoint,
    write_run,
)

VALIDATION_BATCH = 64

Report = Callable[[dict[str, Any]], None]
"""Called after every epoch, on every worker, with the epoch's metrics."""


@dataclass(frozen=True)
class Worker:
    """This process's place among the workers."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, gpu: bool) -> "Worker":
        """The place that torch.distributed gives, or that of a single process."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
        return cls(rank, world, device)


def train(run: Path, *, gpu: bool = False, report: Report = lambda metrics: None) -> RunState:
    """Train the run in ``run`` from its last checkpoint, or from the start, to its end.

    The directory must hold a run.json (see start_run). Every worker calls this; rank 0 alone writes.
    """
    state = read_run(run)
    config = _config_of(run, state)
    worker = Worker.current(gpu)
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(True, warn_only=gpu)
    dataset = load_dataset(Path(state.dataset))
    policy = policy_document(config, dataset)
    model = build_model(config.class_path, config.model, ModelSpec.of(dataset.info)).to(worker.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    if state.last is not None:
        load_weights(run / state.last, model)
        load_optimizer(run / state.last, optimizer)
    elif state.init_from is not None:
        load_weights(checkpoint_path(Path(state.init_from)), model)
    wrapped = DistributedDataParallel(model) if worker.world > 1 else model
    log = RunLog(run, worker.rank)
    for epoch in range(state.epoch + 1, config.epochs):
        if state.finished:
            break
        metrics: dict[str, Any] = {"epoch": epoch, **train_epoch(wrapped, optimizer, dataset, config, worker, epoch)}
        metrics |= validate(model, dataset.splits["val"], config, worker)
        state = after_epoch(state, metrics, config)
        if worker.rank == 0:
            state.last = save_checkpoint(run, epoch, policy.model_copy(update={"epoch": epoch}), model, optimizer)
            state.best = state.last if state.best_epoch == epoch else state.best
            write_run(run, state)
            prune_checkpoints(run, {state.last, str(state.best)})
        log.write(metrics)
        report(metrics)
    log.close()
    if worker.world > 1:
        dist.barrier()
    return read_run(run)


def _config_of(run: Path, state: RunState) -> TrainConfig:
    try:
        return TrainConfig.model_validate(state.config)
    except ValidationError as error:
        raise CheckpointError(f"{run / 'run.json'}: broken config: {error.errors(include_url=False)[0]}") from None


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
    config: TrainConfig,
    worker: Worker,
    epoch: int,
) -> dict[str, float]:
    """One pass over train. Each worker takes its share of every global batch, so that the sum of gradients is that of
    one worker; returns the mean loss over the examples and the learning rate."""
    model.train()
    split = dataset.splits["train"]
    batcher = batcher_for(model, inputs_of_split(split), config.n_similar, worker.device)
    steps_per_epoch = math.ceil(len(split) / config.batch_size)
    total = torch.zeros((), dtype=torch.float64)
    batches = batch_positions(len(split), config.batch_size, config.seed, epoch, batcher.lengths)
    for step, batch in enumerate(batches):
        share = batch[worker.rank :: worker.world]
        labels = torch.from_numpy(split.labels[share]).to(worker.device)
        losses = weighted_cross_entropy(model(batcher.batch(share)), labels, config.head_weights)
        # DDP averages gradients over workers; the sum over the global batch, divided by its size, is what we want.
        loss = losses.sum() * worker.world / len(batch)
        if not torch.isfinite(loss):
            broken = share[~losses.isfinite().cpu().numpy()]
            raise TrainingError(f"loss is {loss.item()} in epoch {epoch}, examples {_names(split, broken)}")
        set_learning_rate(optimizer, config, epoch * steps_per_epoch + step, config.epochs * steps_per_epoch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        total += losses.detach().double().sum().cpu()
    if worker.world > 1:
        dist.all_reduce(total)
    return {"train_loss": total.item() / len(split), "lr": optimizer.param_groups[0]["lr"]}


@torch.no_grad()
def validate(model: nn.Module, split: Split, config: TrainConfig, worker: Worker) -> dict[str, float]:
    """Joint log-likelihood per example, and how sure the swarm and candidates heads are (entropy in nats).

    Every worker computes the same numbers on the whole split, so that all agree when to stop.
    """
    if not len(split):
        return {}
    model.eval()
    batcher = batcher_for(model, inputs_of_split(split), config.n_similar, worker.device)
    likelihood, swarm, candidates = 0.0, 0.0, 0.0
    for start in range(0, len(split), VALIDATION_BATCH):
        positions = np.arange(start, min(start + VALIDATION_BATCH, len(split)))
        log_probs = model(batcher.batch(positions))
        labels = torch.from_numpy(split.labels[positions]).to(worker.device)
        likelihood -= weighted_cross_entropy(log_probs, labels, [1.0] * 4).double().sum().item()
        swarm += entropy(log_probs[0]).sum().item()
        candidates += entropy(log_probs[1]).sum().item()
    return {
        "val_log_likelihood": likelihood / len(split),
        "val_entropy_swarm": swarm / len(split),
        "val_entropy_candidates": candidates / len(split),
    }


def after_epoch(state: RunState, metrics: dict[str, Any], config: TrainConfig) -> RunState:
    """The run's state once ``metrics['epoch']`` is over: is it the best so far, and is it time to stop?"""
    epoch, score = metrics["epoch"], metrics.get("val_log_likelihood")
    state = state.model_copy(update={"epoch": epoch})
    if score is None:
        state.best_epoch, state.note = epoch, "validation is empty: no early stopping, the last epoch counts as best"
    elif state.best_metric is None or score > state.best_metric:
        state.best_metric, state.best_epoch = score, epoch
    state.finished = epoch + 1 == config.epochs or epoch - state.best_epoch >= config.patience
    return state


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of each row of log-probabilities; values of probability 0 count as 0."""
    return -(log_probs.exp() * log_probs.clamp(min=-1e4)).sum(dim=-1)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> None:
    """Linear warm-up, then a cosine from lr to a tenth of it."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        factor = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    for group in optimizer.param_groups:
        group["lr"] = config.lr * factor


def _check_same_space(init_from: Path, dataset: Dataset, *, reads_tokens: bool) -> None:
    """Weights mean the same only where heads and tokens list the same values: equal shapes are not enough."""
    policy = read_policy(checkpoint_path(init_from))
    theirs = policy.action_space
    if reads_tokens and policy.vocabulary != dataset.info.vocabulary:
        raise CheckpointError(
            f"{init_from}: its vocabulary is not the dataset's: start from a run on the same base dataset"
        )
    for head in (f"{head}s" for head in HEADS):
        found, wanted = getattr(theirs, head), getattr(dataset.info.action_space, head)
        if found != wanted:
            raise CheckpointError(
                f"{init_from}: its {head} are {found}, the dataset's {wanted}: "
                "start from a run on the same action space"
            )


def policy_document(config: TrainConfig, dataset: Dataset) -> PolicyDocument:
    """What a checkpoint must say besides the weights; its epoch is filled in when it is saved."""
    info = dataset.info
    return PolicyDocument(
        class_path=config.class_path,
        model=config.model,
        n_similar=config.n_similar,
        action_space=info.action_space,
        kernel_config=info.kernel_config,
        minute_seconds=info.minute_seconds,
        token_profile=info.token_profile,
        vocabulary=info.vocabulary,
        context_features=info.context_features,
        run_features=info.run_features,
        dataset_hash=info.dataset_hash,
        dataset_n_similar=info.n_similar,
        epoch=-1,
        tool_versions=tool_versions(),
    )


def _names(split: Split, positions: NDArray[np.int64]) -> list[str]:
    return [split.table["example_id"][position] for position in positions]


def start_run(
    run: Path, config: TrainConfig, dataset: Path, *, init_from: Path | None, workers: int, resume: bool
) -> RunState:
    """Make the directory of a new run, or check that the one to resume is the same run; returns its state.

    Settings that cannot work are refused here, before any worker starts.
    """
    opened = load_dataset(dataset)
    if not len(opened.splits["train"]):
        raise DatasetError(f"{dataset}: train is empty, there is nothing to learn from")
    if config.n_similar > opened.info.n_similar:
        raise ConfigError(
            f"n_similar {config.n_similar}: the dataset stores {opened.info.n_similar} similar runs, take no more"
        )
    model = build_model(config.class_path, config.model, ModelSpec.of(opened.info))
    if init_from is not None:
        _check_same_space(init_from, opened, reads_tokens=model.reads == "tokens")
        load_weights(checkpoint_path(init_from), model)
    wanted = RunState(
        config=config.model_dump(),
        dataset=str(dataset.resolve()),
        dataset_hash=opened.info.dataset_hash,
        init_from=str(init_from.resolve()) if init_from else None,
        workers=workers,
    )
    if (run / "run.json").exists():
        state = read_run(run)
        if not resume:
            raise CheckpointError(f"{run} holds a run already: pass --resume to go on, or another --out")
        for key in ("config", "dataset_hash"):
            if getattr(state, key) != getattr(wanted, key):
                raise CheckpointError(f"{run}: --resume needs the run's own {key}, these differ; give another --out")
        return state
    if run.exists() and any(run.iterdir()):
        raise CheckpointError(f"{run} holds other files than a run: give an empty or new directory as --out")
    run.mkdir(parents=True, exist_ok=True)
    write_run(run, wanted)
    return wanted


class RunLog:
    """metrics.jsonl and TensorBoard events of a run; only rank 0 writes."""

    def __init__(self, run: Path, rank: int) -> None:
        self._file = run / "metrics.jsonl"
        self._board = SummaryWriter(str(run / "tensorboard")) if rank == 0 else None

    def write(self, metrics: dict[str, Any]) -> None:
        """Append one epoch's metrics."""
        if self._board is None:
            return
        with self._file.open("ab") as file:
            file.write(orjson.dumps(metrics, option=orjson.OPT_APPEND_NEWLINE))
        for name, value in metrics.items():
            if name != "epoch":
                self._board.add_scalar(name, value, metrics["epoch"])
        self._board.flush()

    def close(self) -> None:
        """Finish the event file."""
        if self._board is not None:
            self._board.close()
