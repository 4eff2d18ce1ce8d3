"""Datasets, runs and bundles as earlier programs wrote them (tests/fixtures/frozen): today's code opens each."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from planner.bundle import Bundle, load_bundle
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.evaluation.evaluate import evaluate_run
from planner.runs.checkpoint import read_run
from planner.runs.learned import LearnedPolicy
from tests.conftest import FIXTURES

FROZEN = FIXTURES / "frozen"
DATASET, RUN, BUNDLE = FROZEN / "dataset-v1", FROZEN / "run-v1", FROZEN / "bundle-v1"


def read(path: Path) -> dict[str, dict[str, object]]:
    return orjson.loads(path.read_bytes())


def test_a_dataset_of_version_1_opens_with_all_its_examples() -> None:
    dataset = load_dataset(DATASET)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 19, "val": 3, "test": 2}
    for split in dataset.splits.values():
        contexts = split.contexts()
        assert len(contexts) == len(split)
        # One action was executed for each, and it is the label.
        assert (np.asarray(split.outcomes.actions) == np.asarray(split.labels)).all()
    assert dataset.space.swarm_ids == ("serial_handoff", "speculate_vote")


def test_a_run_of_version_1_is_read_loaded_and_judged(tmp_path: Path) -> None:
    state = read_run(RUN)
    assert (state.epoch, state.finished, state.dataset_hash) == (0, True, load_dataset(DATASET).info.dataset_hash)
    policy = LearnedPolicy(RUN)
    assert policy.calibration is not None and policy.calibration.threshold == 1.01
    report = evaluate_run(RUN, DATASET).to_json()
    assert set(report["splits"]) == {"train", "val", "test"}


def test_a_run_of_version_1_prefers_what_it_preferred_when_it_was_written() -> None:
    context, decision = read(BUNDLE / "planner_input.json"), read(BUNDLE / "decision.json")
    policy = LearnedPolicy(RUN, calibrated=False)
    heads = [head[0] for head in policy.log_probs_of([context])]
    action = policy.space.decode(heads, str(context["job_type"]))
    assert [action.swarm_id, dict(zip(action._fields[1:], action[1:], strict=True))] == [
        decision["planner_action"][key] for key in ("swarm_id", "budgets")
    ]


def test_a_bundle_of_version_1_decides_as_when_it_was_written() -> None:
    bundle = load_bundle(BUNDLE / "bundle")
    assert isinstance(bundle, Bundle)
    wanted = read(BUNDLE / "decision.json")
    decision = decide(read(BUNDLE / "planner_input.json"), bundle)
    assert decision.executed_plan == wanted["executed_plan"]
    assert decision.planner_action.keys() == wanted["planner_action"].keys()
    for key, value in wanted["planner_action"].items():
        if key == "probs":
            assert isinstance(value, dict)
            for head, probs in value.items():
                assert decision.planner_action["probs"][head] == pytest.approx(probs, abs=1e-5)
        else:
            assert decision.planner_action[key] == (pytest.approx(value) if key == "confidence" else value)
