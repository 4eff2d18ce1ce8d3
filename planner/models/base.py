"""What every neural policy is built from, and how one is made from its settings."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
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
    return _model_class(class_path)(checked_settings(class_path, settings), spec)


def settings_of(class_path: str) -> type[BaseModel]:
    """The settings that the model ``module@Class`` has, with their defaults; ConfigError when there is none."""
    return _model_class(class_path).Settings


def checked_settings(class_path: str, settings: dict[str, Any]) -> BaseModel:
    """``settings`` with the model's defaults for what they leave out; ConfigError names the first that is wrong."""
    model = settings_of(class_path)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(model.model_fields)
        raise ConfigError(
            f"setting model.{name}: {first['msg']}, found {first['input']!r}; settings of "
            f"{class_path.partition('@')[2]} are {known}"
        ) from None


def _model_class(class_path: str) -> Any:
    module_name, _, class_name = class_path.partition("@")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"class_path {class_path}: {error}; write module@Class") from None
