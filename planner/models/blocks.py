"""Transformer parts that the token policies share: RMSNorm, rotary positions, attention, SwiGLU and ConvSwiGLU, block.

Formulae as in URM (arXiv 2512.14693) and checked against its reference's numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.model_settings import MLPKind

EPSILON = 1e-5
ROPE_THETA = 10_000.0


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean of squares over channels + 1e-5); no gain."""
    return F.rms_norm(x, (x.shape[-1],), eps=EPSILON)


def truncated_normal(weight: Tensor, std: float) -> None:
    """Fill ``weight`` from a normal that is cut at two deviations and that, so cut, has the deviation ``std``."""
    # A unit normal cut at ±2 has standard deviation 0.8796; dividing by it restores the wanted one.
    nn.init.trunc_normal_(weight, std=1.0, a=-2.0, b=2.0)
    with torch.no_grad():
        weight.mul_(std / 0.87962566)


def linear_map(in_features: int, out_features: int) -> nn.Linear:
    """A matrix without bias, of standard deviation 1/sqrt(fan-in)."""
    made = nn.Linear(in_features, out_features, bias=False)
    truncated_normal(made.weight, 1 / math.sqrt(in_features))
    return made


def mlp_width(d_model: int, expansion: float) -> int:
    """The smallest multiple of 256 at or above 2/3 · expansion · d_model."""
    return -(-round(expansion * d_model * 2 / 3) // 256) * 256


class Rotary(nn.Module):
    """Rotary positions, half-split: channel i is turned together with channel i + head_dim / 2."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        frequencies = ROPE_THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions 0..length-1, each (length, head_dim)."""
        frequencies = self.get_buffer("frequencies")
        angles = torch.arange(length, device=frequencies.device)[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (batch, heads, length, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Multi-head self-attention over all valid tokens, not causal; one fused projection, no biases."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = linear_map(d_model, 3 * d_model)
        self.o_proj = linear_map(d_model, d_model)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """x (batch, length, d_model); mask (batch, 1, 1, length), True where a key may be seen."""
        batch, length, width = x.shape
        q, k, v = self.qkv_proj(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, *rotary), rotate(k, *rotary), v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, width))


class SwiGLU(nn.Module):
    """down(SiLU(gate) · up), gate and up from one projection, no biases."""

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.gate_up_proj = linear_map(d_model, 2 * width)
        self.down_proj = linear_map(width, d_model)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(batch, length, d_model) to the same; ``valid`` is not needed."""
        return self.down_proj(self.gated(x))

    def gated(self, x: Tensor) -> Tensor:
        """SiLU(gate) · up, (batch, length, width)."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return F.silu(gate) * up


class ConvSwiGLU(SwiGLU):
    """SwiGLU with a depthwise convolution along the tokens and a second SiLU before the down projection."""

    def __init__(self, d_model: int, width: int, kernel: int = 2, train_taps: bool = True) -> None:
        super().__init__(d_model, width)
        self.kernel = kernel
        self.dwconv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.dwconv.requires_grad_(train_taps)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(batch, length, d_model) to the same; ``valid`` (batch, length, 1) keeps padding out of wider kernels."""
        gated = self.gated(x)
        if valid is not None and self.kernel > 2:
            gated = gated * valid
        return self.down_proj(F.silu(self._convolve(gated)))

    def _convolve(self, x: Tensor) -> Tensor:
        """out_t = bias + sum_j w_j x_(t + j - kernel // 2); with kernel 2 a token sees itself and the one before."""
        if self.kernel == 2:
            # Two multiply-adds instead of conv1d between two transposes: 5-8 % of a step.
            before, here = self.dwconv.weight[:, 0, 0], self.dwconv.weight[:, 0, 1]
            return F.pad(x, (0, 0, 1, 0))[:, :-1] * before + x * here + self.dwconv.bias
        return self.dwconv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)


class Block(nn.Module):
    """Post-norm block: x <- norm(x + attention(x)); x <- norm(x + mlp(x))."""

    def __init__(self, d_model: int, heads: int, width: int, mlp: MLPKind, train_taps: bool = True) -> None:
        super().__init__()
        self.self_attn = Attention(d_model, heads)
        self.mlp = ConvSwiGLU(d_model, width, 2, train_taps) if mlp == "convswiglu" else SwiGLU(d_model, width)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None) -> Tensor:
        """x (batch, length, d_model); ``valid`` (batch, length, 1) float, or None when nothing is padded."""
        mask = None if valid is None else valid.transpose(1, 2).unsqueeze(1) > 0
        x = rms_norm(x + self.self_attn(x, rotary, mask))
        return rms_norm(x + self.mlp(x, valid))
