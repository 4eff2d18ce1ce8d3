"""How good a model is on the validation split after an epoch, and whether it has collapsed to a few decisions."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.config import TrainConfig
from planner.dataset.storage import Split
from planner.models.base import NeuralPolicy
from planner.models.inputs import inputs_of_split
from planner.training.batches import batcher_for
from planner.training.checkpoint import RunState

BATCH = 64
"""Examples in one forward pass."""
COLLAPSE_SHARE = 0.2
"""Decisions whose entropy is below this share of the labels' have collapsed."""
COLLAPSE_ENTROPY = 0.1
"""Entropy of the labels, in nats, below which there is nothing to collapse from."""


@torch.no_grad()
def validate(model: NeuralPolicy, split: Split, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Metrics on the split, all means over its examples; nothing when it is empty.

    val_log_likelihood: joint log-likelihood of the label. For swarm and candidates, entropies in nats: val_entropy_*,
    of the head (how sure it is of one example); val_decision_entropy_*, of the decisions over all examples;
    val_label_entropy_*, of the labels. Every worker computes the same numbers, so that all agree when to stop.
    """
    if not len(split):
        return {}
    model.eval()
    inputs = inputs_of_split(split)
    batcher = batcher_for(model, inputs, config.n_similar, device)
    parts = []
    for start in range(0, len(split), BATCH):
        log_probs = model(batcher.batch(np.arange(start, min(start + BATCH, len(split)))))
        parts.append([head.double().cpu().numpy() for head in log_probs])
    outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
    labels = np.asarray(split.labels)
    targets = model.targets(labels)
    likelihood = sum(head[np.arange(len(split)), targets[:, i]].sum() for i, head in enumerate(outputs))
    metrics = {"val_log_likelihood": float(likelihood) / len(split)}
    heads = outputs if len(outputs) > 1 else model.space.marginals(outputs[0])
    decided = decisions(model.space, outputs, inputs.job_types)
    for i, name in enumerate(("swarm", "candidates")):
        metrics[f"val_entropy_{name}"] = float(entropy(heads[i]).mean())
        metrics[f"val_decision_entropy_{name}"] = label_entropy(decided[:, i])
        metrics[f"val_label_entropy_{name}"] = label_entropy(labels[:, i])
    return metrics


def decisions(space: ActionSpace, outputs: list[NDArray[np.float64]], job_types: NDArray[np.str_]) -> NDArray[np.int64]:
    """The best valid action of each example as positions in the heads, (n, 4)."""
    chosen: NDArray[np.int64] = np.zeros((len(job_types), len(space.widths)), dtype=np.int64)
    for job_type in np.unique(job_types):
        rows = np.flatnonzero(job_types == job_type)
        joint = space.joint_log_probs([head[rows] for head in outputs], str(job_type))
        chosen[rows] = space.valid_indices(str(job_type))[joint.argmax(axis=1)]
    return chosen


def entropy(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in nats of each row of log-probabilities (n, width); values of probability 0 count as 0."""
    return -(np.exp(log_probs) * np.maximum(log_probs, -1e4)).sum(axis=-1)


def label_entropy(positions: NDArray[np.int64]) -> float:
    """Entropy in nats of how often each value occurs."""
    shares = np.unique(positions, return_counts=True)[1] / len(positions)
    return float(-(shares * np.log(shares)).sum()) + 0.0


def collapse_note(metrics: dict[str, Any]) -> str | None:
    """A sentence that says which head has collapsed, if any has: it decides alike where the labels differ."""
    collapsed = [
        f"{name} (entropy of its decisions {metrics[f'val_decision_entropy_{name}']:.2f} nats, of the labels "
        f"{metrics[f'val_label_entropy_{name}']:.2f})"
        for name in ("swarm", "candidates")
        if metrics[f"val_label_entropy_{name}"] > COLLAPSE_ENTROPY
        and metrics[f"val_decision_entropy_{name}"] < COLLAPSE_SHARE * metrics[f"val_label_entropy_{name}"]
    ]
    return f"on validation it has collapsed to nearly one decision: {', '.join(collapsed)}" if collapsed else None


def after_epoch(state: RunState, metrics: dict[str, Any], config: TrainConfig) -> RunState:
    """The run's state once ``metrics['epoch']`` is over: is it the best so far, and is it time to stop?"""
    epoch, score = metrics["epoch"], metrics.get("val_log_likelihood")
    state = state.model_copy(update={"epoch": epoch})
    if score is None:
        state.best_epoch, state.note = epoch, "validation is empty: no early stopping, the last epoch counts as best"
    elif state.best_metric is None or score > state.best_metric:
        state.best_metric, state.best_epoch, state.note = score, epoch, collapse_note(metrics)
    state.finished = epoch + 1 == config.epochs or epoch - state.best_epoch >= config.patience
    return state
