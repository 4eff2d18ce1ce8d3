"""A bundle decides as its policy does, without torch, and never fails on bad input."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.bundle import ExportError, export_bundle
from planner.config import load_config
from planner.contracts import ExecutedPlan, PlannerAction, validate
from planner.dataset.storage import load_dataset
from planner.decide import BundleError, Caps, decide, load_bundle
from planner.training.loop import start_run, train


@pytest.fixture(scope="module", params=["mlp_planner", "urm_planner"])
def bundle_path(request: Any, corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    small = (
        [] if request.param == "mlp_planner" else ["model.d_model=32", "model.layers=1", "model.loops=2", "n_similar=3"]
    )
    config = load_config(request.param, None, ["epochs=1", *small])
    start_run(directory / "run", config, corpus_dataset, init_from=None, workers=1, resume=False)
    train(directory / "run")
    check = export_bundle(directory / "run", directory / "bundle")["check"]
    assert check["disagreements"] == 0
    assert check["contexts"] > 10
    return directory / "bundle"


@pytest.fixture(scope="module")
def context(corpus_dataset: Path) -> dict[str, Any]:
    contexts = load_dataset(corpus_dataset).splits["train"].contexts()
    return next(c for c in contexts if c["job_type"] == "code" and c["universe_defaults"]["swarm_id"])


def test_a_decision_follows_the_contracts(bundle_path: Path, context: dict[str, Any]) -> None:
    decision = decide(context, load_bundle(bundle_path))
    action = validate(PlannerAction, decision.planner_action, "action")
    plan = validate(ExecutedPlan, decision.executed_plan, "plan")
    assert plan.swarm_id_executed == action.swarm_id
    assert not plan.fallback_applied
    assert action.probs is not None
    assert [round(sum(head), 3) for head in action.probs.values()] == [1, 1, 1, 1]


def test_the_command_decides_without_torch_and_ray(bundle_path: Path, context: dict[str, Any]) -> None:
    script = (
        "import sys; from pathlib import Path; from planner.decide import decide, load_bundle; import orjson;"
        "d = decide(orjson.loads(sys.stdin.buffer.read()), load_bundle(Path(sys.argv[1])));"
        "heavy = {'torch', 'ray', 'pyarrow', 'pandas'} & set(sys.modules); assert not heavy, heavy;"
        "print(d.executed_plan['fallback_applied'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bundle_path)], input=orjson.dumps(context), capture_output=True, check=False
    )
    assert done.stdout.strip() == b"False", done.stderr.decode()


def test_serving_answers_every_line_even_a_broken_one(bundle_path: Path, context: dict[str, Any]) -> None:
    lines = b"\n".join([orjson.dumps(context), b"{broken", orjson.dumps(context)]) + b"\n"
    planner = Path(sys.executable).with_name("planner")
    done = subprocess.run([planner, "decide", bundle_path, "--serve"], input=lines, capture_output=True, check=True)
    answers = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 3
    assert answers[0] == answers[2]
    assert answers[1]["executed_plan"]["fallback_reason"].startswith("invalid_input")


@pytest.mark.parametrize("broken", [None, 3, "text", {}, {"schema_version": "cyntra.planner_input.v1"}, [1, 2]])
def test_bad_input_falls_back_and_says_why(bundle_path: Path, broken: Any) -> None:
    plan = decide(broken, load_bundle(bundle_path)).executed_plan
    assert plan["fallback_applied"]
    assert plan["fallback_reason"].startswith("invalid_input: planner_input: $")


def test_modes_caps_and_thresholds_fall_back_and_keep_the_prediction(
    bundle_path: Path, context: dict[str, Any]
) -> None:
    bundle = load_bundle(bundle_path)
    assert not isinstance(bundle, BundleError)
    free = decide(context, bundle)
    logged = decide(context, bundle, mode="log")
    assert logged.executed_plan["fallback_reason"] == "log_only"
    assert logged.planner_action["probs"] == free.planner_action["probs"]
    assert decide(context, bundle, mode="off").executed_plan["fallback_reason"] == "mode_off"
    capped = decide(context, bundle, caps=Caps(max_minutes=1)).executed_plan
    if free.planner_action["budgets"]["max_minutes_bin"] != "NA":
        assert capped["fallback_reason"] == "timeout_exceeds_cap"
        assert capped["timeout_seconds_executed"] <= 60
    bundle.threshold = 1.01
    assert decide(context, bundle).executed_plan["fallback_reason"] == "low_confidence"


def test_another_action_space_is_recognised_by_name_not_by_position(bundle_path: Path, context: dict[str, Any]) -> None:
    bundle = load_bundle(bundle_path)
    turned = copy.deepcopy(context)
    turned["action_space"]["swarm_ids"].reverse()
    turned["action_space"]["max_minutes_bins"].reverse()
    assert decide(turned, bundle).executed_plan == decide(context, bundle).executed_plan
    renamed = copy.deepcopy(context)
    renamed["action_space"]["swarm_ids"] = ["serial_handoff", "another_swarm"]
    assert decide(renamed, bundle).executed_plan["fallback_reason"] == "action_space_mismatch"


def test_a_missing_or_broken_bundle_is_a_recorded_fallback(
    bundle_path: Path, context: dict[str, Any], tmp_path: Path
) -> None:
    missing = load_bundle(tmp_path / "nowhere")
    assert decide(context, missing).executed_plan["fallback_reason"].startswith("bundle_load_failed: ")
    shutil.copytree(bundle_path, tmp_path / "copy")
    (tmp_path / "copy" / "planner.onnx").write_bytes(b"not onnx")
    broken = load_bundle(tmp_path / "copy")
    plan = decide(context, broken).executed_plan
    assert plan["fallback_reason"].startswith("bundle_load_failed: ")
    assert plan["swarm_id_executed"] == context["universe_defaults"]["swarm_id"]


def test_a_directory_with_other_files_is_not_overwritten(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files"):
        export_bundle(bundle_path.parent / "run", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
