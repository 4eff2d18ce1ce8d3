"""Policies that only tests train."""

import torch
from torch import Tensor

from planner.model_settings import HeadSettings
from planner.models.base import ModelSpec, NeuralPolicy


class RootOfZero(NeuralPolicy):
    """Its output is finite and its gradient is not."""

    reads = "features"
    Settings = HeadSettings

    def __init__(self, settings: HeadSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.zero = torch.nn.Parameter(torch.zeros(1))
        self.end_in(1)

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        return self.zero.sqrt().expand(len(batch["masks"]), 1)


class Stubborn(NeuralPolicy):
    """Sees nothing of the context, so that it can only decide alike."""

    reads = "features"
    Settings = HeadSettings

    def __init__(self, settings: HeadSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.end_in(1)

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        return torch.zeros(len(batch["masks"]), 1)
