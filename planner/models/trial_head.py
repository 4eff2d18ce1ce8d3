"""The head that foresees single trials: for each tool whether one passes, and how long it takes if it does and if not.

What plans come to follows by arithmetic (planner.runs.trial_reading): no plan has to be tried to be valued.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ISSUE_RATE = 10.0
"""How much faster than a weight the logarithm of the issues' deviation moves: it is one number that all wait for."""
SPREAD_RANGE = 2.0
"""A deviation of log times is that of train's trials times e to the power of at most this, up or down."""


class TrialBeliefs(NamedTuple):
    """What is believed of trials of each known tool on an issue, and last of one that is not known; times in minutes
    of budget."""

    pass_logits: Tensor
    """(batch, tools + 1), of a typical issue that looks like this one."""
    log_minutes: Tensor
    """Mean of the logarithm of a passing and of a failing trial's time, were there no limit, (batch, tools + 1, 2)."""
    log_deviations: Tensor
    """Logarithm of its standard deviation, likewise."""
    issue_deviation: Tensor
    """By how much the logits of issues that look alike differ, a standard deviation, (); the same for all tools of one
    issue. It is why several attempts at one issue fail together."""


def joined_beliefs(parts: Sequence[TrialBeliefs]) -> TrialBeliefs:
    """Those of several batches as those of one."""
    return TrialBeliefs(
        torch.cat([part.pass_logits for part in parts]),
        torch.cat([part.log_minutes for part in parts]),
        torch.cat([part.log_deviations for part in parts]),
        parts[0].issue_deviation,
    )


class TrialHead(nn.Module):
    """Vectors of issues, and one of each tool and of an unknown one, to beliefs about trials.

    It starts from what train shows of all issues together.
    """

    base_logit: Tensor
    base_deviation: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, tools: Sequence[str], width: int = 64) -> None:
        super().__init__()
        self.register_buffer("base_logit", torch.zeros(()))
        self.register_buffer("base_deviation", torch.ones(()))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("scale", torch.ones(2))
        self.tool = nn.Embedding(len(tools) + 1, width)
        self.context = nn.Linear(features, width)
        self.output = nn.Linear(width, 5)
        self.issue_deviation = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def start_from(self, logit: float, issue_deviation: float, mean: Tensor, scale: Tensor) -> None:
        """Start from issues whose pass logits lie around this one, and these means and deviations of log minutes of
        passing and failing trials, (2,) each."""
        self.base_logit.fill_(logit)
        self.base_deviation.fill_(issue_deviation)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, hidden: Tensor) -> TrialBeliefs:
        """(batch, features) to beliefs about tools + 1."""
        output = self.output(F.gelu(self.context(hidden).unsqueeze(1) + self.tool.weight))
        spread = SPREAD_RANGE * torch.tanh(output[..., 3:] / SPREAD_RANGE)
        return TrialBeliefs(
            self.base_logit + output[..., 0],
            self.mean + self.scale * output[..., 1:3],
            self.scale.log() + spread,
            self.base_deviation * (ISSUE_RATE * self.issue_deviation).exp(),
        )
