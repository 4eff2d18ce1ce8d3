"""A bundle decides: planner_input.v1 in, planner_action.v1 and executed_plan.v1 out. numpy and onnxruntime, no torch.

It never raises on bad input: it falls back to the universe's default swarm with today's rule's budgets, and says why.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import orjson
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace
from planner.contracts import PlannerInput, input_hash, validate
from planner.dataset.encode import Encoded, encode_contexts
from planner.dataset.tokens import UNK
from planner.errors import PlannerError
from planner.evaluation.calibration import scale
from planner.models.heuristic import SERIAL, HeuristicPolicy, nearest_valid

Mode = Literal["off", "log", "enforce"]
EPOCH_START = "1970-01-01T00:00:00Z"
"""created_at of an action for an input that does not tell its own."""


class BundleError(PlannerError):
    """A bundle cannot be loaded."""


@dataclass(frozen=True)
class Caps:
    """Hard limits that no decision may exceed; None is no limit."""

    max_candidates: int | None = None
    max_minutes: int | None = None
    max_iterations: int | None = None


@dataclass(frozen=True)
class Decision:
    """The policy's planner_action.v1, and the executed_plan.v1 that follows from it after caps and fallbacks."""

    planner_action: dict[str, Any]
    executed_plan: dict[str, Any]


class Bundle:
    """A loaded bundle; loading costs some 100 ms, deciding a few, so keep it."""

    def __init__(self, path: Path) -> None:
        """Raises BundleError when a file is missing or broken."""
        try:
            self.metadata = orjson.loads((path / "metadata.json").read_bytes())
            self.space = ActionSpace.from_document(
                orjson.loads((path / "action_space.json").read_bytes()), str(path / "action_space.json")
            )
            calibration = orjson.loads((path / "calibration.json").read_bytes())
            self.temperatures = [float(calibration["temperatures"][head]) for head in HEADS]
            self.threshold = float(calibration["threshold"])
            tokens = orjson.loads((path / "vocab.json").read_bytes())["tokens"]
            self._ids = {token: i for i, token in enumerate(tokens)}
            self._unknown = self._ids[UNK]
            self._reads = self.metadata["reads"]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                str(path / "planner.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except PlannerError:
            raise
        except Exception as error:
            # onnxruntime has no common base of its errors; whatever it is, the bundle cannot be used.
            raise BundleError(f"{path}: {type(error).__name__}: {str(error).splitlines()[0]}") from None

    def logits(self, context: Mapping[str, Any]) -> list[NDArray[np.float64]]:
        """Four arrays (width,), before temperatures and masks."""
        encoded = encode_contexts([context], self.metadata["n_similar"])
        feeds = self._token_feeds(encoded) if self._reads == "tokens" else self._feature_feeds(encoded)
        return [np.asarray(head[0], dtype=np.float64) for head in self._session.run(None, feeds)]

    def decode(self, context: Mapping[str, Any]) -> tuple[Action, float, list[NDArray[np.float64]]]:
        """The best valid action, its joint probability among the valid ones, and each head's probabilities.

        The caller has checked that the context's action space is the bundle's.
        """
        job_type = context["job_type"]
        masks = self.space.masks(job_type)
        heads = [
            scale(np.where(mask, logits, -np.inf), temperature)
            for logits, mask, temperature in zip(self.logits(context), masks, self.temperatures, strict=True)
        ]
        joint = self.space.joint_log_probs(heads, job_type)
        best = int(joint.argmax())
        return self.space.valid_actions(job_type)[best], float(np.exp(joint[best])), [np.exp(head) for head in heads]

    def same_space(self, context: Mapping[str, Any]) -> bool:
        """Whether the context offers the bundle's swarms and bins, by name; their order does not matter."""
        offered = context["action_space"]
        return all(set(offered[f"{head}s"]) == set(self.space.bins(head)) for head in HEADS[1:]) and set(
            offered["swarm_ids"]
        ) == set(self.space.swarm_ids)

    def _token_feeds(self, encoded: Encoded) -> dict[str, NDArray[Any]]:
        bounds, budget = encoded.segments[0], self.metadata["tokens_per_run"]
        ids = np.array([self._ids.get(token, self._unknown) for token in encoded.strings])[encoded.tokens]
        runs = [ids[start : min(end, start + budget)] for start, end in itertools.pairwise(bounds[1:])]
        row = np.concatenate([ids[bounds[0] : bounds[1]], *runs])[: self.metadata["seq_len"]]
        return {"input_ids": row[None], "attention_mask": np.ones((1, len(row)), dtype=np.int64)}

    def _feature_feeds(self, encoded: Encoded) -> dict[str, NDArray[Any]]:
        return {
            "context_features": encoded.context_features,
            "run_features": encoded.run_features,
            "runs_present": (np.diff(encoded.segments)[:, 1:] > 0).astype(np.float32),
        }


def load_bundle(path: Path) -> Bundle | BundleError:
    """The bundle at ``path``, or the error that tells why there is none: :func:`decide` takes either."""
    try:
        return Bundle(path)
    except PlannerError as error:
        return error if isinstance(error, BundleError) else BundleError(str(error))


def decide(
    planner_input: Any,
    bundle: Bundle | BundleError,
    *,
    mode: Mode = "enforce",
    caps: Caps = Caps(),
    kernel_config: Mapping[str, Any] | None = None,
) -> Decision:
    """What to run for a planner_input.v1. Never raises on bad input.

    On a fallback the planner_action keeps the prediction, if there is one, and the executed_plan is the default with
    ``fallback_reason``: mode_off, log_only, invalid_input, bundle_load_failed, action_space_mismatch, low_confidence,
    max_candidates_exceeds_cap, timeout_exceeds_cap, max_iterations_exceeds_cap. ``kernel_config`` is today's rule's;
    by default the one of the repo that the bundle was trained on.
    """
    if kernel_config is None:
        kernel_config = bundle.metadata["kernel_config"] if isinstance(bundle, Bundle) else {}
    try:
        context = validate(PlannerInput, planner_input, "planner_input").model_dump(exclude_unset=True)
        default = default_action(context, kernel_config)
    except PlannerError as error:
        return _fallback(None, None, Action(SERIAL, 1, 60, "NA"), f"invalid_input: {error}", caps)
    if mode == "off":
        return _fallback(context, None, default, "mode_off", caps)
    if isinstance(bundle, BundleError):
        return _fallback(context, None, default, f"bundle_load_failed: {bundle}", caps)
    if not bundle.same_space(context):
        return _fallback(context, None, default, "action_space_mismatch", caps)
    action, confidence, probs = bundle.decode(context)
    reason = "log_only" if mode == "log" else _objection(action, confidence, bundle.threshold, caps)
    prediction = {
        "probs": {head: [round(float(p), 6) for p in values] for head, values in zip(HEADS, probs, strict=True)},
        "confidence": min(1.0, confidence),
        "model": {"checkpoint_id": bundle.metadata["checkpoint_id"]},
        "action": action,
    }
    if reason is not None:
        return _fallback(context, prediction, default, reason, caps)
    return Decision(_action_document(context, action, prediction, None), _plan(action, None))


def default_action(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> Action:
    """The universe's default swarm with the budgets that today's rule would give, moved to the nearest valid action."""
    ruled = HeuristicPolicy(kernel_config).decide(context)
    swarm = context["universe_defaults"]["swarm_id"] or ruled.swarm_id
    space = ActionSpace.from_document(context["action_space"])
    return nearest_valid(ruled._replace(swarm_id=swarm), space, context["job_type"])


def _objection(action: Action, confidence: float, threshold: float, caps: Caps) -> str | None:
    if confidence < threshold:
        return "low_confidence"
    limits = (
        ("max_candidates_exceeds_cap", action.max_candidates_bin, caps.max_candidates),
        ("timeout_exceeds_cap", action.max_minutes_bin, caps.max_minutes),
        ("max_iterations_exceeds_cap", action.max_iterations_bin, caps.max_iterations),
    )
    return next((reason for reason, value, cap in limits if cap is not None and value != "NA" and value > cap), None)


def _fallback(
    context: Mapping[str, Any] | None, prediction: dict[str, Any] | None, default: Action, reason: str, caps: Caps
) -> Decision:
    capped = Action(
        default.swarm_id,
        *(
            value if cap is None or value == "NA" else min(value, cap)
            for value, cap in zip(
                default[1:], (caps.max_candidates, caps.max_minutes, caps.max_iterations), strict=True
            )
        ),
    )
    shown = prediction["action"] if prediction else default
    return Decision(_action_document(context, shown, prediction, reason), _plan(capped, reason))


def _action_document(
    context: Mapping[str, Any] | None, action: Action, prediction: dict[str, Any] | None, reason: str | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": context["created_at"] if context else EPOCH_START,
        "swarm_id": action.swarm_id,
        "budgets": dict(zip(HEADS[1:], action[1:], strict=True)),
        "abstain_to_default": reason is not None,
        "reason": reason,
    }
    if prediction is not None:
        document |= {key: prediction[key] for key in ("probs", "confidence", "model")}
    if context is not None:
        document["input_hash"] = input_hash(context)
    return document


def _plan(action: Action, reason: str | None) -> dict[str, Any]:
    candidates, minutes, iterations = (None if value == "NA" else value for value in action[1:])
    return {
        "schema_version": "cyntra.executed_plan.v1",
        "swarm_id_executed": action.swarm_id,
        "max_candidates_executed": candidates,
        "timeout_seconds_executed": None if minutes is None else minutes * 60,
        "max_iterations_executed": iterations,
        "fallback_applied": reason is not None,
        "fallback_reason": reason,
    }
