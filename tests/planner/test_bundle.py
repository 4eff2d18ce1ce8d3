"""A bundle decides as its policy does, without torch, and never fails on bad input."""

import copy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import orjson
import pytest
from safetensors.torch import load_file, save_file

from planner.actions import HEADS, action_from_document
from planner.bundle import Bundle, BundleError, load_bundle
from planner.caps import Caps
from planner.config import load_config
from planner.context import signed
from planner.contracts.document import validate
from planner.contracts.kernel import ContextBuilderName, ExecutedPlan, PlannerAction
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.encoding.kernel_tokens import kernel_segments
from planner.errors import PlannerError
from planner.export.bundle import ExportError, compare, export_bundle
from planner.export.model_card import MODEL_CARD
from planner.policies.heuristic import RulePlan
from planner.runs.checkpoint import CalibrationDocument, checkpoint_path, write_calibration
from planner.runs.learned import LearnedPolicy
from planner.training.loop import start_run, train
from tests.planner.mutations import WRONG, places, replaced, without

SMALL = ("model.d_model=32", "model.layers=1", "model.loops=2", "model.backprop_loops=1")
KINDS = {
    "mlp": ("mlp_planner", "planner", ()),
    "urm": ("urm_planner", "planner", (*SMALL, "n_similar=3")),
    "urm with a joint head": ("urm_planner", "planner", (*SMALL, "n_similar=3", "model.action_head=joint")),
    "transformer": ("transformer_planner", "planner", ("model.d_model=32", "model.layers=2", "model.mlp=swiglu")),
    "urm for the kernel": ("urm_planner", "kernel", SMALL),
}


def trained(run: Path, arch: str, dataset: Path, overrides: Sequence[str]) -> Path:
    """A run of one epoch."""
    config = load_config(arch, None, ["epochs=1", *overrides])
    start_run(run, config, dataset, init_from=None, workers=1, resume=False)
    train(run)
    return run


@pytest.fixture(scope="module", params=KINDS)
def bundle_path(
    request: Any, corpus_dataset: Path, kernel_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    arch, profile, overrides = KINDS[request.param]
    trained(directory / "run", arch, kernel_dataset if profile == "kernel" else corpus_dataset, overrides)
    check = export_bundle(directory / "run", directory / "bundle")["check"]
    assert check["disagreements"] == 0 and (directory / "bundle" / MODEL_CARD).read_text("utf-8").startswith(
        "---\nname:"
    )
    assert check["contexts"] > 10
    return directory / "bundle"


@pytest.fixture(scope="module")
def kernel_bundle(kernel_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernel-bundle")
    run = trained(directory / "run", "urm_planner", kernel_dataset, SMALL)
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
def context(request: pytest.FixtureRequest, corpus_dataset: Path) -> dict[str, Any]:
    """A context of the builder that the test's bundle learned from."""
    contexts = load_dataset(corpus_dataset).splits["train"].contexts()
    found = next(
        c
        for c in contexts
        if c["job_type"] == "code" and c["universe_defaults"]["swarm_id"] and c["history"]["last_n_similar_runs"]
    )
    bundles = [name for name in ("bundle_path", "kernel_bundle") if name in request.fixturenames]
    builders = {Bundle(request.getfixturevalue(name)).context_builder for name in bundles}
    return {**found, "issue": signed(found["issue"], "kernel" if builders == {"kernel"} else "planner")}


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
    run = trained(tmp_path / "run", "urm_planner", kernel_dataset, [*SMALL, "seed=5"])
    contexts = load_dataset(kernel_dataset).splits["test"].contexts()
    with pytest.raises(ExportError, match="differs from torch"):
        compare(LearnedPolicy(run), Bundle(kernel_bundle), contexts)


def test_weights_that_are_no_numbers_are_not_exported(kernel_dataset: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "urm_planner", kernel_dataset, SMALL)
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


def test_contexts_of_different_length_in_one_batch_decide_as_alone(corpus_dataset: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "urm_planner", corpus_dataset, SMALL)
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
    run = trained(tmp_path / "run", arch, kernel_dataset if profile == "kernel" else corpus_dataset, overrides)
    with pytest.raises(ExportError, match=message):
        export_bundle(run, tmp_path / "bundle", profile=wanted)
    assert not (tmp_path / "bundle").exists()
