"""What one worker trains with: model, optimizer, loss, averaged weights; made from a run's state, and saved to it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from planner.config import TrainConfig
from planner.dataset.outcomes import Outcomes
from planner.dataset.storage import Dataset
from planner.models.base import ModelSpec, NeuralPolicy
from planner.models.load import build_model
from planner.models.trial_head import TrialHead
from planner.runs.checkpoint import (
    PolicyDocument,
    RunState,
    checkpoint_path,
    load_optimizer,
    load_weights,
    save_checkpoint,
)
from planner.training.ema import MovingAverage
from planner.training.hardware import Worker, blocks_to_compile, check_precision
from planner.training.losses import Loss, log_times
from planner.training.optimizers import build_optimizer
from planner.training.trial_examples import trials_of_examples
from planner.training.trial_loss import TrialLoss, known_tools, start_from_trials, trial_loss

TRAINED = "trained.safetensors"
"""The trained weights in a checkpoint whose model.safetensors are averaged ones; needed to go on."""


@dataclass(frozen=True)
class Learner:
    """``wrapped`` is what computes the training loss: the model itself, or under DDP."""

    model: NeuralPolicy
    wrapped: nn.Module
    average: MovingAverage
    optimizer: torch.optim.Optimizer
    loss: Loss | TrialLoss

    @classmethod
    def start(
        cls,
        run: Path,
        state: RunState,
        config: TrainConfig,
        dataset: Dataset,
        worker: Worker,
        weights: Path | None = None,
    ) -> "Learner":
        """As the last checkpoint left the run, or at its start; ``weights``: see planner.training.loop.train."""
        check_precision(config.precision, worker.device)
        torch.set_num_threads(1)
        torch.manual_seed(config.seed)
        torch.use_deterministic_algorithms(True, warn_only=worker.device.type == "cuda")
        model = model_for(dataset, config).to(worker.device)
        if state.last is None:
            outcomes = dataset.splits["train"].outcomes
            standardise_times(model, outcomes)
            if isinstance(model.heads, TrialHead):
                start_from_trials(model.heads, trials_of_examples(dataset, "train"))
            if state.init_from is not None:
                load_weights(checkpoint_path(weights or Path(state.init_from)), model, may_lack="value.")
            count_tried(model, outcomes)
        average = MovingAverage(model, config.ema)
        optimizer = build_optimizer(model, config)
        if state.last is not None:
            checkpoint = run / state.last
            load_weights(checkpoint, average.model)
            if config.ema:
                load_weights(checkpoint, model, TRAINED)
            load_optimizer(checkpoint, optimizer)
        for block in {*blocks_to_compile(model, config), *blocks_to_compile(average.model, config)}:
            block.compile(dynamic=True)
        wrapped = DistributedDataParallel(model) if worker.world > 1 else model
        return cls(model, wrapped, average, optimizer, loss_on(dataset, model, config, worker.device))

    def save(self, run: Path, policy: PolicyDocument) -> str:
        """Write the checkpoint of ``policy.epoch``; returns its path relative to the run."""
        models = {"model.safetensors": self.average.model}
        if self.average.model is not self.model:
            models[TRAINED] = self.model
        return save_checkpoint(run, policy, models, self.optimizer)


def model_for(dataset: Dataset, config: TrainConfig) -> NeuralPolicy:
    """The model of these settings, untrained; ConfigError when they do not fit."""
    tools = known_tools(dataset, config.model)
    return build_model(config.class_path, config.model, ModelSpec.of(dataset.info, tools))


def loss_on(dataset: Dataset, model: NeuralPolicy, config: TrainConfig, device: torch.device) -> Loss | TrialLoss:
    """What the model minimises on train; ConfigError when the settings cannot be applied, DatasetError without trials
    for a trial head."""
    if isinstance(model.heads, TrialHead):
        return trial_loss(dataset, model, config, device)
    return Loss(dataset.splits["train"], model, config, device)


def standardise_times(model: NeuralPolicy, outcomes: Outcomes) -> None:
    """Let the value head, if there is one, start from the mean and spread of the times that train shows."""
    if model.value is None:
        return
    known = [column[np.isfinite(column)] for column in log_times(outcomes).T]
    mean = torch.tensor([column.mean() if len(column) else 0.0 for column in known])
    spread = torch.tensor([column.std() if len(column) and column.std() > 0 else 1.0 for column in known])
    model.value.standardise(mean, spread)


def count_tried(model: NeuralPolicy, outcomes: Outcomes) -> None:
    """Add the actions that train has outcomes of to those that the value head, if there is one, has learned from.

    A capped outcome does not count: nobody knows whether the action passes.
    """
    if model.value is not None:
        rows = model.space.tuple_rows(np.asarray(outcomes.actions)[~np.asarray(outcomes.capped)])
        counts = torch.from_numpy(np.bincount(rows, minlength=len(model.space.tuples)))
        model.value.tried += counts.to(model.value.tried.device)


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed dropout for one epoch of one worker, so that a resumed run draws what an uninterrupted one does."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0] >> 1))
