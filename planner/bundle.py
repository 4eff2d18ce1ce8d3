"""`planner export`: a trained policy as a directory that decides without torch, checked against torch before it counts.

planner.onnx         four logits by position; inputs input_ids and attention_mask, or the features of an MLP
vocab.json           {"tokens": [...]}
action_space.json    {swarm_ids, max_candidates_bins, max_minutes_bins, max_iterations_bins, validity_rules}
calibration.json     {"temperatures": {head: T}, "threshold": ...}
metadata.json        where the policy comes from, what it reads, and how the check went
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn

from planner.actions import HEADS
from planner.dataset.storage import Dataset, load_dataset, tool_versions
from planner.decide import Bundle
from planner.errors import DatasetError, PlannerError
from planner.files import staged_directory
from planner.models.inputs import inputs_of_contexts
from planner.models.learned import LearnedPolicy
from planner.training.batches import batcher_for
from planner.training.checkpoint import read_run

CHECK_CONTEXTS = 256
MAX_DIFFERENCE = 1e-4
OUTPUTS = tuple(HEADS)


class ExportError(PlannerError):
    """A bundle does not decide as its policy does, and was not written."""


def export_bundle(run: Path, out: Path, *, dataset_path: Path | None = None) -> dict[str, Any]:
    """Write the run's best checkpoint as a bundle to ``out`` and return its metadata.

    The ONNX model is compared with torch on up to 256 contexts of the dataset: logits may differ by 1e-4 and every
    decision must be the same, otherwise ExportError is raised and nothing is written.
    """
    policy = LearnedPolicy(run)
    if policy.outputs != HEADS:
        raise ExportError(
            f"{run}: a bundle holds four heads, this policy has a joint one; train it with action_head four"
        )
    dataset = load_dataset(dataset_path or Path(read_run(run).dataset))
    contexts = _check_contexts(dataset)
    if out.exists() and any(out.iterdir()) and not (out / "metadata.json").exists():
        raise ExportError(f"{out} holds other files than a bundle: give an empty or new directory as --out")
    with staged_directory(out) as staging:
        _export_onnx(policy, staging / "planner.onnx")
        metadata = _metadata(policy, dataset)
        _write(staging / "vocab.json", {"tokens": policy.document.vocabulary})
        _write(staging / "action_space.json", policy.space.to_document())
        _write(staging / "calibration.json", _calibration(policy))
        _write(staging / "metadata.json", metadata)
        metadata["check"] = _compare(policy, Bundle(staging), contexts)
        _write(staging / "metadata.json", metadata)
    return metadata


class _Logits(nn.Module):
    """A policy without its masks: named tensors in, four logits out."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, list(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        batch = dict(zip(self.names, inputs, strict=True))
        if "attention_mask" in batch:
            batch["attention_mask"] = batch["attention_mask"].bool()
        return tuple(self.model.logits(batch))


def input_names(reads: str) -> tuple[str, ...]:
    """The ONNX model's inputs, in order."""
    if reads == "tokens":
        return ("input_ids", "attention_mask")
    return ("context_features", "run_features", "runs_present")


def _export_onnx(policy: LearnedPolicy, path: Path) -> None:
    names = input_names(policy.reads)
    example = _example_inputs(policy)
    batch = torch.export.Dim("batch", min=1, max=4096)
    length = torch.export.Dim("length", min=2, max=8192)
    shapes = tuple({0: batch, 1: length} if policy.reads == "tokens" else {0: batch} for _ in names)
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
            output_names=list(OUTPUTS),
            dynamic_shapes={"inputs": shapes},
            external_data=False,
        )


def _example_inputs(policy: LearnedPolicy) -> tuple[Tensor, ...]:
    """Two contexts of seven tokens, or two rows of features: sizes that are not exported as constants."""
    if policy.reads == "tokens":
        return torch.zeros(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
    document = policy.document
    n = document.n_similar
    return (
        torch.zeros(2, len(document.context_features)),
        torch.zeros(2, n, len(document.run_features)),
        torch.ones(2, n),
    )


def _check_contexts(dataset: Dataset) -> list[dict[str, Any]]:
    contexts = [context for name in ("test", "val", "train") for context in dataset.splits[name].contexts()]
    if not contexts:
        raise DatasetError(f"{dataset.path}: no contexts to check the bundle on")
    return contexts[:CHECK_CONTEXTS]


def _compare(policy: LearnedPolicy, bundle: Bundle, contexts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Largest difference of the logits and number of differing decisions; ExportError when either is too large."""
    document = policy.document
    inputs = inputs_of_contexts(contexts, policy.space, document.vocabulary, document.dataset_n_similar)
    batcher = batcher_for(policy.model, inputs, document.n_similar, torch.device("cpu"))
    difference, disagreements = 0.0, 0
    for i, context in enumerate(contexts):
        with torch.no_grad():
            expected = [head[0].double().numpy() for head in policy.model.logits(batcher.batch(np.array([i])))]
        found = bundle.logits(context)
        difference = max(difference, *(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True)))
        wanted = policy.space.decode([head[0] for head in policy.log_probs_of([context])], context["job_type"])
        disagreements += bundle.decode(context)[0] != wanted
    if difference > MAX_DIFFERENCE or disagreements:
        raise ExportError(
            f"the ONNX model differs from torch: by {difference:.2g} in its logits (at most {MAX_DIFFERENCE:g}) and in "
            f"{disagreements} of {len(contexts)} decisions; nothing was written"
        )
    return {"contexts": len(contexts), "max_difference": difference, "disagreements": disagreements}


def _metadata(policy: LearnedPolicy, dataset: Dataset) -> dict[str, Any]:
    document = policy.document
    return {
        "schema_version": "cyntra.planner_bundle.v1",
        "token_profile": "planner",
        "reads": policy.reads,
        "class_path": document.class_path,
        "model": document.model,
        "n_similar": document.n_similar,
        "tokens_per_run": getattr(policy.model.settings, "tokens_per_run", None),
        "seq_len": getattr(policy.model.settings, "seq_len", None),
        "checkpoint_id": f"{policy.name}-{document.dataset_hash[:12]}-e{document.epoch}",
        "dataset_hash": document.dataset_hash,
        "splits": {name: split.model_dump() for name, split in dataset.info.splits.items()},
        "kernel_config": document.kernel_config,
        "minute_seconds": document.minute_seconds,
        "trained_with": document.tool_versions,
        "exported_with": tool_versions(),
    }


def _calibration(policy: LearnedPolicy) -> dict[str, Any]:
    if policy.calibration is None:
        return {"temperatures": dict.fromkeys(HEADS, 1.0), "threshold": 0.0, "calibrated": False}
    return {**policy.calibration.model_dump(), "calibrated": True}


def _write(path: Path, document: Any) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
