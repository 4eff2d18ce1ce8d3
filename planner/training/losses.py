"""What training minimises: cross-entropy with the executed or best action, examples and values weighted as asked."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planner.config import TrainConfig
from planner.dataset.storage import Split
from planner.errors import ConfigError
from planner.models.base import NeuralPolicy

EFFECTIVE_BETA = 0.999
"""Beyond 1 / (1 - beta) examples of one value, further ones hardly count as new (Cui et al. 2019)."""


class PolicyLoss:
    """Cross-entropy of a policy's outputs with a split's labels, example by example.

    Its targets are distributions, one (n, width) per output, so that hard and soft labels are one case.
    """

    def __init__(self, split: Split, model: NeuralPolicy, config: TrainConfig, device: torch.device) -> None:
        """ConfigError when the settings cannot be applied to this model and split."""
        head_weights = [1.0] if model.outputs == ("joint",) else config.head_weights
        if model.outputs == ("joint",) and set(config.head_weights) != {1.0}:
            raise ConfigError("head_weights weigh four heads; with model.action_head joint leave them out")
        self._targets, self._weights = [], []
        for i, positions in enumerate(model.targets(np.asarray(split.labels)).T):
            if (positions < 0).any():
                raise ConfigError("model.action_head joint: a label is no tuple of the action space; take four")
            targets = np.eye(model.widths[i], dtype=np.float32)[positions]
            weights = value_weights(targets.sum(axis=0), config.value_weights, config.max_value_weight)
            self._targets.append(torch.from_numpy(targets).to(device))
            self._weights.append(torch.tensor(head_weights[i] * weights, dtype=torch.float32, device=device))

    def __call__(self, log_probs: Sequence[Tensor], positions: Tensor) -> Tensor:
        """Loss of each example (b,); ``log_probs`` as the model gives them, for the split's ``positions`` (b,)."""
        losses = [
            cross_entropy(head, targets[positions], weights)
            for head, targets, weights in zip(log_probs, self._targets, self._weights, strict=True)
        ]
        return torch.stack(losses).sum(dim=0)


def cross_entropy(log_probs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """-sum over values of weight · target · log-probability, (b,); ``targets`` (b, width), ``weights`` (width,)."""
    # A value that is not wanted may be forbidden, and 0 · -inf is no number.
    wanted = torch.where(targets > 0, log_probs, 0.0)
    return -(weights * targets * wanted).sum(dim=-1)


def value_weights(counts: NDArray[np.floating], kind: str, cap: float) -> NDArray[np.float64]:
    """Weight of each of a head's values, (width,), from how often train shows them; its mean over train is 1.

    ``kind``: equal, inverse (of the count), or effective (of the effective number of examples, Cui et al. 2019). No
    weight exceeds ``cap``; values that never occur weigh 1.
    """
    seen = counts > 0
    weights = np.ones(len(counts))
    if kind == "inverse":
        weights[seen] = 1 / counts[seen]
    elif kind == "effective":
        weights[seen] = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** counts[seen])
    weights[seen] *= counts.sum() / (weights[seen] * counts[seen]).sum()
    return np.minimum(weights, cap)
