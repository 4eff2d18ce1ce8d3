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


@pytest.mark.parametrize(
    "text",
    ["include: config.yaml", "include: [{a: 1}]", "include: [absent.yaml]", "- list", "a: [", "include: absent.yaml"],
)
def test_a_config_that_cannot_be_used_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ArtifactError, match="yaml"):
        load_kernel_config(tmp_path / "config.yaml")


def test_a_directory_without_cyntra_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no \.cyntra directory"):
        Repo(tmp_path).read_all()


def test_includes_are_merged_in_order_and_the_config_goes_over_all(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("speculation: {enabled: true, max_parallelism: 5}\nn: 1")
    (tmp_path / "two.yaml").write_text("speculation: {max_parallelism: 4}\nn: 2\nm: 2")
    (tmp_path / "config.yaml").write_text("include: [one.yaml, two.yaml]\nm: 3")
    config = load_kernel_config(tmp_path / "config.yaml")
    assert config == {"speculation": {"enabled": True, "max_parallelism": 4}, "n": 2, "m": 3}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            "routing: {rules: [{match: {title_pattern: '('}, use: [codex]}]}",
            r"routing\.rules\[0\]\.match\.title_pattern",
        ),
        ("routing: {rules: [{match: {}, parallelism: two}]}", r"routing\.rules\[0\]\.parallelism"),
        ("routing: {rules: [5]}", r"routing\.rules\[0\]"),
        ("routing: []", "routing"),
        ("toolchains: {codex: {timeout_minutes: 60m}}", r"toolchains\.codex\.timeout_minutes"),
        ("toolchains: {codex: {enabled: 'no'}}", r"toolchains\.codex\.enabled"),
        ("toolchain_priority: codex", "toolchain_priority"),
        ("speculation: {default_parallelism: two}", r"speculation\.default_parallelism"),
        ("speculation: {auto_trigger: {risk_levels: high}}", r"speculation\.auto_trigger\.risk_levels"),
        ("control: {action_low: .nan}", r"control\.action_low"),
        ("scheduling: {max_concurrent_workcells: many}", r"scheduling\.max_concurrent_workcells"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_file_and_place(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ArtifactError, match=rf"config\.yaml: {place}: .*(write|mend)"):
        load_kernel_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("value", ["9" * 5000, "0x" + "f" * 40, "2026-13-45", '"\\ud800"'])
def test_yaml_that_no_document_can_hold_is_one_sentence(tmp_path: Path, value: str) -> None:
    (tmp_path / "config.yaml").write_text(f"gates: {{timeout_seconds: {value}}}")
    with pytest.raises(ArtifactError, match=r"config\.yaml: not YAML"):
        load_kernel_config(tmp_path / "config.yaml")


def test_a_second_universe_is_not_passed_over_in_silence(corpus: Path) -> None:
    (corpus / "universes" / "other").mkdir()
    (corpus / "universes" / "other" / "universe.yaml").write_text("universe_id: other")
    with pytest.raises(ArtifactError, match="2 universes, medica, other: choose one with --universe"):
        _ = Repo(corpus).universe
    assert Repo(corpus, None, "medica").universe.max_run_minutes == 120
