"""record() writes a decision into a run's documents, whole or not at all, and nothing else."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.record_decision import record
from planner.errors import ArtifactError, ContractError
from tests.conftest import CORPUS

ARCHIVE = CORPUS / ".cyntra" / "archives" / "wc-15-20261122T194659Z-spec-crush"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's manifest and rollout, from before there was a planner."""
    for name in ("manifest", "rollout"):
        document = orjson.loads((ARCHIVE / f"{name}.json").read_bytes())
        del document["planner"]
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps(document))
    return tmp_path


@pytest.fixture
def section() -> dict[str, Any]:
    documents = orjson.loads((ARCHIVE / "manifest.json").read_bytes())["planner"]
    return {name: documents[name] for name in ("planner_input", "planner_action", "executed_plan")}


def read(path: Path) -> dict[str, Any]:
    return orjson.loads(path.read_bytes())


def test_a_decision_is_written_into_manifest_and_rollout(run: Path, section: dict[str, Any]) -> None:
    before = {name: read(run / name) for name in ("manifest.json", "rollout.json")}
    record(run / "manifest.json", **section)
    for name, document in before.items():
        assert read(run / name) == {**document, "planner": section}
    assert sorted(path.name for path in run.iterdir()) == ["manifest.json", "rollout.json"]


def test_a_run_without_a_rollout_yet_gets_its_manifest(run: Path, section: dict[str, Any]) -> None:
    (run / "rollout.json").unlink()
    record(run / "manifest.json", **section)
    assert read(run / "manifest.json")["planner"] == section
    assert not (run / "rollout.json").exists()


def test_recording_again_replaces_the_decision_and_keeps_other_keys(run: Path, section: dict[str, Any]) -> None:
    document = read(run / "manifest.json")
    known = {"timeout_seconds_override": 900, "executed_plan": {"old": True}}
    (run / "manifest.json").write_bytes(orjson.dumps({**document, "planner": known}))
    record(run / "manifest.json", **section)
    assert read(run / "manifest.json")["planner"] == {"timeout_seconds_override": 900, **section}


@pytest.mark.parametrize("broken", [b"{", b"[]", b""])
def test_a_broken_rollout_leaves_the_manifest_as_it_was(run: Path, section: dict[str, Any], broken: bytes) -> None:
    (run / "rollout.json").write_bytes(broken)
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(ArtifactError, match=r"rollout\.json"):
        record(run / "manifest.json", **section)
    assert (run / "manifest.json").read_bytes() == before
    assert (run / "rollout.json").read_bytes() == broken


def test_a_document_that_breaks_its_contract_is_not_recorded(run: Path, section: dict[str, Any]) -> None:
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(ContractError, match="executed_plan"):
        record(run / "manifest.json", **{**section, "executed_plan": {"swarm_id_executed": 3}})
    assert (run / "manifest.json").read_bytes() == before


def test_a_missing_manifest_is_named(run: Path, section: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="no-such"):
        record(run / "no-such" / "manifest.json", **section)


def test_a_reader_never_sees_half_a_file(run: Path, section: dict[str, Any]) -> None:
    """The file is replaced: whoever has opened the old one goes on reading the old one, whole."""
    with (run / "manifest.json").open("rb") as file:
        record(run / "manifest.json", **section)
        assert "planner" not in orjson.loads(file.read())
