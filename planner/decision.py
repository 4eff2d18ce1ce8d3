"""A bundle decides: planner_input.v1 in, planner_action.v1 and executed_plan.v1 out. numpy and onnxruntime, no torch.

It never raises on bad input: it falls back to the universe's default swarm with today's rule's budgets, and says why.
A bundle for Cyntra's own planner is answered as the kernel would: it can only reduce what today's rule runs anyway.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime
import orjson
from numpy.typing import NDArray

from planner.actions import FALLBACK, HEADS, Action, ActionSpace, action_document, executed_plan
from planner.artifacts.lenient import section
from planner.artifacts.versions import UnknownKeys, read
from planner.contracts.document import timestamp_to_ms
from planner.contracts.kernel import ContextBuilderName, PlannerInput, context_builder, input_hash
from planner.contracts.versions import BUNDLE
from planner.dimensions import DIMENSIONS, Dimension
from planner.encoding.encode import Encoded
from planner.encoding.profiles import encode
from planner.encoding.tokens import PAD, UNK
from planner.errors import ConfigError, ContractError, PlannerError
from planner.policies.heuristic import HeuristicPolicy, RulePlan, issue_of_context, nearest_valid
from planner.policies.readings import GAIN_TEMPERATURE
from planner.policies.structural_file import read_decider
from planner.scoring.calibration import scale

Mode = Literal["off", "log", "enforce"]
KERNEL_THRESHOLD = 0.2
"""The confidence below which kernel 0.1.0 falls back, where its config does not say otherwise."""
MAX_ANSWER_BYTES, MAX_NAME_LENGTH, MAX_REASON_LENGTH = 60_000, 256, 500
EPOCH_START = "1970-01-01T00:00:00Z"
"""created_at of an action for an input without one of its own."""


class BundleError(PlannerError):
    """A bundle cannot be loaded."""


@dataclass(frozen=True)
class Caps:
    """Hard limits that no decision may exceed; None is no limit. ConfigError for one below 1."""

    max_candidates: int | None = None
    max_minutes: int | None = None
    max_iterations: int | None = None

    def __post_init__(self) -> None:
        for name, cap in vars(self).items():
            if cap is not None and cap < 1:
                raise ConfigError(f"{name} {cap}: a cap is 1 or more; leave it out for no cap")


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


class Bundle:
    """A loaded bundle; loading costs some 100 ms, deciding a few, so keep it."""

    def __init__(self, path: Path) -> None:
        """Raises BundleError when a file is missing or broken."""
        try:
            self.metadata = BUNDLE.upgraded(
                orjson.loads((path / "metadata.json").read_bytes()), str(path / "metadata.json")
            )
            self.space = ActionSpace.from_document(
                orjson.loads((path / "action_space.json").read_bytes()), str(path / "action_space.json")
            )
            calibration = orjson.loads((path / "calibration.json").read_bytes())
            self.temperatures = [float(calibration["temperatures"][head]) for head in self.metadata["outputs"]]
            self.threshold = float(calibration["threshold"])
            self._reads = self.metadata["reads"]
            self.context_builder: ContextBuilderName | None = self.metadata.get("context_builder")
            self.for_kernel = self.metadata["token_profile"] == "kernel" and self._reads != "trials"
            self.checkpoint_id = str(self.metadata["checkpoint_id"])
            self.kernel_config = dict(self.metadata["kernel_config"])
            if self._reads == "trials":
                self._decider = read_decider(path, self.space, self.kernel_config)
                return
            tokens = orjson.loads((path / "vocab.json").read_bytes())["tokens"]
            self._ids = {token: i for i, token in enumerate(tokens)}
            self._unknown = self._ids[UNK]
            self._pad = self._ids[PAD]
            self._n_similar = int(self.metadata["n_similar"])
            self._tokens_per_run, self._seq_len = self.metadata["tokens_per_run"], self.metadata["seq_len"]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                str(path / "planner.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except PlannerError:
            raise
        except Exception as error:
            # onnxruntime has no common base of its errors; whatever it is, the bundle cannot be used.
            raise BundleError(f"{path}: {_brief(error)}") from None

    def logits(self, context: Mapping[str, Any]) -> list[NDArray[np.float64]]:
        """Four arrays (width,), or of a joint head one (n_tuples,), before temperatures and masks."""
        if self._reads == "trials":
            found = np.full(len(self.space.tuples), -np.inf)
            columns = self.space.tuple_rows(self.space.valid_indices(context["job_type"]))
            found[columns] = self._decider.scores(context, self.space) / GAIN_TEMPERATURE
            return [found]
        return [np.asarray(head[0], dtype=np.float64) for head in self._session.run(None, self.feeds(context))]

    def feeds(self, context: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """The ONNX model's inputs, a batch of one."""
        encoded = encode([context], self._n_similar, self.metadata["token_profile"])
        return self._token_feeds(encoded) if self._reads == "tokens" else self._feature_feeds(encoded)

    def choose(
        self, logits: Sequence[NDArray[np.float64]], job_type: str
    ) -> tuple[Action, float, list[NDArray[np.float64]]]:
        """The best valid action, how sure the policy is of it, and the log-probabilities of its four heads or one.

        Confidence is the action's joint probability among the valid ones; in a kernel's bundle, as in the kernel, the
        smallest of its four probabilities.
        """
        if not self.for_kernel:  # the kernel masks nothing: its bundle's logits hold what masks there can be
            masks = self._masks(job_type)
            logits = [np.where(mask, head, -np.inf) for mask, head in zip(masks, logits, strict=True)]
        heads = [scale(head, temperature) for head, temperature in zip(logits, self.temperatures, strict=True)]
        joint = self.space.joint_log_probs(heads, job_type)
        best = int(joint.argmax())
        confidence = float(np.exp(joint[best]))
        if not np.isfinite(confidence):
            raise BundleError("the model's output is not finite: train again, or take an earlier checkpoint")
        if self.for_kernel:
            positions = self.space.valid_indices(job_type)[best]
            confidence = float(np.exp(min(head[i] for head, i in zip(heads, positions, strict=True))))
        return self.space.valid_actions(job_type)[best], confidence, heads

    def _masks(self, job_type: str) -> Sequence[NDArray[np.bool_]]:
        """What each output may say for a job of this type."""
        if self.metadata["outputs"] != ["joint"]:
            return self.space.masks(job_type)
        return [np.isin(np.arange(len(self.space.tuples)), self.space.tuple_rows(self.space.valid_indices(job_type)))]

    def same_space(self, context: Mapping[str, Any]) -> bool:
        """Whether the context offers the bundle's swarms and bins, by name, and the same valid actions of them.

        Their order does not matter.
        """
        offered, job_type = ActionSpace.from_document(context["action_space"]), context["job_type"]
        same_values = all(set(offered.bins(head)) == set(self.space.bins(head)) for head in HEADS)
        return same_values and set(offered.valid_actions(job_type)) == set(self.space.valid_actions(job_type))

    def refuses(self, context: Mapping[str, Any]) -> str | None:
        """Why contexts such as this one are not what the bundle learned from; None when they are.

        A bundle of an earlier program does not know which it learned from.
        """
        found = context_builder(context)
        if self.context_builder in (None, found):
            return None
        if found == "kernel":
            return (
                "the bundle learned from contexts that the planner builds, and this is one of the kernel's: ask with "
                "`planner decide BUNDLE --repo REPO --issue ID`"
            )
        return (
            "the bundle learned from contexts that the kernel builds, and this is one of the planner's: let the kernel "
            "load it"
        )

    def _token_feeds(self, encoded: Encoded) -> dict[str, NDArray[Any]]:
        bounds, budget = encoded.segments[0], self._tokens_per_run
        ids = np.array([self._ids.get(token, self._unknown) for token in encoded.strings])[encoded.tokens]
        runs = [ids[start : min(end, start + budget)] for start, end in itertools.pairwise(bounds[1:])]
        row = np.concatenate([ids[bounds[0] : bounds[1]], *runs])[: self._seq_len]
        mask: NDArray[np.int64] = np.ones(len(row), dtype=np.int64)
        if self.for_kernel:
            padding = (0, self._seq_len - len(row))
            row, mask = np.pad(row, padding, constant_values=self._pad), np.pad(mask, padding)
        return {"input_ids": row[None], "attention_mask": mask[None]}

    def _feature_feeds(self, encoded: Encoded) -> dict[str, NDArray[Any]]:
        return {
            "context_features": encoded.context_features,
            "run_features": encoded.run_features,
            "runs_present": (np.diff(encoded.segments)[:, 1:] > 0).astype(np.float32),
        }


def load_bundle(path: Path) -> Bundle | BundleError:
    """The bundle at ``path``, or the error that says why there is none: :func:`decide` takes either."""
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
        return _fallback(None, None, FALLBACK, f"invalid_input: {_brief(error)}", caps)
    if mode == "off":
        return _fallback(question, None, default, "mode_off", caps)
    if isinstance(bundle, BundleError):
        return _fallback(question, None, default, f"bundle_load_failed: {_brief(bundle)}", caps)
    try:
        if (refusal := bundle.refuses(context)) is not None:
            return _fallback(question, None, default, f"context_builder_mismatch: {refusal}", caps)
        if not bundle.same_space(context):
            return _fallback(question, None, default, "action_space_mismatch", caps)
        action, confidence, outputs = bundle.choose(bundle.logits(context), context["job_type"])
    except Exception as error:  # onnxruntime's errors have no common base
        return _fallback(question, None, default, f"inference_failed: {_brief(error)}", caps)
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


def _brief(error: Exception) -> str:
    """An error in one line; ours say what is wrong by themselves."""
    text = (str(error).splitlines() or [""])[0][:MAX_REASON_LENGTH]
    return text if isinstance(error, PlannerError) else f"{type(error).__name__}: {text}"


def default_action(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> Action:
    """The universe's default swarm with the budgets that today's rule would give, moved to the nearest valid action."""
    ruled = HeuristicPolicy(kernel_config).decide(context)
    swarm = context["universe_defaults"]["swarm_id"] or ruled.swarm_id
    space = ActionSpace.from_document(context["action_space"])
    return nearest_valid(ruled._replace(swarm_id=swarm), space, context["job_type"])


def objection(action: Action, confidence: float, threshold: float, caps: Caps) -> str | None:
    """Why a decision is not to be followed, as a fallback_reason; None when nothing speaks against it."""
    if confidence < threshold:
        return "low_confidence"
    for dimension, value, cap in _capped(caps, action):
        if cap is not None and value != "NA" and value > cap:
            return dimension.objection
    return None


def within(
    caps: Caps, action: Action, context: Mapping[str, Any] | None = None, default: Action | None = None
) -> Action:
    """The action with each budget cut at its cap.

    "NA" leaves a budget to Cyntra's default, which the cap binds as well: it becomes the cap, unless today's rule's
    plan, ``default``, keeps to the cap by itself, or the context's rules admit nothing else for such a job.
    """
    values = []
    for dimension, value, cap in _capped(caps, action):
        usual = None if default is None else getattr(default, dimension.name)
        kept = cap is None or (isinstance(usual, int) and usual <= cap)
        if value != "NA":
            values.append(value if cap is None else min(value, cap))
        elif kept or not _takes_numbers(context, action.swarm_id, dimension):
            values.append(value)
        else:
            values.append(cap)
    return Action(*values)


def _takes_numbers(context: Mapping[str, Any] | None, swarm_id: str, dimension: Dimension) -> bool:
    """Whether a budget of this swarm can be a number at all; without a context, whether it is one by default."""
    if context is None:
        return dimension.fallback != "NA"
    valid = ActionSpace.from_document(context["action_space"]).valid_actions(context["job_type"])
    return any(getattr(action, dimension.name) != "NA" for action in valid if action.swarm_id == swarm_id)


def _capped(caps: Caps, action: Action) -> list[tuple[Dimension, Any, int | None]]:
    """Each dimension with the action's value and the cap on it."""
    return [
        (dimension, value, getattr(caps, dimension.cap) if dimension.cap else None)
        for dimension, value in zip(DIMENSIONS, action, strict=True)
    ]


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
