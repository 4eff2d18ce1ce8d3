"""A bundle's model card says what its metadata, dataset and run say, and is Markdown whatever these are called."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import read_document
from planner.export.model_card import MODEL_CARD, write_model_card
from tests.conftest import FIXTURES

BUNDLE = FIXTURES / "frozen" / "bundle-v1" / "bundle"
NAME = "run_1 | <b> [a](b)"
REGRET = {
    "held_out_cases": 40,
    "held_out_problems": 30,
    "held_out_by": "time",
    "utility": "passed",
    "policies": [
        {"policy": name, "regret": regret, "regret_low": 0.1, "regret_high": 0.3, "pass_rate": 0.5}
        for name, regret in (("heuristic", 0.25), ("trial forest", 0.2), (NAME, 0.125))
    ],
}


@pytest.fixture
def info() -> DatasetInfo:
    return read_document(DatasetInfo, FIXTURES / "frozen" / "dataset-v1" / "dataset.json")


@pytest.fixture
def metadata() -> dict[str, Any]:
    return {**orjson.loads((BUNDLE / "metadata.json").read_bytes()), "exported_with": {"python": "3.11"}}


def card(
    directory: Path, metadata: dict[str, Any], info: DatasetInfo, **calibration: Any
) -> tuple[dict[str, Any], str]:
    """Front matter and body of the card of a run in ``directory`` called NAME."""
    write_model_card(directory, directory / NAME, metadata, calibration, info)
    _, front, body = (directory / MODEL_CARD).read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_it_says_what_the_bundle_learned_from(tmp_path: Path, metadata: dict[str, Any], info: DatasetInfo) -> None:
    front, body = card(tmp_path, metadata, info)
    assert front["name"] == metadata["checkpoint_id"] and front["dataset_hash"] == info.dataset_hash
    assert (front["token_profile"], front["label_source"]) == ("planner", "executed_plans")
    assert "32 runs, 24 examples" in body and f"{len(info.quarantine)} files set aside" in body
    train = info.splits["train"]
    assert f"| train | {train.examples} | {train.of_seen_issues} | 20" in body
    assert "Not yet: `planner evaluate RUN --bench LEDGER`" in body and "never leaves a decision" in body
    other = info.model_copy(update={"dataset_hash": "another"})
    front, body = card(tmp_path, metadata, other)
    assert front["label_source"] is None and "checked on another one, `another`" in body and "| train |" not in body


def test_it_says_how_it_was_judged_beside_todays_rule(
    tmp_path: Path, metadata: dict[str, Any], info: DatasetInfo
) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "regret.json").write_bytes(orjson.dumps(REGRET))
    groups = {"all": {"examples": 7, "policies": {NAME: {"exact_match": 0.75}, "heuristic": {"exact_match": None}}}}
    (tmp_path / NAME / "evaluation.json").write_bytes(orjson.dumps({"splits": {"test": groups}}))
    body = card(tmp_path, metadata, info)[1]
    assert "on 40 unseen cases of 30 problems, held out by time" in body
    assert "| today's rule | 0.250 | [0.100, 0.300] | 0.500 |" in body and "trial forest" not in body
    # Whatever a run is called, it neither adds a column nor a link.
    assert "| run\\_1 \\| \\<b\\> \\[a\\](b) | 0.125 |" in body and "(b) | 0.750 | 7 |" in body


def test_it_says_when_it_abstains(tmp_path: Path, metadata: dict[str, Any], info: DatasetInfo) -> None:
    found = {"examples": 9, "ece_before": 0.3, "ece_after": 0.1, "threshold": 0.4, "max_risk": 0.1, "confidence": 0.95}
    body = card(tmp_path, metadata, info, calibrated=True, guaranteed=True, **found)[1]
    assert "9 validation examples: 0.300 before, 0.100 after" in body
    assert "abstains below a confidence of 0.400: what it decides loses at most 0.1" in body
    body = card(tmp_path, metadata, info, calibrated=True, guaranteed=False, **found)[1]
    assert "always abstains" in body
