"""A bundle for the kernel has the kernel's interface, and is answered as the kernel would answer it."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pytest
from safetensors.torch import load_file, save_file

from planner.actions import HEADS, action_from_document
from planner.bundle import Bundle, load_bundle
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.encoding.kernel_tokens import kernel_segments
from planner.errors import PlannerError
from planner.export.bundle import ExportError, compare, export_bundle
from planner.policies.heuristic import RulePlan
from planner.runs.checkpoint import CalibrationDocument, checkpoint_path, write_calibration
from planner.runs.learned import LearnedPolicy
from tests.planner.mutations import replaced
from tests.planner.small_bundles import SMALL, context_for
from tests.trained_runs import trained


@pytest.fixture(scope="module")
def kernel_bundle(kernel_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernel-bundle")
    run = trained(kernel_dataset, directory / "run", *SMALL, arch="urm_planner")
    temperatures = dict(zip(HEADS, (1.5, 8.0, 0.05, 20.0), strict=True))
    fields: dict[str, Any] = {"guaranteed": True, "max_risk": 0.1, "confidence": 0.9, "dataset_hash": "x"}
    calibration = CalibrationDocument(
        temperatures=temperatures,
        threshold=0.1,
        risk=0.0,
        ece_before=0.0,
        ece_after=0.0,
        accepted=1,
        examples=1,
        **fields,
    )
    write_calibration(checkpoint_path(run), calibration)
    # One epoch on few runs leaves a policy that always says the same; this one has opinions.
    weights = load_file(checkpoint_path(run) / "model.safetensors")
    weights["heads.linear.weight"] = 30 * weights["heads.linear.weight"]
    save_file(weights, checkpoint_path(run) / "model.safetensors")
    export_bundle(run, directory / "bundle", profile="kernel")
    return directory / "bundle"


@pytest.fixture
def context(kernel_bundle: Path, corpus_dataset: Path) -> dict[str, Any]:
    """A context of the builder that the bundle learned from."""
    return context_for(kernel_bundle, corpus_dataset)


def test_a_kernels_bundle_is_answered_with_what_the_kernel_would_make_of_it(
    kernel_bundle: Path, kernel_dataset: Path
) -> None:
    """Contract page, section 2: it keeps to the swarm of today's rule, and never goes beyond its budgets."""
    bundle = Bundle(kernel_bundle)
    config = {**bundle.kernel_config, "planner": {"confidence_threshold": 0.0}}
    reasons = Counter[str | None]()
    for context in load_dataset(kernel_dataset).splits["train"].contexts():
        action = action_from_document(decide(context, bundle, mode="log", kernel_config=config).planner_action)
        for ruled in (RulePlan("serial_handoff", 1, 7200), RulePlan("speculate_vote", 1, 600)):
            plan = decide(context, bundle, kernel_config=config, rule_plan=ruled).executed_plan
            n, minutes = action.max_candidates_bin, action.max_minutes_bin
            expected = [ruled.swarm_id, ruled.candidates, ruled.timeout_seconds]
            if action.swarm_id != ruled.swarm_id:
                reason: str | None = "swarm_mismatch"
            elif n != "NA" and n > ruled.candidates:
                reason = "max_candidates_exceeds_cap"
            elif minutes != "NA" and 60 * minutes > ruled.timeout_seconds:
                reason = "timeout_exceeds_cap"
                expected[1] = n if n != "NA" else expected[1]  # the kernel has reduced these already
            else:
                reason = None
                expected[1:] = [n if n != "NA" else expected[1], 60 * minutes if minutes != "NA" else expected[2]]
            assert list(plan.values())[1:4] == expected and plan["fallback_reason"] == reason
            reasons[reason] += 1
    assert reasons["swarm_mismatch"] and len(reasons) >= 2


@pytest.mark.parametrize(
    "name", ["planner.onnx", "vocab.json", "action_space.json", "calibration.json", "metadata.json"]
)
def test_a_bundle_without_one_of_its_files_is_no_bundle(
    kernel_bundle: Path, context: dict[str, Any], tmp_path: Path, name: str
) -> None:
    shutil.copytree(kernel_bundle, tmp_path / "bundle")
    for broken in (b"{", b"{}", None):
        (tmp_path / "bundle" / name).unlink() if broken is None else (tmp_path / "bundle" / name).write_bytes(broken)
        reason = decide(context, load_bundle(tmp_path / "bundle")).executed_plan["fallback_reason"]
        assert reason.startswith("bundle_load_failed: ")
        assert "\n" not in reason


def test_a_model_that_cannot_run_is_a_recorded_fallback(
    kernel_bundle: Path, context: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(kernel_bundle, tmp_path / "bundle")
    tokens = orjson.loads((tmp_path / "bundle" / "vocab.json").read_bytes())["tokens"]
    longer = [*tokens[:2], *(f"[OF_ANOTHER_MODEL_{i}]" for i in range(5000)), *tokens[2:]]
    (tmp_path / "bundle" / "vocab.json").write_bytes(orjson.dumps({"tokens": longer}))
    plan = decide(context, load_bundle(tmp_path / "bundle")).executed_plan
    assert plan["fallback_reason"].startswith("inference_failed: ")
    assert plan["swarm_id_executed"] == context["universe_defaults"]["swarm_id"]


def test_the_check_refuses_a_bundle_of_another_policy(
    kernel_bundle: Path, kernel_dataset: Path, tmp_path: Path
) -> None:
    run = trained(kernel_dataset, tmp_path / "run", *SMALL, "seed=5", arch="urm_planner")
    contexts = load_dataset(kernel_dataset).splits["test"].contexts()
    with pytest.raises(ExportError, match="differs from torch"):
        compare(LearnedPolicy(run), Bundle(kernel_bundle), contexts)


def test_weights_that_are_no_numbers_are_not_exported(kernel_dataset: Path, tmp_path: Path) -> None:
    run = trained(kernel_dataset, tmp_path / "run", *SMALL, arch="urm_planner")
    file = checkpoint_path(run) / "model.safetensors"
    weights = load_file(file)
    save_file({name: tensor * float("nan") for name, tensor in weights.items()}, file)
    with pytest.raises(PlannerError):
        export_bundle(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_tells_where_it_comes_from(kernel_bundle: Path, kernel_dataset: Path) -> None:
    metadata = orjson.loads((kernel_bundle / "metadata.json").read_bytes())
    info = load_dataset(kernel_dataset).info
    assert (metadata["token_profile"], metadata["dataset_hash"]) == ("kernel", info.dataset_hash)
    assert metadata["splits"]["train"]["first_ms"] == info.splits["train"].first_ms
    assert metadata["settings"]["model"]["d_model"] == 32
    assert metadata["metrics"]["epoch"] == 0
    assert metadata["check"]["max_difference"] <= 1e-4
    assert {"git_commit", "trained_with", "exported_with"} <= metadata.keys()


def test_a_kernels_bundle_has_the_kernels_interface(kernel_bundle: Path) -> None:
    """Contract page, section 4."""
    session = onnxruntime.InferenceSession(kernel_bundle / "planner.onnx", providers=["CPUExecutionProvider"])
    assert {i.name: (i.type, i.shape[1]) for i in session.get_inputs()} == {
        "input_ids": ("tensor(int64)", 512),
        "attention_mask": ("tensor(int64)", 512),
    }
    space = orjson.loads((kernel_bundle / "action_space.json").read_bytes())
    bins = ("swarm_ids", "max_candidates_bins", "max_minutes_bins", "max_iterations_bins")
    assert [o.shape[1] for o in session.get_outputs()] == [len(space[name]) for name in bins]
    assert orjson.loads((kernel_bundle / "vocab.json").read_bytes())["tokens"][:2] == ["[PAD]", "[UNK]"]
    assert orjson.loads((kernel_bundle / "calibration.json").read_bytes())["temperatures"].keys() == set(HEADS)


def test_decide_gives_the_kernels_action_and_confidence(kernel_bundle: Path, kernel_dataset: Path) -> None:
    """The kernel's own rule: the valid tuple with the largest sum of log softmax(logit / temperature), no masks."""
    session = onnxruntime.InferenceSession(kernel_bundle / "planner.onnx", providers=["CPUExecutionProvider"])
    read = {name: orjson.loads((kernel_bundle / f"{name}.json").read_bytes()) for name in ("vocab", "calibration")}
    ids = {token: i for i, token in enumerate(read["vocab"]["tokens"])}
    bundle = Bundle(kernel_bundle)
    decided = set()
    contexts = load_dataset(kernel_dataset).splits["train"].contexts()
    assert "[VAL:JOB_TYPE:fab-world]" not in ids, "a job type that training never saw"
    for context in [*contexts, *(replaced(context, ("job_type",), "fab-world") for context in contexts[:8])]:
        stream = [token for segment in kernel_segments(context) for token in segment][:512]
        row = [ids.get(token, 1) for token in stream]
        padding = [0] * (512 - len(row))
        feeds = {"input_ids": [row + padding], "attention_mask": [[1] * len(row) + padding]}
        outputs = session.run(None, {name: np.array(value, dtype=np.int64) for name, value in feeds.items()})
        probs = []
        for head, logits in zip(HEADS, outputs, strict=True):
            scaled = np.exp((logits[0] - logits[0].max()) / read["calibration"]["temperatures"][head])
            probs.append(scaled / scaled.sum())
        job_type = context["job_type"]
        scores = [
            sum(np.log(max(1e-12, float(head[i]))) for head, i in zip(probs, places, strict=True))
            for places in bundle.space.valid_indices(job_type)
        ]
        best = int(np.argmax(scores))
        confidence = min(float(h[i]) for h, i in zip(probs, bundle.space.valid_indices(job_type)[best], strict=True))
        action = decide(context, bundle, mode="log").planner_action
        found = (action["swarm_id"], *action["budgets"].values())
        assert found == bundle.space.valid_actions(job_type)[best]
        assert action["confidence"] == pytest.approx(confidence, abs=1e-5)
        for head, expected in zip(HEADS, probs, strict=True):
            assert action["probs"][head] == pytest.approx(expected.tolist(), abs=1e-5)
        decided.add(found)
    assert len(decided) > 1
