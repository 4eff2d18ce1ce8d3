"""What every neural policy is built from, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from planner.actions import HEADS, ActionSpace
from planner.contracts.dataset import DatasetInfo, FeatureInfo
from planner.model_settings import HeadSettings
from planner.models.heads import FourHeads, JointHead, ValueHead, Values
from planner.models.trial_head import TrialBeliefs, TrialHead


@dataclass(frozen=True)
class ModelSpec:
    """What a dataset fixes for a model: action space, vocabulary, features with their normalisation, known tools."""

    space: ActionSpace
    vocabulary: Sequence[str]
    context_features: Sequence[FeatureInfo]
    run_features: Sequence[FeatureInfo]
    tools: Sequence[str] = ()
    """Those that a trial head tells apart."""

    @classmethod
    def of(cls, info: DatasetInfo, tools: Sequence[str] = ()) -> "ModelSpec":
        """The spec of a dataset."""
        space = ActionSpace.from_document(info.action_space.model_dump())
        return cls(space, info.vocabulary, info.context_features, info.run_features, tools)


class Prediction(NamedTuple):
    """What a neural policy gives for a batch."""

    log_probs: list[Tensor]
    """Four (batch, width of the head), or of a joint head one (batch, n_tuples); none of a trial head."""
    values: Values | None
    """None without a value head."""
    trials: TrialBeliefs | None = None
    """None without a trial head."""


class NeuralPolicy(nn.Module, ABC):
    """A body that turns a batch into one vector per context, and the head that chooses from it.

    A policy sets ``reads`` ("tokens" or "features") and ``Settings``, builds its body, calls :meth:`end_in`, and
    has :meth:`hidden`.
    """

    reads: str
    Settings: type[HeadSettings]
    heads: FourHeads | JointHead | TrialHead
    value: ValueHead | None

    def __init__(self, settings: HeadSettings, spec: ModelSpec) -> None:
        super().__init__()
        self.settings, self.space, self.tools = settings, spec.space, tuple(spec.tools)

    def end_in(self, width: int) -> None:
        """Add the heads that the settings ask for, over vectors of ``width``."""
        if self.settings.action_head == "trials":
            self.heads = TrialHead(width, self.tools)
        elif self.settings.action_head == "joint":
            self.heads = JointHead(width, len(self.space.tuples))
        else:
            self.heads = FourHeads(width, self.space.widths)
        self.value = ValueHead(width, self.space) if self.settings.value_head else None

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each array of log-probabilities is about: the four heads' names, or "joint", also where they follow from
        trials."""
        return HEADS if isinstance(self.heads, FourHeads) else ("joint",)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values each output has."""
        return self.space.widths if isinstance(self.heads, FourHeads) else (len(self.space.tuples),)

    def targets(self, actions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Actions (n, 4), positions in the heads, as positions in each output: (n, 4), or (n, 1) for a joint head.

        -1 where an action is no tuple of the joint head.
        """
        return actions if isinstance(self.heads, FourHeads) else self.space.tuple_rows(actions)[:, None]

    @abstractmethod
    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head reads, (batch, width)."""

    def forward(self, batch: dict[str, Tensor]) -> Prediction:
        """Log-probabilities of the actions, and their values if there is a value head; beliefs of a trial head."""
        hidden = self.hidden(batch).float()
        # Under bf16 the body alone is rounded: probabilities stay in fp32.
        with torch.autocast(hidden.device.type, enabled=False):
            if isinstance(self.heads, TrialHead):
                return Prediction([], None, self.heads(hidden))
            return Prediction(self.heads(hidden, batch), self.value(hidden) if self.value is not None else None)

    def logits(self, batch: dict[str, Tensor]) -> list[Tensor]:
        """The log-probabilities before masks and normalisation, for export; a trial head has none."""
        assert not isinstance(self.heads, TrialHead)
        return self.heads.logits(self.hidden(batch))
