"""A bundle decides: planner_input.v1 in, planner_action.v1 and executed_plan.v1 out. numpy and onnxruntime, no torch.

It never raises on bad input: it falls back to the universe's default swarm with today's rule's budgets, and says why.
A bundle for Cyntra's own planner is answered as the kernel would: it can only reduce what today's rule runs anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from planner.actions import FALLBACK, HEADS, Action, ActionSpace, action_document, executed_plan
from planner.artifacts.lenient import section
from planner.artifacts.versions import UnknownKeys, read
from planner.bundle import Bundle, BundleError, brief
from planner.caps import Caps, objection, within
from planner.contracts.document import timestamp_to_ms
from planner.contracts.kernel import PlannerInput, input_hash
from planner.errors import ContractError
from planner.policies.heuristic import HeuristicPolicy, RulePlan, issue_of_context, nearest_valid

Mode = Literal["off", "log", "enforce"]
KERNEL_THRESHOLD = 0.2
"""The confidence below which kernel 0.1.0 falls back, where its config does not say otherwise."""
MAX_ANSWER_BYTES, MAX_NAME_LENGTH = 60_000, 256
EPOCH_START = "1970-01-01T00:00:00Z"
"""created_at of an action for an input without one of its own."""


@dataclass(frozen=True)
class Decision:
    """The policy's planner_action.v1, and the executed_plan.v1 that follows from it after caps and fallbacks."""

    planner_action: dict[str, Any]
    executed_plan: dict[str, Any]
    unknown_keys: UnknownKeys = field(default_factory=UnknownKeys)
    """Keys of the planner_input that no contract names; they were no obstacle."""

    @property
    def answer(self) -> dict[str, Any]:
        """What a caller in another process is given."""
        return {"planner_action": self.planner_action, "executed_plan": self.executed_plan}


def decide(
    planner_input: Any,
    bundle: Bundle | BundleError,
    *,
    mode: Mode = "enforce",
    caps: Caps = Caps(),
    kernel_config: Mapping[str, Any] | None = None,
    rule_plan: RulePlan | None = None,
) -> Decision:
    """What to run for a planner_input.v1. Never raises on bad input.

    On a fallback the planner_action keeps the prediction, if there is one, and the executed_plan is the default with
    ``fallback_reason``: mode_off, log_only, invalid_input, bundle_load_failed, context_builder_mismatch,
    action_space_mismatch, inference_failed, low_confidence, max_candidates_exceeds_cap, timeout_exceeds_cap,
    max_iterations_exceeds_cap. ``kernel_config`` is today's rule's; by default the one of the repo that the bundle was
    trained on.

    With a bundle for the kernel's own planner the executed_plan is what the kernel itself would run: today's rule's
    plan, where the decision is within it with its budgets reduced, else as it is, with swarm_mismatch or one of the
    reasons above. ``rule_plan`` is that plan; by default it is what the rule makes of the context alone.
    """
    if kernel_config is None:
        kernel_config = bundle.kernel_config if isinstance(bundle, Bundle) else {}
    try:
        context, question = _checked(planner_input)
        default = default_action(context, kernel_config)
    except Exception as error:  # whatever a caller hands in is answered
        return _fallback(None, None, FALLBACK, f"invalid_input: {brief(error)}", caps)
    if mode == "off":
        return _fallback(question, None, default, "mode_off", caps)
    if isinstance(bundle, BundleError):
        return _fallback(question, None, default, f"bundle_load_failed: {brief(bundle)}", caps)
    try:
        if (refusal := bundle.refuses(context)) is not None:
            return _fallback(question, None, default, f"context_builder_mismatch: {refusal}", caps)
        if not bundle.same_space(context):
            return _fallback(question, None, default, "action_space_mismatch", caps)
        action, confidence, outputs = bundle.choose(bundle.logits(context), context["job_type"])
    except Exception as error:  # onnxruntime's errors have no common base
        return _fallback(question, None, default, f"inference_failed: {brief(error)}", caps)
    reason = "log_only" if mode == "log" else objection(action, confidence, bundle.threshold, caps)
    if bundle.for_kernel:
        ruled = rule_plan or plan_in_context(context, kernel_config)
        reason = "log_only" if mode == "log" else kernel_objection(action, confidence, kernel_config, ruled, caps)
    heads = outputs if len(outputs) > 1 else bundle.space.marginals(outputs[0])
    prediction = {
        "probs": {name: np.exp(head).round(6).tolist() for name, head in zip(HEADS, heads, strict=True)},
        "confidence": min(1.0, confidence),
        "model": {"checkpoint_id": bundle.checkpoint_id},
        "action": action,
    }
    if bundle.for_kernel:
        document = _action_document(question, action, prediction, reason)
        return _bounded(document, reduced_plan(ruled, action, reason, caps), question.unknown_keys)
    if reason is not None:
        return _fallback(question, prediction, default, reason, caps)
    document = _action_document(question, action, prediction, None)
    return _bounded(document, executed_plan(within(caps, action, context, default)), question.unknown_keys)


def plan_in_context(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> RulePlan:
    """What today's rule runs for the issue, as far as a context has it."""
    available = (context.get("system_state") or {}).get("available_toolchains")
    return HeuristicPolicy(kernel_config).plan(issue_of_context(context), available)


def kernel_objection(
    action: Action, confidence: float, kernel_config: Mapping[str, Any], ruled: RulePlan, caps: Caps
) -> str | None:
    """Why kernel 0.1.0 would not follow its bundle's decision, as a fallback_reason; None when it would.

    It has a threshold of its own, keeps to the swarm that today's rule chose, and never goes beyond its budgets.
    """
    threshold = section(dict(kernel_config), "planner").get("confidence_threshold", KERNEL_THRESHOLD)
    threshold = float(threshold) if isinstance(threshold, int | float) else KERNEL_THRESHOLD
    found = objection(action, confidence, threshold, caps)
    if found is not None:
        return found
    if action.swarm_id != ruled.swarm_id:
        return "swarm_mismatch"
    return objection(action, 1.0, 0.0, Caps(ruled.candidates, max(1, ruled.timeout_seconds // 60)))


def reduced_plan(ruled: RulePlan, action: Action, reason: str | None, caps: Caps) -> dict[str, Any]:
    """The executed_plan.v1 of today's rule's plan, with the budgets of ``action`` unless there is a reason not to.

    Of iterations the kernel's documents say nothing for an issue that is run. ``caps`` are the caller's: the kernel has
    none, but who asks with caps is not to be answered beyond them.
    """
    n, minutes = action.max_candidates_bin, action.max_minutes_bin
    # It looks at the minutes when it has reduced the candidates already, and leaves it at that.
    fewer = reason in (None, "timeout_exceeds_cap")
    candidates = min(n, ruled.candidates) if fewer and n != "NA" else ruled.candidates
    seconds = 60 * minutes if reason is None and minutes != "NA" else ruled.timeout_seconds
    return {
        **executed_plan(action, reason),
        "swarm_id_executed": ruled.swarm_id,
        "max_candidates_executed": min(candidates, caps.max_candidates or candidates),
        "timeout_seconds_executed": min(seconds, 60 * caps.max_minutes if caps.max_minutes else seconds),
        "max_iterations_executed": None,
    }


def _bounded(document: dict[str, Any], executed: dict[str, Any], unknown_keys: UnknownKeys) -> Decision:
    """The decision, without its probabilities where these would make it longer than MAX_ANSWER_BYTES."""
    if len(orjson.dumps(document)) > MAX_ANSWER_BYTES:
        document.pop("probs", None)
    return Decision(document, executed, unknown_keys)


class _Question(NamedTuple):
    """What an answer repeats or reports of its planner_input."""

    context: Mapping[str, Any]

    created_at: str
    input_hash: str
    unknown_keys: UnknownKeys


def _checked(planner_input: Any) -> tuple[dict[str, Any], _Question]:
    """The document, if it is a planner_input of a known version and of a moment that exists, and what is answered.

    The hash is that of the document as it came, unknown keys included, so that the caller finds it again.
    """
    if isinstance(planner_input, PlannerInput):
        planner_input = planner_input.model_dump(exclude_unset=True)
    context, unknown_keys = read("planner_input", planner_input)
    timestamp_to_ms(context["created_at"])
    names = [context["created_at"], *context["action_space"]["swarm_ids"]]
    longest = max(map(len, names))
    if longest > MAX_NAME_LENGTH:
        raise ContractError("planner_input", "$", f"a timestamp or swarm id of {longest} characters")
    return context, _Question(context, context["created_at"], input_hash(planner_input), unknown_keys)


def default_action(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> Action:
    """The universe's default swarm with the budgets that today's rule would give, moved to the nearest valid action."""
    ruled = HeuristicPolicy(kernel_config).decide(context)
    swarm = context["universe_defaults"]["swarm_id"] or ruled.swarm_id
    space = ActionSpace.from_document(context["action_space"])
    return nearest_valid(ruled._replace(swarm_id=swarm), space, context["job_type"])


def _fallback(
    question: _Question | None, prediction: dict[str, Any] | None, default: Action, reason: str, caps: Caps
) -> Decision:
    document = _action_document(question, prediction["action"] if prediction else default, prediction, reason)
    executed = executed_plan(within(caps, default, question.context if question else None), reason)
    return _bounded(document, executed, question.unknown_keys if question else UnknownKeys())


def _action_document(
    question: _Question | None, action: Action, prediction: dict[str, Any] | None, reason: str | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": question.created_at if question else EPOCH_START,
        **action_document(action),
        "abstain_to_default": reason is not None,
        "reason": reason,
    }
    if prediction is not None:
        document |= {key: prediction[key] for key in ("probs", "confidence", "model")}
    if question is not None:
        document["input_hash"] = question.input_hash
    return document
