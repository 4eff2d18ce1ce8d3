"""The four masked heads that every neural policy ends in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ActionHeads(nn.Module):
    """One linear layer for all four heads, split by their widths."""

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.linear = nn.Linear(features, sum(widths))

    def forward(self, hidden: Tensor, masks: Tensor) -> list[Tensor]:
        """(batch, features) and masks (batch, summed widths) to four log-probabilities (batch, width).

        Values that the mask forbids get -inf, in training and inference alike.
        """
        masked = self.linear(hidden).masked_fill(~masks, float("-inf"))
        return [head.log_softmax(dim=-1) for head in masked.split(self.widths, dim=-1)]

    def logits(self, hidden: Tensor) -> list[Tensor]:
        """The same without masks and normalisation, for export."""
        return list(self.linear(hidden).split(self.widths, dim=-1))


def weighted_cross_entropy(log_probs: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Sum over heads of weight times negative log-likelihood, per example.

    ``log_probs`` four (batch, width); ``labels`` (batch, 4) positions; the result has shape (batch,).
    """
    losses = [
        weight * -head.gather(1, labels[:, i : i + 1]).squeeze(1)
        for i, (head, weight) in enumerate(zip(log_probs, weights, strict=True))
    ]
    return torch.stack(losses).sum(dim=0)
