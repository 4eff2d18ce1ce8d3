"""What a search may vary: one define-by-run space per model class. A new architecture joins by one entry in SPACES."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from planner.config import TrainConfig, load_config
from planner.errors import ConfigError

N_SIMILAR_CHOICES = (0, 1, 2, 4, 8, 16)
BATCH_SIZES = (16, 32, 64, 128)
AVERAGES = (0.0, 0.9, 0.99)
"""Decays of the moving average of weights; 0 is none."""

AXIS_NAMES = ("n_similar", "tokens_per_run", "loops", "mlp", "action_head", "decoding")
"""What `planner ablate` may vary, as far as the architecture has it."""

Settings = dict[str, Any]
"""Dotted setting, as in `planner train --set`, to its value."""


class Suggester(Protocol):
    """The part of optuna's Trial that a space uses."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


Space = Callable[[Suggester, int], Settings]
"""Draws one set of settings; the second argument is how many similar runs the dataset stores."""


def common_space(trial: Suggester, stored_similar: int) -> Settings:
    """What every neural policy has: optimisation, and the similar runs it sees."""
    return {
        "lr": trial.suggest_float("lr", 1e-4, 2e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 0.3, log=True),
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
        "n_similar": trial.suggest_categorical("n_similar", [n for n in N_SIMILAR_CHOICES if n <= stored_similar]),
    }


def mlp_space(trial: Suggester, stored_similar: int) -> Settings:
    """The feature MLP: width, depth, and dropout or none. Only a search with dropout draws its rate."""
    settings = common_space(trial, stored_similar)
    settings["model.layers"] = trial.suggest_int("model.layers", 1, 4)
    settings["model.hidden"] = trial.suggest_int("model.hidden", 16, 512, log=True)
    with_dropout = trial.suggest_categorical("with_dropout", (True, False))
    settings["model.dropout"] = trial.suggest_float("model.dropout", 0.02, 0.5) if with_dropout else 0.0
    return settings


def transformer_space(trial: Suggester, stored_similar: int, config: TrainConfig) -> Settings:
    """A token policy: sizes from half to twice the config's own, so that a search stays as dear as what it improves.

    How its weights are averaged is searched too.
    """
    settings = common_space(trial, stored_similar)
    settings["ema"] = trial.suggest_categorical("ema", AVERAGES)
    d_model, layers = config.model["d_model"], config.model["layers"]
    settings["model.d_model"] = trial.suggest_categorical("model.d_model", (d_model // 2, d_model, 2 * d_model))
    settings["model.layers"] = trial.suggest_int("model.layers", 1, 2 * layers)
    settings["model.mlp"] = trial.suggest_categorical("model.mlp", ("convswiglu", "swiglu"))
    return settings


def urm_space(trial: Suggester, stored_similar: int, config: TrainConfig) -> Settings:
    """URM: besides, M loops up to twice the config's own, and gradients through the last K of them."""
    settings = transformer_space(trial, stored_similar, config)
    loops = trial.suggest_int("model.loops", 1, 2 * config.model["loops"])
    settings["model.loops"] = loops
    settings["model.backprop_loops"] = trial.suggest_int("model.backprop_loops", 1, loops)
    return settings


SPACES: Mapping[str, Callable[[TrainConfig], Space]] = {
    "planner.models.mlp@FeatureMLP": lambda config: mlp_space,
    "planner.models.transformer@TransformerPlanner": lambda config: partial(transformer_space, config=config),
    "planner.models.urm@URMPlanner": lambda config: partial(urm_space, config=config),
}
"""By the model's class_path, so that a user's own YAML of a known class can be searched too."""


def space_of(config: TrainConfig) -> Space:
    """The space of the config's model class; ConfigError when it has none."""
    if config.class_path not in SPACES:
        raise ConfigError(
            f"{config.class_path} has no search space; those that have one are {', '.join(SPACES)} (tune/space.py)"
        )
    return SPACES[config.class_path](config)


def apply_settings(config: TrainConfig, settings: Settings) -> TrainConfig:
    """``config`` with the drawn settings in place of its own."""
    document = config.model_dump()
    for name, value in settings.items():
        section, _, key = name.rpartition(".")
        (document[section] if section else document)[key] = value
    return TrainConfig.model_validate(document)


def starting_point(config: TrainConfig, stored_similar: int) -> Settings | None:
    """The draws that give the architecture's own settings, so that a search never ends below them.

    None when they lie outside of the space.
    """
    from optuna.trial import FixedTrial

    dropout = config.model.get("dropout", 0.0)
    draws = config.model_dump(include={"lr", "weight_decay", "batch_size", "n_similar", "ema"})
    draws |= {f"model.{name}": value for name, value in config.model.items()} | {"with_dropout": dropout > 0}
    trial = FixedTrial(draws)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            space_of(config)(trial, stored_similar)
    except (ValueError, UserWarning):
        return None
    return dict(trial.params)


def base_config(arch: str, epochs: int | None, seed: int) -> TrainConfig:
    """The settings that a search starts from; ConfigError for an architecture without a space."""
    # The search compares log-likelihoods, so that is what every trial stops by.
    overrides = [f"seed={seed}", "select_by=log_likelihood"] + ([f"epochs={epochs}"] if epochs is not None else [])
    config = load_config(arch, overrides=overrides)
    space_of(config)
    return config
