"""This process's place among the workers, and what its device can do."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn

from planner.config import TrainConfig
from planner.errors import ConfigError
from planner.models.blocks import Block


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
    if precision == "fp32":
        return
    if device.type != "cuda":
        raise ConfigError(
            "precision bf16: on a CPU it is 7 to 11 times slower than fp32; set precision=fp32, or train with --gpu"
        )
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"precision bf16: {name} has no bf16 units (compute capability 8.0 has); set precision=fp32")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a forward pass runs: matrix products in bf16 if so set; weights and sums stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def blocks_to_compile(model: nn.Module, config: TrainConfig) -> list[Block]:
    """The model's transformer blocks if ``compile`` is set; ConfigError for a model that has none.

    The block and not the model: compiling the model would unroll all loops and layers.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)] if config.compile else []
    if config.compile and not blocks:
        raise ConfigError("compile: this model has no transformer block to compile; set compile=false")
    return blocks
