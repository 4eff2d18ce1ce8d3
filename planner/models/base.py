"""What every neural policy is built from, and how one is made from its settings."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import nn

from planner.contracts import DatasetInfo, FeatureInfo
from planner.errors import ConfigError


@dataclass(frozen=True)
class ModelSpec:
    """What a dataset fixes for a model: widths of the heads, vocabulary, features with their normalisation."""

    widths: tuple[int, ...]
    vocabulary: Sequence[str]
    context_features: Sequence[FeatureInfo]
    run_features: Sequence[FeatureInfo]

    @classmethod
    def of(cls, info: DatasetInfo) -> "ModelSpec":
        """The spec of a dataset."""
        space = info.action_space
        widths = (space.swarm_ids, space.max_candidates_bins, space.max_minutes_bins, space.max_iterations_bins)
        return cls(tuple(len(values) for values in widths), info.vocabulary, info.context_features, info.run_features)


def build_model(class_path: str, settings: dict[str, Any], spec: ModelSpec) -> nn.Module:
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
