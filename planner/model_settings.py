"""The settings of the models that ship with the planner, torch-free: a wrong one is answered before torch is loaded."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from planner.errors import ConfigError

MLPKind = Literal["swiglu", "convswiglu"]


class HeadSettings(BaseModel):
    """What a policy ends in; every neural policy's settings have these."""

    model_config = ConfigDict(extra="forbid")

    action_head: Literal["four", "joint", "trials"] = "four"
    """four: independent distributions over swarm, candidates, minutes, iterations; joint: one over whole actions;
    trials: none, the policy learns from trials what a trial of each tool comes to, and actions follow by arithmetic."""
    value_head: bool = False
    """Whether the policy also predicts each action's pass probability and times."""

    @model_validator(mode="after")
    def _one_way_to_value(self) -> Self:
        if self.action_head == "trials" and self.value_head:
            raise ValueError("action_head trials values every action already: leave value_head out")
        return self


class MLPSettings(HeadSettings):
    """Size of the MLP."""

    hidden: int = Field(128, ge=1)
    """Width of each hidden layer."""
    layers: int = Field(2, ge=1)
    """Hidden layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer."""


class TokenSettings(HeadSettings):
    """Size of a token policy."""

    d_model: int = Field(256, ge=16, le=1024)
    """Width of the hidden state."""
    layers: int = Field(4, ge=1, le=32)
    """Blocks in the stack."""
    heads: int = Field(8, ge=1, le=32)
    """Attention heads; must divide d_model into even parts."""
    expansion: float = Field(4.0, gt=0)
    """MLP width: the smallest multiple of 256 at or above 2/3 · expansion · d_model."""
    mlp: MLPKind = "convswiglu"
    """Feed-forward part of a block."""
    seq_len: int = Field(1024, ge=64, le=4096)
    """Longest context in tokens; what is beyond it (the least similar runs) is cut."""
    tokens_per_run: int = Field(64, ge=8, le=64)
    """Tokens seen of each similar run."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"heads {self.heads} must divide d_model {self.d_model} into even parts")
        return self


class URMSettings(TokenSettings):
    """Size and recurrence of a URM."""

    loops: int = Field(8, ge=1, le=64)
    """M: how often the stack is applied."""
    backprop_loops: int = Field(4, ge=1, le=64)
    """K: how many loops, the last ones, carry gradients."""
    train_taps: bool = True
    """Whether the convolution's taps learn; the reference's practically do not."""

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.backprop_loops > self.loops:
            raise ValueError(f"backprop_loops {self.backprop_loops} must not exceed loops {self.loops}")
        return self


SETTINGS: dict[str, type[HeadSettings]] = {
    "planner.models.mlp@FeatureMLP": MLPSettings,
    "planner.models.transformer@TransformerPlanner": TokenSettings,
    "planner.models.urm@URMPlanner": URMSettings,
}
"""Class path of a model that ships -> its settings, which the class has as ``Settings``."""


def check_settings(class_path: str, settings: dict[str, Any]) -> None:
    """ConfigError for a setting that a shipped model does not take; those of others are known when they are loaded."""
    if class_path in SETTINGS:
        validated(SETTINGS[class_path], class_path, settings)


def validated(model: type[BaseModel], class_path: str, settings: dict[str, Any]) -> BaseModel:
    """``settings`` with the defaults for what they leave out; ConfigError names the first that is wrong."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(["model", *(str(part) for part in first["loc"])])
        known = ", ".join(model.model_fields)
        raise ConfigError(
            f"setting {name}: {first['msg']}, found {first['input']!r}; settings of "
            f"{class_path.partition('@')[2]} are {known}"
        ) from None
