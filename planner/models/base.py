"""What every neural policy is built from, what it gives, and how one is made from its settings."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from planner.actions import HEADS, ActionSpace
from planner.contracts import DatasetInfo, FeatureInfo
from planner.errors import ConfigError
from planner.models.heads import FourHeads, HeadSettings, JointHead


@dataclass(frozen=True)
class ModelSpec:
    """What a dataset fixes for a model: the action space, vocabulary, features with their normalisation."""

    space: ActionSpace
    vocabulary: Sequence[str]
    context_features: Sequence[FeatureInfo]
    run_features: Sequence[FeatureInfo]

    @classmethod
    def of(cls, info: DatasetInfo) -> "ModelSpec":
        """The spec of a dataset."""
        space = ActionSpace.from_document(info.action_space.model_dump())
        return cls(space, info.vocabulary, info.context_features, info.run_features)


class NeuralPolicy(nn.Module):
    """A body that turns a batch into one vector per context, and the head that chooses from it.

    A policy sets ``reads`` ("tokens" or "features") and ``Settings``, builds its body and then ``heads`` (with
    make_heads), and has :meth:`hidden`.
    """

    reads: str
    Settings: type[HeadSettings]
    heads: FourHeads | JointHead

    def __init__(self, settings: HeadSettings, spec: ModelSpec) -> None:
        super().__init__()
        self.settings, self.space = settings, spec.space

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each array of log-probabilities is about: the four heads' names, or "joint"."""
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

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head reads, (batch, width)."""
        raise NotImplementedError

    def forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        """Log-probabilities: four (batch, width of the head), or of a joint head one (batch, n_tuples)."""
        hidden = self.hidden(batch).float()
        # Under bf16 the body alone is rounded: probabilities stay in fp32.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.heads(hidden, batch)

    def logits(self, batch: dict[str, Tensor]) -> list[Tensor]:
        """The same before masks and normalisation, for export."""
        return self.heads.logits(self.hidden(batch))


def build_model(class_path: str, settings: dict[str, Any], spec: ModelSpec) -> NeuralPolicy:
    """The model ``module@Class`` with its settings; ConfigError when there is no such class or setting."""
    module_name, _, class_name = class_path.partition("@")
    try:
        model_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"class_path {class_path}: {error}; write module@Class") from None
    try:
        checked = model_class.Settings.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(model_class.Settings.model_fields)
        raise ConfigError(
            f"setting model.{name}: {first['msg']}, found {first['input']!r}; settings of {class_name} are {known}"
        ) from None
    return model_class(checked, spec)
