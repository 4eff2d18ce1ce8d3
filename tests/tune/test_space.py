"""The search space: every draw trains, and the architecture's own settings are in it."""

import optuna
import pytest
from optuna.trial import FixedTrial

from planner.config import load_config
from planner.errors import ConfigError
from planner.models.load import checked_settings
from planner.models.mlp import MLPSettings
from tune.space import N_SIMILAR_CHOICES, apply_settings, mlp_space, space_of, starting_point


def draws(stored_similar: int, count: int = 200) -> list[dict[str, object]]:
    """Random draws from the MLP's space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [mlp_space(study.ask(), stored_similar) for _ in range(count)]


def test_every_draw_is_a_valid_training_setting() -> None:
    config = load_config("mlp_planner")
    for settings in draws(16):
        MLPSettings.model_validate(apply_settings(config, settings).model)


def test_draws_never_ask_for_more_similar_runs_than_the_dataset_stores() -> None:
    assert {settings["n_similar"] for settings in draws(16)} == set(N_SIMILAR_CHOICES)
    assert {settings["n_similar"] for settings in draws(3)} == {0, 1, 2}


def test_some_draws_have_no_dropout_and_draw_no_rate() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(20)]
    rates = [mlp_space(trial, 16)["model.dropout"] for trial in trials]
    assert any(rates)
    for trial, rate in zip(trials, rates, strict=True):
        assert (rate > 0) == ("model.dropout" in trial.params)


def test_the_starting_point_gives_the_architectures_own_settings() -> None:
    config = load_config("mlp_planner")
    start = starting_point(config, 16)
    assert start is not None
    assert apply_settings(config, mlp_space(FixedTrial(start), 16)) == config


@pytest.mark.parametrize("override", ["model.hidden=4096", "batch_size=7", "n_similar=3", "lr=5.0"])
def test_settings_outside_of_the_space_are_no_starting_point(override: str) -> None:
    assert starting_point(load_config("mlp_planner", overrides=[override]), 16) is None


@pytest.mark.parametrize("arch", ["transformer_planner", "urm_planner"])
def test_a_token_policys_draws_train_and_its_own_settings_are_among_them(arch: str) -> None:
    config = load_config(arch)
    space = space_of(config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [apply_settings(config, space(study.ask(), 16)).model for _ in range(100)]
    for model in drawn:
        checked_settings(config.class_path, model)
    start = starting_point(config, 16)
    assert start is not None
    assert apply_settings(config, space(FixedTrial(start), 16)) == config
    if arch == "urm_planner":
        assert {model["loops"] for model in drawn} == set(range(1, 9))
        assert all(1 <= model["backprop_loops"] <= model["loops"] for model in drawn)
        assert any(model["backprop_loops"] == model["loops"] > 4 for model in drawn)


def test_a_class_without_a_space_is_named() -> None:
    config = load_config("mlp_planner", overrides=["class_path=somewhere@Unknown"])
    with pytest.raises(ConfigError, match="somewhere@Unknown has no search space"):
        space_of(config)
