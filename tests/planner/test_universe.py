"""Universes and the kernel's config, as the repo gives them."""

from pathlib import Path

import orjson
import pytest

from planner.artifacts.repo import Repo
from planner.artifacts.universe import load_kernel_config
from planner.errors import ArtifactError


def test_a_universe_gives_its_defaults_catalogue_and_cap(corpus: Path) -> None:
    universe = Repo(corpus).universe
    assert (universe.universe_id, universe.default_swarm_id) == ("medica", "speculate_vote")
    assert universe.default_objective_id == "realism_perf_v1"
    assert universe.max_run_minutes == 120
    assert universe.action_space.swarm_ids == ("serial_handoff", "speculate_vote")


def test_an_unknown_universe_is_refused_with_those_that_there_are(corpus: Path) -> None:
    with pytest.raises(ArtifactError, match="medica"):
        _ = Repo(corpus, None, "atlantis").universe


def test_yaml_keys_and_values_that_json_does_not_know_become_text(corpus: Path) -> None:
    (corpus / "universes/medica/swarms.yaml").write_text("swarms: {7: {}, on: {}, relay: {since: 2026-01-01}}")
    assert Repo(corpus, None, "medica").universe.action_space.swarm_ids == ("7", "True", "relay")
    config = corpus / ".cyntra" / "config.yaml"
    config.write_text("on: 1\nwhen: 2026-01-01\nsome: !!set {a, b}\n")
    orjson.dumps(load_kernel_config(config))


def test_a_config_includes_another_deeply_and_lists_replace(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: 1")
    (tmp_path / "config.yaml").write_text("include: base.yaml\na: {c: [3]}")
    assert load_kernel_config(tmp_path / "config.yaml") == {"a": {"b": 1, "c": [3]}, "d": 1}


@pytest.mark.parametrize("text", ["include: config.yaml", "include: [a]", "- list", "a: [", "include: absent.yaml"])
def test_a_config_that_cannot_be_used_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ArtifactError, match="yaml"):
        load_kernel_config(tmp_path / "config.yaml")


def test_a_directory_without_cyntra_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no \.cyntra directory"):
        Repo(tmp_path).read_all()
