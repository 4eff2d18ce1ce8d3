"""A bundle on disk, loaded: what it learned from, and what it makes of a context. numpy and onnxruntime, no torch."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace
from planner.contracts.kernel import ContextBuilderName, context_builder
from planner.contracts.versions import BUNDLE
from planner.encoding.encode import Encoded
from planner.encoding.profiles import encode
from planner.encoding.tokens import PAD, UNK
from planner.errors import PlannerError
from planner.policies.readings import GAIN_TEMPERATURE
from planner.policies.structural_file import read_decider
from planner.scoring.calibration import scale

MAX_REASON_LENGTH = 500


class BundleError(PlannerError):
    """A bundle cannot be loaded."""


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
            raise BundleError(f"{path}: {brief(error)}") from None

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


def brief(error: Exception) -> str:
    """An error in one line; ours say what is wrong by themselves."""
    text = (str(error).splitlines() or [""])[0][:MAX_REASON_LENGTH]
    return text if isinstance(error, PlannerError) else f"{type(error).__name__}: {text}"
