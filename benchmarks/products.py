"""The matrix products of a looped transformer: how many operations they are, and how fast they go alone."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from planner.models.blocks import mlp_width

WARM_UP = 3


@dataclass(frozen=True)
class Times:
    """Milliseconds: of the wall clock, and of this thread's own processor time, which others do not stretch."""

    wall: list[float]
    cpu: list[float]


def forward_products(model: dict[str, Any], tokens: int, batch: int = 1) -> tuple[float, float]:
    """FLOPs of the products of one pass through the stack, and the seconds that they take one after another at their
    best: 8d² + 4Sd + 6dm per token and layer, S the tokens and m the width of the MLP. ``model`` are its settings."""
    d, heads = model["d_model"], model["heads"]
    m, n = mlp_width(d, model["expansion"]), batch * tokens
    shapes = (
        ((n, d), (d, 3 * d)),
        ((n, d), (d, d)),
        ((n, d), (d, 2 * m)),
        ((n, m), (m, d)),
        ((batch * heads, tokens, d // heads), (batch * heads, d // heads, tokens)),
        ((batch * heads, tokens, tokens), (batch * heads, tokens, d // heads)),
    )
    flops, milliseconds = 0.0, 0.0
    for left, right in shapes:
        a, b = torch.randn(left), torch.randn(right)
        flops += 2 * float(np.prod(left)) * right[-1]
        milliseconds += min(timed(partial(torch.matmul, a, b), 30).cpu)
    return model["layers"] * flops, model["layers"] * milliseconds / 1000


def timed(function: Callable[[], Any], runs: int) -> Times:
    """``function`` so many times, after some that do not count."""
    times = Times([], [])
    for run in range(WARM_UP + runs):
        wall, cpu = time.perf_counter(), time.thread_time()
        function()
        if run >= WARM_UP:
            times.wall.append(1000 * (time.perf_counter() - wall))
            times.cpu.append(1000 * (time.thread_time() - cpu))
    return times
