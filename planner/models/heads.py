"""The heads that neural policies end in: four masked ones or one over whole actions; and one that values actions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.actions import ActionSpace


class FourHeads(nn.Module):
    """One linear layer for all four heads, split by their widths."""

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.linear = nn.Linear(features, sum(widths))

    def forward(self, hidden: Tensor, batch: dict[str, Tensor]) -> list[Tensor]:
        """(batch, features) and the batch's masks (batch, summed widths) to four log-probabilities (batch, width).

        Values that the mask forbids get -inf, in training and inference alike.
        """
        masked = self.linear(hidden).masked_fill(~batch["masks"], float("-inf"))
        return [head.log_softmax(dim=-1) for head in masked.split(self.widths, dim=-1)]

    def logits(self, hidden: Tensor) -> list[Tensor]:
        """The same without masks and normalisation, for export."""
        return list(self.linear(hidden).split(self.widths, dim=-1))


class JointHead(nn.Module):
    """One softmax over the tuples of the action space (ActionSpace.tuples)."""

    def __init__(self, features: int, n_tuples: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, n_tuples)

    def forward(self, hidden: Tensor, batch: dict[str, Tensor]) -> list[Tensor]:
        """(batch, features) and the batch's tuple_masks (batch, n_tuples) to one log-probability (batch, n_tuples)."""
        return [self.linear(hidden).masked_fill(~batch["tuple_masks"], float("-inf")).log_softmax(dim=-1)]

    def logits(self, hidden: Tensor) -> list[Tensor]:
        """The same without masks and normalisation, for export."""
        return [self.linear(hidden)]


class Values(NamedTuple):
    """What a value head predicts of every tuple of the action space."""

    pass_logits: Tensor
    """(batch, n_tuples)"""
    log_ms: Tensor
    """Mean of the logarithm of wall time and agent time in ms, were there no limit, (batch, n_tuples, 2)."""
    log_ms_deviation: Tensor
    """Standard deviation of these logarithms, (2,)."""


class ValueHead(nn.Module):
    """For every tuple of the action space: how probably it passes, and the log-normal distributions of its times.

    An action is the sum of its four values' vectors, so that actions which were rarely tried learn from similar ones.
    ``tried`` (n_tuples,) counts the outcomes of each that it has learned from: of others it knows nothing.
    """

    rows: Tensor
    mean: Tensor
    scale: Tensor
    tried: Tensor

    def __init__(self, features: int, space: ActionSpace, width: int = 64) -> None:
        super().__init__()
        offsets = np.cumsum([0, *space.widths[:-1]])
        self.register_buffer("rows", torch.from_numpy(space.tuples + offsets), persistent=False)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("tried", torch.zeros(len(space.tuples), dtype=torch.int64))
        self.action = nn.Embedding(sum(space.widths), width)
        self.context = nn.Linear(features, width)
        self.output = nn.Linear(width, 3)
        self.log_deviation = nn.Parameter(torch.full((2,), -1.0))

    def standardise(self, mean: Tensor, scale: Tensor) -> None:
        """Start from these means and standard deviations of the logarithms of wall and agent time in ms, (2,) each."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, hidden: Tensor) -> Values:
        """(batch, features) to values of (batch, n_tuples)."""
        actions = self.action(self.rows).sum(dim=1)
        output = self.output(F.gelu(self.context(hidden).unsqueeze(1) + actions))
        log_ms = self.mean + self.scale * output[..., 1:]
        return Values(output[..., 0], log_ms, self.scale * self.log_deviation.exp())
