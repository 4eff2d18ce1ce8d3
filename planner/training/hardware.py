"""This process's place among the workers, and what its device can do."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from planner.config import TrainConfig
from planner.errors import ConfigError
from planner.models.blocks import Block

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags of CPUs that multiply matrices in bf16."""


@dataclass(frozen=True)
class Worker:
    """This process's place among the workers."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, gpu: bool) -> "Worker":
        """The place that torch.distributed gives, or that of a single process."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
        return cls(rank, world, device)


def check_precision(precision: str, device: torch.device) -> None:
    """ConfigError when the device has no fast arithmetic of this precision."""
    if precision != "bf16" or has_bf16_units(device):
        return
    if device.type != "cuda":
        raise ConfigError(
            "precision bf16: this CPU has neither avx512_bf16 nor amx_bf16, without which it is 7 to 11 times slower "
            "than fp32; set precision=auto, or train with --gpu"
        )
    name = torch.cuda.get_device_name(device)
    raise ConfigError(f"precision bf16: {name} has no bf16 units (compute capability 8.0 has); set precision=auto")


def has_bf16_units(device: torch.device) -> bool:
    """Whether matrix products in bf16 are fast there: a GPU of compute capability 8.0, a CPU by its flags."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not BF16_FLAGS.isdisjoint(_cpu_flags())


@lru_cache
def _cpu_flags() -> frozenset[str]:
    """Of the first core, as Linux lists them; none where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a forward pass runs: matrix products in bf16 if so set; weights and sums stay fp32."""
    enabled = precision == "bf16" or (precision == "auto" and has_bf16_units(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def blocks_to_compile(model: nn.Module, config: TrainConfig) -> list[Block]:
    """The model's transformer blocks if ``compile`` is set; ConfigError for a model that has none.

    The block and not the model: compiling the model would unroll all loops and layers.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)] if config.compile else []
    if config.compile and not blocks:
        raise ConfigError("compile: this model has no transformer block to compile; set compile=false")
    return blocks
