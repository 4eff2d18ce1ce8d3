"""The heads that neural policies end in: four masked ones, or one over the tuples of the action space."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from planner.actions import ActionSpace


class HeadSettings(BaseModel):
    """What a policy ends in; every neural policy's settings have these."""

    model_config = ConfigDict(extra="forbid")

    action_head: Literal["four", "joint"] = "four"
    """four: independent distributions over swarm, candidates, minutes, iterations; joint: one over whole actions."""


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


def make_heads(settings: HeadSettings, width: int, space: ActionSpace) -> FourHeads | JointHead:
    """The head that the settings ask for, over vectors of ``width``."""
    if settings.action_head == "joint":
        return JointHead(width, len(space.tuples))
    return FourHeads(width, space.widths)
