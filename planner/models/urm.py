"""URM: a recurrent transformer with tied weights, a fixed number of loops, and gradients through the last few.

arXiv 2512.14693, without ACT, halting, puzzle embedding and carried segments. Read-out from the first token.
"""

import math

import torch
from torch import Tensor, nn

from planner.model_settings import TokenSettings, URMSettings
from planner.models.base import ModelSpec, NeuralPolicy
from planner.models.blocks import Block, Rotary, mlp_width, truncated_normal


class LoopedTransformer(nn.Module):
    """Token ids to hidden states: ``loops`` passes through one stack, the embedding added before each."""

    init_hidden: Tensor

    def __init__(self, settings: URMSettings, vocabulary: int) -> None:
        super().__init__()
        self.loops, self.backprop_loops = settings.loops, settings.backprop_loops
        d_model = settings.d_model
        self.scale = math.sqrt(d_model)
        self.embed_tokens = nn.Embedding(vocabulary, d_model)
        truncated_normal(self.embed_tokens.weight, 1 / self.scale)
        self.register_buffer("init_hidden", torch.randn(d_model))
        width = mlp_width(d_model, settings.expansion)
        self.layers = nn.ModuleList(
            Block(d_model, settings.heads, width, settings.mlp, settings.train_taps) for _ in range(settings.layers)
        )
        self.rotary = Rotary(d_model // settings.heads)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (batch, length) int64, attention_mask (batch, length) bool; returns (batch, length, d_model)."""
        embedding = self.scale * self.embed_tokens(input_ids)
        valid = attention_mask.unsqueeze(-1).to(embedding.dtype)
        rotary = self.rotary(input_ids.shape[1])
        hidden = self.init_hidden.expand_as(embedding)
        with torch.no_grad():
            for _ in range(self.loops - self.backprop_loops):
                hidden = self._loop(hidden, embedding, rotary, valid)
        for _ in range(self.backprop_loops):
            hidden = self._loop(hidden, embedding, rotary, valid)
        return hidden

    def _loop(self, hidden: Tensor, embedding: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor) -> Tensor:
        hidden = hidden + embedding
        for layer in self.layers:
            hidden = layer(hidden, rotary, valid)
        return hidden


class URMPlanner(NeuralPolicy):
    """URM with a policy's head."""

    reads = "tokens"
    Settings: type[TokenSettings] = URMSettings
    settings: TokenSettings

    def __init__(self, settings: URMSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.core = LoopedTransformer(settings, len(spec.vocabulary))
        self.end_in(settings.d_model)

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head reads: the first token's state, (batch, d_model)."""
        return self.core(batch["input_ids"], batch["attention_mask"])[:, 0]
