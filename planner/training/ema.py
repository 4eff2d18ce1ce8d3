"""Exponential moving average of a model's weights: the weights that are validated and saved."""

import copy

import torch

from planner.models.base import NeuralPolicy


class MovingAverage:
    """Follows a model's weights with ``decay`` per step; without a decay it is the model itself."""

    def __init__(self, model: NeuralPolicy, decay: float) -> None:
        self._trained, self._decay = model, decay
        self.model = copy.deepcopy(model) if decay else model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the trained weights; ``step`` counts from 0 over the whole run.

        Early on the decay is smaller, (1 + step) / (10 + step), so that the first weights are soon forgotten.
        """
        if not self._decay:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, trained in zip(self.model.parameters(), self._trained.parameters(), strict=True):
            average.lerp_(trained, 1 - decay)
