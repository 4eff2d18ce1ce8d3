"""`planner export`: a trained policy as a directory that decides without torch, checked against torch before it counts.

planner.onnx         four logits by position, or joint_logits over ActionSpace.tuples; inputs input_ids and
                     attention_mask, or the features of an MLP (batch and length are free; in the kernel's profile the
                     length is fixed, 512)
vocab.json           {"tokens": [...]}
action_space.json    {swarm_ids, max_candidates_bins, max_minutes_bins, max_iterations_bins, validity_rules}
calibration.json     {"temperatures": {head: T}, "threshold": ...}
metadata.json        where the policy comes from, what it reads, and how the check went
MODEL_CARD.md        the same for people, with how it was judged
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from planner.actions import HEADS
from planner.artifacts.rule_settings import decisive_part
from planner.bundle import Bundle
from planner.contracts.dataset import TokenProfile
from planner.dataset.storage import Dataset, load_dataset
from planner.encoding.inputs import inputs_of_contexts
from planner.encoding.kernel_tokens import (
    JOB_TYPE_PLACE,
    KERNEL_RUNS,
    KERNEL_SEQUENCE,
    KERNEL_TOKENS_PER_RUN,
)
from planner.errors import DatasetError, ExportError
from planner.export.model_card import write_model_card
from planner.export.onnx_graph import write_token_policy
from planner.export.structural_bundle import export_structural
from planner.files import staged_directory
from planner.models.urm import TokenSettings, URMPlanner
from planner.places import Place
from planner.provenance import own_commit, tool_versions
from planner.runs.checkpoint import read_run
from planner.runs.fitted import is_fitted
from planner.runs.learned import LearnedPolicy
from planner.scoring.calibration import scale

CHECK_CONTEXTS = 256
MAX_DIFFERENCE = 1e-4
JOB_TYPE_PREFIX = "[VAL:JOB_TYPE:"
FORBIDDEN = -1e4
"""Added to a logit that must not win, also after division by the largest temperature."""


def export_bundle(
    run: Path, out: Path, *, dataset_path: Place | None = None, profile: TokenProfile | None = None
) -> dict[str, Any]:
    """Write the run's best checkpoint as a bundle to ``out`` and return its metadata.

    ``profile`` must be the one of the dataset that the run was trained on; a "kernel" bundle is one that Cyntra's
    kernel loads (docs/kernel-contract.md, section 4). By default it is the run's.

    The ONNX model is compared with torch on up to 256 contexts of the dataset: logits may differ by 1e-4 and every
    decision must be the same, otherwise ExportError is raised and nothing is written.
    """
    if is_fitted(run):
        return export_structural(run, out, dataset_path)
    policy = LearnedPolicy(run)
    if policy.reading is not None:
        raise ExportError(
            f"{run}: no bundle holds a trial head: train a policy that decides as it does with --teacher {run}, and "
            "export that one"
        )
    _check_profile(policy, profile)
    dataset = load_dataset(dataset_path or read_run(run).own_dataset)
    contexts = _check_contexts(dataset)
    if out.exists() and any(out.iterdir()) and not (out / "metadata.json").exists():
        raise ExportError(f"{out} holds other files than a bundle: give an empty or new directory as --out")
    with staged_directory(out) as staging:
        metadata = {**bundle_metadata(policy), **_provenance(run, policy, dataset)}
        write_bundle(policy, staging, metadata)
        with _one_thread():
            metadata["check"] = compare(policy, Bundle(staging), contexts)
        _write(staging / "metadata.json", metadata)
        write_model_card(staging, run, metadata, _calibration(policy), dataset.info)
    return metadata


def write_bundle(policy: LearnedPolicy, directory: Path, metadata: dict[str, Any]) -> None:
    """Write a bundle's files, unchecked."""
    write_onnx(policy, directory / "planner.onnx", metadata)
    _write(directory / "vocab.json", {"tokens": policy.document.vocabulary})
    _write(directory / "action_space.json", policy.space.to_document())
    _write(directory / "calibration.json", _calibration(policy))
    _write(directory / "metadata.json", metadata)


def _check_profile(policy: LearnedPolicy, wanted: TokenProfile | None) -> None:
    """ExportError when the policy cannot be a bundle of the wanted profile."""
    document, settings = policy.document, policy.model.settings
    if wanted is not None and wanted != document.token_profile:
        raise ExportError(
            f"{policy.checkpoint}: trained on the {document.token_profile} token profile, not on {wanted}: build a "
            f"dataset with `planner dataset build --profile {wanted}` and train on it, or export without --profile"
        )
    if document.token_profile != "kernel":
        return
    if policy.outputs != HEADS:
        raise ExportError(f"{policy.checkpoint}: the kernel reads four heads: train with --set model.action_head=four")
    if not isinstance(settings, TokenSettings):
        raise ExportError(f"{policy.checkpoint}: reads features, the kernel gives tokens: train urm_planner instead")
    for name, found, wanted_value in (
        ("n_similar", document.n_similar, KERNEL_RUNS),
        ("model.tokens_per_run", settings.tokens_per_run, KERNEL_TOKENS_PER_RUN),
    ):
        if found < wanted_value:
            raise ExportError(
                f"{policy.checkpoint}: trained with {name}={found}, the kernel will show it {wanted_value}: "
                f"train with --set {name}={wanted_value}"
            )


def _output_names(policy: LearnedPolicy) -> list[str]:
    """The ONNX model's outputs, in order."""
    return list(HEADS) if policy.outputs == HEADS else ["joint_logits"]


def input_names(reads: str) -> tuple[str, ...]:
    """The ONNX model's inputs, in order."""
    if reads == "tokens":
        return ("input_ids", "attention_mask")
    return ("context_features", "run_features", "runs_present")


def write_onnx(policy: LearnedPolicy, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the policy as planner.onnx, with the bundle's metadata inside as JSON, for who gets the model alone."""
    inside = {"planner_bundle": orjson.dumps(metadata).decode()}
    if isinstance(policy.model, URMPlanner):
        _write_token_policy(policy, policy.model, path, inside)
    else:
        _trace(policy, path, inside)


def _write_token_policy(policy: LearnedPolicy, model: URMPlanner, path: Path, metadata: Mapping[str, str]) -> None:
    kernel = policy.document.token_profile == "kernel"
    write_token_policy(
        path,
        model.core,
        model.heads.linear,
        dict(zip(_output_names(policy), policy.model.widths, strict=True)),
        longest=model.settings.seq_len,
        fixed_length=_kernel_length(model.settings) if kernel else None,
        penalties=(_penalties(policy), JOB_TYPE_PLACE) if kernel else None,
        metadata=metadata,
    )


def _penalties(policy: LearnedPolicy) -> NDArray[np.float32]:
    """What the kernel, which masks nothing, needs: for each token that is a job type, what to add to the logits.

    Without it the kernel's confidence, the smallest of four probabilities, would count values that training never
    looked at.
    """
    table: NDArray[np.float32] = np.zeros((len(policy.document.vocabulary), sum(policy.space.widths)), dtype=np.float32)
    for token, name in enumerate(policy.document.vocabulary):
        if name.startswith(JOB_TYPE_PREFIX):
            masks = policy.space.masks(name.removeprefix(JOB_TYPE_PREFIX).removesuffix("]"))
            table[token, ~np.concatenate(masks)] = FORBIDDEN
    return table


def _kernel_length(settings: TokenSettings) -> int:
    """The fixed length of a kernel's bundle: what lies behind it the policy did not see in training either."""
    return min(KERNEL_SEQUENCE, settings.seq_len)


class _Logits(nn.Module):
    """A policy without its masks: named tensors in, logits out."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, list(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.logits(dict(zip(self.names, inputs, strict=True))))


def _trace(policy: LearnedPolicy, path: Path, metadata: Mapping[str, str]) -> None:
    """The ONNX model of a policy that reads features, as torch's exporter traces it; any batch size."""
    names, document = input_names(policy.reads), policy.document
    # Two rows: a size that is not exported as a constant.
    example = (
        torch.zeros(2, len(document.context_features)),
        torch.zeros(2, document.n_similar, len(document.run_features)),
        torch.ones(2, document.n_similar),
    )
    batch = torch.export.Dim("batch", min=1, max=4096)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(policy.model, names).eval(),
            example,
            str(path),
            dynamo=True,
            verbose=False,
            input_names=list(names),
            output_names=_output_names(policy),
            dynamic_shapes={"inputs": tuple({0: batch} for _ in names)},
            external_data=False,
        )
    _replace_origins(path, metadata)


def _replace_origins(path: Path, metadata: Mapping[str, str]) -> None:
    """Take out of a model the call stacks that torch's exporter notes at each node: they name paths of this machine.

    What the model says of itself is ``metadata``.
    """
    model = onnx.load(path)
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _check_contexts(dataset: Dataset) -> list[dict[str, Any]]:
    contexts = [context for name in ("test", "val", "train") for context in dataset.splits[name].contexts()]
    if not contexts:
        raise DatasetError(f"{dataset.path}: no contexts to check the bundle on")
    return contexts[:CHECK_CONTEXTS]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: to share operations this small with others costs more than they take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compare(policy: LearnedPolicy, bundle: Bundle, contexts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Largest difference of the logits and number of differing decisions; ExportError when either is too large.

    Logits are compared as log-probabilities times the head's temperature: a shift of all of them means nothing.
    Contexts that offer another action space than the bundle's are left out: for them it never decides.
    """
    document = policy.document
    decided = [context for context in contexts if bundle.same_space(context)]
    inputs = inputs_of_contexts(
        decided, policy.space, document.vocabulary, document.dataset_n_similar, document.token_profile
    )
    difference, disagreements = 0.0, 0
    for i, context in enumerate(decided):
        # One at a time: a small batch stays in the cache, and takes a fraction of its share of a large one.
        wanted = [head[0] for head in policy.head_log_probs(inputs.take(np.array([i])))]
        action, _, found = bundle.choose(bundle.logits(context), context["job_type"])
        for torch_head, onnx_head, temperature in zip(wanted, found, bundle.temperatures, strict=True):
            possible = ~np.isneginf(torch_head)
            # Normalised again: a kernel's bundle masks nothing where it does not know the job type.
            gap = temperature * np.abs(torch_head[possible] - scale(onnx_head[possible], 1.0)).max()
            difference = float(np.maximum(difference, gap))  # which keeps a NaN, as max() would not
        disagreements += action != policy.space.decode(wanted, context["job_type"])
    if not decided:
        raise ExportError("no context of the dataset offers the policy's whole action space: it would never decide")
    if not difference <= MAX_DIFFERENCE or disagreements:
        raise ExportError(
            f"the ONNX model differs from torch: by {difference:.2g} in its logits (at most {MAX_DIFFERENCE:g}) "
            f"and in {disagreements} of {len(decided)} decisions; nothing was written"
        )
    return {"contexts": len(decided), "max_difference": difference, "disagreements": disagreements}


def bundle_metadata(policy: LearnedPolicy) -> dict[str, Any]:
    """metadata.json as far as it follows from the policy."""
    document, settings = policy.document, policy.model.settings
    tokens = settings if isinstance(settings, TokenSettings) else None
    seq_len = tokens and (_kernel_length(tokens) if document.token_profile == "kernel" else tokens.seq_len)
    return {
        "schema_version": "cyntra.planner_bundle.v1",
        "token_profile": document.token_profile,
        "context_builder": document.context_builder,
        "reads": policy.reads,
        "outputs": list(policy.outputs),
        "class_path": document.class_path,
        "model_source": document.source and document.source.model_dump(),
        "model": document.model,
        "n_similar": document.n_similar,
        "tokens_per_run": tokens and tokens.tokens_per_run,
        "seq_len": seq_len,
        "checkpoint_id": f"{policy.name}-{document.dataset_hash[:12]}-e{document.epoch}",
        "dataset_hash": document.dataset_hash,
        "kernel_config": decisive_part(document.kernel_config),
        "minute_seconds": document.minute_seconds,
        "trained_with": document.tool_versions,
        "exported_with": tool_versions(),
    }


def _provenance(run: Path, policy: LearnedPolicy, dataset: Dataset) -> dict[str, Any]:
    """What the run knows besides its checkpoint; a checkpoint taken out of its run has no settings and no metrics."""
    is_run = (run / "run.json").exists()
    lines = (run / "metrics.jsonl").read_bytes().splitlines() if is_run else []
    return {
        "splits": {name: split.model_dump() for name, split in dataset.info.splits.items()},
        "settings": read_run(run).config if is_run else None,
        "metrics": next((m for m in map(orjson.loads, lines) if m["epoch"] == policy.document.epoch), None),
        "git_commit": own_commit(),
    }


def _calibration(policy: LearnedPolicy) -> dict[str, Any]:
    if policy.calibration is None:
        return {"temperatures": dict.fromkeys(policy.outputs, 1.0), "threshold": 0.0, "calibrated": False}
    return {**policy.calibration.model_dump(), "calibrated": True}


def _write(path: Path, document: Any) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
