"""A structural run as a bundle: numbers that numpy reads, checked against the fitted policy before it counts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from planner.bundle import Bundle
from planner.dataset.storage import load_dataset
from planner.errors import DatasetError, ExportError
from planner.export.model_card import write_model_card
from planner.files import staged_directory
from planner.places import Place, place_of
from planner.policies.structural import MODES
from planner.policies.structural_file import StructuralDecider, write_decider
from planner.policies.trial_plans import plans_of_space
from planner.policies.trial_policy import TrialPolicy
from planner.provenance import tool_versions
from planner.runs.checkpoint import read_run
from planner.runs.fitted import FittedPolicy

CHECK_CONTEXTS = 64
MAX_DIFFERENCE = 1e-9
UNCALIBRATED: dict[str, Any] = {"temperatures": {"joint": 1.0}, "threshold": 0.0, "calibrated": False}


def export_structural(run: Path, out: Path, dataset_path: Place | None = None) -> dict[str, Any]:
    """Write the run's policy as a bundle to ``out`` and return its metadata.

    ExportError for another policy than the structural model alone (a forest needs scikit-learn to decide), and when
    the bundle does not decide as the policy does: then nothing is written.
    """
    fitted = FittedPolicy.load(run)
    if fitted.policy.values.members != ("structural",):
        raise ExportError(f"{run}: {fitted.name!r} needs scikit-learn to decide: train --arch structural for a bundle")
    if out.exists() and any(out.iterdir()) and not (out / "metadata.json").exists():
        raise ExportError(f"{out} holds other files than a bundle: give an empty or new directory as --out")
    dataset = load_dataset(dataset_path or place_of(read_run(run).dataset))
    contexts = [context for name in ("test", "val", "train") for context in dataset.splits[name].contexts()]
    if not contexts:
        raise DatasetError(f"{dataset.path}: no contexts to check the bundle on")
    with staged_directory(out) as staging:
        metadata = _metadata(fitted)
        write_structural(staging, fitted.policy, metadata)
        metadata["check"] = _compare(fitted, Bundle(staging), contexts[:CHECK_CONTEXTS])
        _write(staging / "metadata.json", metadata)
        write_model_card(staging, run, metadata, UNCALIBRATED, dataset.info)
    return metadata


def write_structural(directory: Path, policy: TrialPolicy, metadata: dict[str, Any]) -> None:
    """All files of a bundle, unchecked."""
    write_decider(directory, _decider(policy))
    _write(directory / "action_space.json", policy.space.to_document())
    _write(directory / "calibration.json", UNCALIBRATED)
    _write(directory / "metadata.json", metadata)


def _decider(policy: TrialPolicy) -> StructuralDecider:
    values, reading = policy.values, policy.reading
    gates = values.judged.gates(reading)
    config = dict(policy.kernel_config)
    return StructuralDecider(
        model=values.structural,
        plans=tuple(plans_of_space(policy.space, config)),
        kernel_config=config,
        metrics=policy.metrics,
        is_open={mode: gates[mode].open for mode in MODES},
        keeps_rule=values.judged.keeps_rule,
        fixed=values.judged.fixed_scores(reading),
        label_shares=policy.label_shares,
    )


def _compare(fitted: FittedPolicy, bundle: Bundle, contexts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    decided = [context for context in contexts if bundle.same_space(context)]
    if not decided:
        raise ExportError("no context of the dataset offers the policy's whole action space: it would never decide")
    difference, disagreements = 0.0, 0
    for context in decided:
        job_type = context["job_type"]
        wanted = fitted.space.joint_log_probs(fitted.log_probs_of([context]), job_type)[0]
        action, _, heads = bundle.choose(bundle.logits(context), job_type)
        found = bundle.space.joint_log_probs(heads, job_type)
        possible = np.isfinite(wanted)
        difference = float(np.maximum(difference, np.abs(wanted[possible] - found[possible]).max()))
        disagreements += action != fitted.space.valid_actions(job_type)[int(wanted.argmax())]
    if not difference <= MAX_DIFFERENCE or disagreements:
        raise ExportError(
            f"the bundle differs from the fitted policy: by {difference:.2g} (at most {MAX_DIFFERENCE:g}) and in "
            f"{disagreements} of {len(decided)} decisions; nothing was written"
        )
    return {"contexts": len(decided), "max_difference": difference, "disagreements": disagreements}


def _metadata(fitted: FittedPolicy) -> dict[str, Any]:
    document = fitted.document
    return {
        "schema_version": "cyntra.planner_bundle.v1",
        "token_profile": document.token_profile,
        "context_builder": document.context_builder,
        "reads": "trials",
        "outputs": list(fitted.outputs),
        "class_path": document.class_path,
        "model": document.model,
        "n_similar": document.n_similar,
        "tokens_per_run": None,
        "seq_len": None,
        "checkpoint_id": f"{fitted.name}-{document.dataset_hash[:12]}",
        "dataset_hash": document.dataset_hash,
        "kernel_config": document.kernel_config,
        "minute_seconds": document.minute_seconds,
        "trained_with": document.tool_versions,
        "exported_with": tool_versions(),
    }


def _write(path: Path, document: Any) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
