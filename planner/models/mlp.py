"""Feature MLP: the engineered features of the context beside the mean over its similar runs. Reads no tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from planner.contracts.dataset import FeatureInfo
from planner.model_settings import MLPSettings
from planner.models.base import ModelSpec, NeuralPolicy


class FeatureMLP(NeuralPolicy):
    """Reads the batch's context_features (batch, F) and run_features (batch, N, R) with runs (batch, N) present."""

    reads = "features"
    Settings = MLPSettings

    def __init__(self, settings: MLPSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.context_norm = Standardise(spec.context_features)
        self.run_norm = Standardise(spec.run_features)
        width = len(spec.context_features) + len(spec.run_features)
        layers: list[nn.Module] = []
        for _ in range(settings.layers):
            layers += [nn.Linear(width, settings.hidden), nn.GELU(), nn.Dropout(settings.dropout)]
            width = settings.hidden
        self.body = nn.Sequential(*layers)
        self.end_in(width)

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head reads, (batch, hidden)."""
        present = batch["runs_present"].unsqueeze(-1)
        runs = self.run_norm(batch["run_features"]) * present
        mean = runs.sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return self.body(torch.cat([self.context_norm(batch["context_features"]), mean], dim=-1))


class Standardise(nn.Module):
    """(x - mean) / scale with the dataset's normalisation, clipped to ±8 so that a rare feature cannot dominate."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Sequence[FeatureInfo]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([feature.mean for feature in features]))
        self.register_buffer("scale", torch.tensor([feature.scale for feature in features]))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return ((x - self.mean) / self.scale).clamp(-8, 8)
