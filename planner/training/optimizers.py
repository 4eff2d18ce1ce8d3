"""The optimisers besides torch's AdamW: Muon and Adam-atan2, as in URM's reference; and the learning-rate schedule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

from planner.config import TrainConfig

MOMENTUM = 0.95
BETAS = (0.9, 0.95)
EPSILON = 1e-8
MATCHED_RMS = 0.2
"""Muon's updates are scaled to the size that AdamW's typically have, so that one learning rate fits both."""
NEWTON_SCHULZ = (
    (7.2086, -15.5131, 9.0178),
    (3.9623, -2.5813, 0.4542),
    (3.9466, -2.5765, 0.4544),
    (3.8991, -2.5671, 0.4566),
    (3.7186, -2.5308, 0.4653),
)
"""Coefficients (a, b, c) of each step X <- a X + (b A + c A²) X with A = X Xᵀ."""


class _Optimizer(torch.optim.Optimizer, ABC):
    """Walks over the parameters that have a gradient, with decoupled weight decay before each update."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter; takes no closure."""
        if closure is not None:
            raise ValueError("this optimizer computes no loss: call step() without a closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    self.update(parameter, parameter.grad, self.state[parameter], group)
        return None

    @abstractmethod
    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Move ``parameter``, keeping what is remembered between steps in ``state``."""


class Muon(_Optimizer):
    """Matrices move along their orthogonalised momentum, everything else by Adam.

    The parameter groups carry ``orthogonal``: whether their parameters, all matrices, are Muon's.
    """

    def __init__(self, matrices: Iterable[Tensor], others: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        groups = [{"params": list(matrices), "orthogonal": True}, {"params": list(others), "orthogonal": False}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """See the class."""
        if not group["orthogonal"]:
            mean, square, first, second = _moments(gradient, state)
            step_size = group["lr"] * math.sqrt(second) / first
            parameter.addcdiv_(mean, square.sqrt().add_(EPSILON), value=-step_size)
            return
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        direction = orthogonalised(gradient.add(momentum, alpha=MOMENTUM))
        scale = MATCHED_RMS * math.sqrt(max(parameter.shape))
        parameter.add_(direction, alpha=-group["lr"] * scale)


class AdamAtan2(_Optimizer):
    """Adam whose ratio of moments goes through atan2: no epsilon, and updates that are bounded at any gradient size."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """See the class."""
        mean, square, first, second = _moments(gradient, state)
        parameter.add_(torch.atan2(mean, square.sqrt() / math.sqrt(second)), alpha=-group["lr"] / first)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought to within a factor of two of 1, as the reference does.

    Rounded to bf16, then five Newton-Schulz steps; more would bring them closer. A zero matrix stays zero.
    """
    x = matrix.bfloat16().to(matrix.dtype)
    if x.shape[0] > x.shape[1]:
        return orthogonalised(x.T).T
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _moments(gradient: Tensor, state: dict[str, Any]) -> tuple[Tensor, Tensor, float, float]:
    """Moving averages of the gradient and of its square, and what corrects each of them for starting at zero."""
    if not state:
        state["step"] = torch.zeros(())
        state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    state["step"] += 1
    step = int(state["step"])
    mean = state["mean"].lerp_(gradient, 1 - BETAS[0])
    square = state["square"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    return mean, square, 1 - BETAS[0] ** step, 1 - BETAS[1] ** step


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over the model's parameters."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    if config.optimizer == "adam_atan2":
        return AdamAtan2(model.parameters(), config.lr, config.weight_decay)
    matrices = {
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(("heads", "value"))
    }
    chosen = [parameter for parameter in model.parameters() if parameter in matrices]
    others = [parameter for parameter in model.parameters() if parameter not in matrices]
    return Muon(chosen, others, config.lr, config.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> None:
    """Linear warm-up, then a cosine from lr to a tenth of it."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        factor = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    for group in optimizer.param_groups:
        group["lr"] = config.lr * factor
