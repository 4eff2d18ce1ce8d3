"""A bundle decides as its policy does, without torch, and never fails on bad input."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import orjson
import pytest

from planner.bundle import Bundle, BundleError, load_bundle
from planner.caps import Caps
from planner.context import signed
from planner.contracts.document import validate
from planner.contracts.kernel import ContextBuilderName, ExecutedPlan, PlannerAction
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.export.bundle import ExportError, export_bundle
from planner.export.model_card import MODEL_CARD
from tests.planner.mutations import WRONG, places, replaced, without
from tests.planner.small_bundles import SMALL, context_for
from tests.trained_runs import trained

KINDS = {
    "mlp": ("mlp_planner", "planner", ()),
    "urm": ("urm_planner", "planner", (*SMALL, "n_similar=3")),
    "urm with a joint head": ("urm_planner", "planner", (*SMALL, "n_similar=3", "model.action_head=joint")),
    "transformer": ("transformer_planner", "planner", ("model.d_model=32", "model.layers=2", "model.mlp=swiglu")),
    "urm for the kernel": ("urm_planner", "kernel", SMALL),
}


@pytest.fixture(scope="module", params=KINDS)
def bundle_path(
    request: Any, corpus_dataset: Path, kernel_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    arch, profile, overrides = KINDS[request.param]
    dataset = kernel_dataset if profile == "kernel" else corpus_dataset
    trained(dataset, directory / "run", *overrides, arch=arch)
    check = export_bundle(directory / "run", directory / "bundle")["check"]
    assert check["disagreements"] == 0 and (directory / "bundle" / MODEL_CARD).read_text("utf-8").startswith(
        "---\nname:"
    )
    assert check["contexts"] > 10
    return directory / "bundle"


@pytest.fixture
def context(bundle_path: Path, corpus_dataset: Path) -> dict[str, Any]:
    """A context of the builder that the bundle learned from."""
    return context_for(bundle_path, corpus_dataset)


def test_a_bundle_refuses_contexts_of_the_other_builder_in_one_sentence(
    bundle_path: Path, context: dict[str, Any]
) -> None:
    bundle = Bundle(bundle_path)
    assert not decide(context, bundle).executed_plan["fallback_applied"]
    other: ContextBuilderName = "planner" if bundle.context_builder == "kernel" else "kernel"
    reason = decide({**context, "issue": signed(context["issue"], other)}, bundle).executed_plan["fallback_reason"]
    assert reason.startswith("context_builder_mismatch: the bundle learned from contexts that the ")
    assert "\n" not in reason and ". " not in reason


def test_a_bundle_of_an_earlier_program_takes_the_contexts_of_both(
    bundle_path: Path, context: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(bundle_path, tmp_path / "bundle")
    metadata = orjson.loads((bundle_path / "metadata.json").read_bytes())
    del metadata["context_builder"]
    (tmp_path / "bundle" / "metadata.json").write_bytes(orjson.dumps(metadata))
    for builder in get_args(ContextBuilderName):
        decision = decide({**context, "issue": signed(context["issue"], builder)}, Bundle(tmp_path / "bundle"))
        assert not decision.executed_plan["fallback_applied"]


def test_a_decision_follows_the_contracts(bundle_path: Path, context: dict[str, Any]) -> None:
    decision = decide(context, load_bundle(bundle_path))
    action = validate(PlannerAction, decision.planner_action, "action")
    plan = validate(ExecutedPlan, decision.executed_plan, "plan")
    assert plan.swarm_id_executed == action.swarm_id
    assert not plan.fallback_applied
    assert action.probs is not None
    assert [round(sum(head), 3) for head in action.probs.values()] == [1, 1, 1, 1]


def test_a_bundle_names_no_path_of_the_machine_that_made_it(bundle_path: Path) -> None:
    model = (bundle_path / "planner.onnx").read_bytes()
    assert b"site-packages" not in model and str(Path(__file__).parents[2]).encode() not in model


def test_the_command_decides_without_torch_and_ray(bundle_path: Path, context: dict[str, Any]) -> None:
    script = (
        "import sys; from pathlib import Path; import orjson;"
        "from planner.bundle import load_bundle; from planner.decision import decide;"
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
    # Cyntra's own planner has a threshold in its config, and does not read the bundle's.
    config = {**bundle.kernel_config, "planner": {"confidence_threshold": 1.01}}
    assert decide(context, bundle, kernel_config=config).executed_plan["fallback_reason"] == "low_confidence"


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


def test_decide_answers_whatever_it_is_given(bundle_path: Path, context: dict[str, Any]) -> None:
    bundle = load_bundle(bundle_path)
    damaged = [
        change
        for number, path in enumerate(places(context))
        for change in (without(context, path), replaced(context, path, WRONG[number % len(WRONG)]))
    ]
    run = ("history", "last_n_similar_runs", 0)
    damaged += [
        replaced(context, ("created_at",), "2026-99-99T99:99:99Z"),
        replaced(context, ("job_type",), "never heard of"),
        replaced(context, (*run, "started_ms"), 10**30),
        replaced(context, (*run, "runtime", "duration_ms"), 10**400),
        replaced(context, ("issue", "note"), {1, 2}),
        replaced(context, ("action_space", "validity_rules"), [{"if": {"job_type": "code"}, "then": {"swarm_id": ""}}]),
    ]
    reasons = set()
    for document in damaged[::3] + damaged[-6:]:
        decision = decide(document, bundle)
        validate(PlannerAction, decision.planner_action, "action")
        plan = validate(ExecutedPlan, decision.executed_plan, "plan")
        reasons.add((plan.fallback_reason or "decided").partition(":")[0])
    assert (
        {"decided", "invalid_input"}
        <= reasons
        <= {"decided", "invalid_input", "action_space_mismatch", "context_builder_mismatch", "low_confidence"}
        | {"swarm_mismatch", "max_candidates_exceeds_cap", "timeout_exceeds_cap"}
    )


def test_other_validity_rules_are_another_action_space(bundle_path: Path, context: dict[str, Any]) -> None:
    rules = [*context["action_space"]["validity_rules"], {"if": {}, "then": {"max_minutes_bin": 15}}]
    ruled = replaced(context, ("action_space", "validity_rules"), rules)
    plan = decide(ruled, load_bundle(bundle_path)).executed_plan
    assert plan["fallback_reason"] == "action_space_mismatch"
    assert plan["timeout_seconds_executed"] == 900


def test_every_cap_is_kept_by_decision_and_fallback(bundle_path: Path, context: dict[str, Any]) -> None:
    bundle = load_bundle(bundle_path)
    for caps in (Caps(max_candidates=1), Caps(max_minutes=20), Caps(max_iterations=1), Caps(1, 1, 1)):
        plan = decide(context, bundle, caps=caps).executed_plan
        for name, cap in (
            ("max_candidates_executed", caps.max_candidates),
            ("timeout_seconds_executed", caps.max_minutes and 60 * caps.max_minutes),
            ("max_iterations_executed", caps.max_iterations),
        ):
            assert cap is None or plan[name] is None or plan[name] <= cap


def test_contexts_of_different_length_in_one_batch_decide_as_alone(corpus_dataset: Path, tmp_path: Path) -> None:
    run = trained(corpus_dataset, tmp_path / "run", *SMALL, arch="urm_planner")
    export_bundle(run, tmp_path / "bundle")
    bundle = Bundle(tmp_path / "bundle")
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / "planner.onnx", providers=["CPUExecutionProvider"])
    contexts = sorted(load_dataset(corpus_dataset).splits["train"].contexts(), key=lambda c: len(orjson.dumps(c)))
    rows = [bundle.feeds(contexts[i])["input_ids"][0] for i in (0, -1)]
    length = max(map(len, rows))
    assert len(rows[0]) < length
    ids = np.array([np.pad(row, (0, length - len(row)), constant_values=3) for row in rows])
    mask = np.array([np.arange(length) < len(row) for row in rows]).astype(np.int64)
    together = session.run(None, {"input_ids": ids, "attention_mask": mask})
    for i, place in enumerate((0, -1)):
        for alone, head in zip(bundle.logits(contexts[place]), together, strict=True):
            assert np.allclose(alone, head[i], atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "profile", "overrides", "wanted", "message"),
    [
        ("urm_planner", "planner", SMALL, "kernel", "planner dataset build --profile kernel"),
        ("urm_planner", "kernel", SMALL, "planner", "planner dataset build --profile planner"),
        ("mlp_planner", "kernel", (), None, "reads features"),
        ("urm_planner", "kernel", (*SMALL, "model.action_head=joint"), None, "--set model.action_head=four"),
        ("urm_planner", "kernel", (*SMALL, "n_similar=4"), "kernel", "--set n_similar=8"),
        ("urm_planner", "kernel", (*SMALL, "model.tokens_per_run=32"), None, "--set model.tokens_per_run=64"),
    ],
)
def test_a_run_that_cannot_be_the_wanted_bundle_is_refused_with_a_cure(
    corpus_dataset: Path,
    kernel_dataset: Path,
    tmp_path: Path,
    arch: str,
    profile: str,
    overrides: Any,
    wanted: Any,
    message: str,
) -> None:
    dataset = kernel_dataset if profile == "kernel" else corpus_dataset
    run = trained(dataset, tmp_path / "run", *overrides, arch=arch)
    with pytest.raises(ExportError, match=message):
        export_bundle(run, tmp_path / "bundle", profile=wanted)
    assert not (tmp_path / "bundle").exists()
