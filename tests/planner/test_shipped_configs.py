"""Every config that is shipped can be loaded by what reads it."""

from pathlib import Path

import pytest

from bench.executors.cyntra.kind import CyntraOptions
from bench.testbeds.sandbox.create import create_sandbox
from planner.artifacts.repo import Repo
from planner.cli import app
from planner.config import arch_names, load_config
from planner.errors import ConfigError
from planner.model_settings import SETTINGS
from planner.models.load import load_model_class
from planner.options import find_project_file, resolve
from planner.training.loop import start_run

ARCHITECTURES = sorted((Path(__file__).parents[2] / "planner" / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", ARCHITECTURES, ids=lambda path: path.name)
def test_an_architectures_config_is_read_by_name_and_by_path_and_a_training_starts_with_it(
    path: Path, corpus_dataset: Path, tmp_path: Path
) -> None:
    assert path.stem in arch_names()
    config = load_config(path.stem)
    assert config == load_config(str(path))
    state = start_run(tmp_path / "run", config, corpus_dataset, init_from=None, workers=1, resume=False)
    assert state.config["class_path"] == config.class_path


def test_the_settings_that_are_checked_before_torch_is_loaded_are_those_of_the_models() -> None:
    assert set(SETTINGS) == {load_config(arch).class_path for arch in arch_names()}
    assert {path: load_model_class(path).Settings for path in SETTINGS} == SETTINGS


@pytest.mark.parametrize(
    ("arch", "override", "named"),
    [
        ("mlp_planner", "model.loops=2", r"setting model\.loops: .*settings of FeatureMLP are .*hidden"),
        ("urm_planner", "model.loops=none", r"setting model\.loops: .*integer"),
        ("urm_planner", "model.backprop_loops=9", r"setting model: .*backprop_loops 9 must not exceed loops 4"),
    ],
)
def test_a_wrong_setting_of_a_model_is_named(arch: str, override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(arch, None, [override])


def test_the_sandboxs_configs_are_read_by_the_planner(tmp_path: Path) -> None:
    repo = Repo(create_sandbox(tmp_path / "sandbox", issues=1, seed=0))
    assert set(repo.config["toolchains"]) == {"claude", "codex", "crush", "opencode"}
    assert repo.universe.universe_id == "sandbox" and repo.universe.action_space.swarm_ids
    assert find_project_file(repo.root) == repo.root / ".cyntra" / "planner" / "planner.yaml"
    assert app, "the commands whose options the file sets are mounted"
    assert resolve("bench", {}, repo.root).of(CyntraOptions).cyntra == "cyntra-sandbox"
