"""A trained policy, loaded from a checkpoint: contexts or arrays in, log-probabilities of its head out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.encoding.inputs import Inputs, inputs_of_contexts
from planner.errors import CheckpointError
from planner.models.base import ModelSpec, NeuralPolicy, Prediction
from planner.models.heads import ValueHead, Values
from planner.models.load import build_model, source_change
from planner.models.trial_head import TrialBeliefs, TrialHead, joined_beliefs
from planner.runs.batches import batcher_for
from planner.runs.checkpoint import (
    FITTED,
    checkpoint_path,
    load_weights,
    read_calibration,
    read_policy,
    read_run,
)
from planner.runs.trial_reading import TrialReading, read_reading
from planner.scoring.calibration import scale

_BATCH = 64
"""Examples in one forward pass."""


@torch.no_grad()
def predict(model: NeuralPolicy, inputs: Inputs, n_similar: int, device: torch.device) -> Prediction:
    """What a model in evaluation mode gives for all contexts, batch by batch."""
    batcher = batcher_for(model, inputs, n_similar, device)
    # One batch at least, so that no context at all gives outputs of length 0.
    starts = range(0, max(len(inputs), 1), _BATCH)
    parts: list[Prediction] = [model(batcher.batch(np.arange(i, min(i + _BATCH, len(inputs))))) for i in starts]
    log_probs = [torch.cat(heads) for heads in zip(*(part.log_probs for part in parts), strict=True)]
    beliefs = [part.trials for part in parts if part.trials is not None]
    if beliefs:
        return Prediction(log_probs, None, joined_beliefs(beliefs))
    values = [part.values for part in parts if part.values is not None]
    if not values:
        return Prediction(log_probs, None)
    joined = torch.cat([v.pass_logits for v in values]), torch.cat([v.log_ms for v in values])
    return Prediction(log_probs, Values(*joined, values[0].log_ms_deviation))


def source_changes(runs: Sequence[Path]) -> list[str]:
    """For each run, or checkpoint, whose model's code is not what it was when it was trained: what has changed."""
    changes = []
    for run in runs:
        if (run / "run.json").exists() and FITTED in read_run(run).config:
            continue  # fitted by today's code whenever it is loaded
        document = read_policy(checkpoint_path(run))
        if (change := source_change(document.class_path, document.source)) is not None:
            changes.append(f"{run}: {change}")
    return changes


class LearnedPolicy:
    """A neural policy in evaluation mode, on the CPU."""

    def __init__(self, path: Path, *, calibrated: bool = True) -> None:
        """Load the checkpoint at ``path``, or the best one of the run at ``path``; CheckpointError if there is none.

        If it has been calibrated (planner.evaluation.calibrate), log-probabilities come with its temperatures.
        """
        self.checkpoint = checkpoint_path(path)
        self.calibration = read_calibration(self.checkpoint) if calibrated else None
        self.document = read_policy(self.checkpoint)
        document = self.document
        self.space = ActionSpace.from_document(document.action_space.model_dump(), str(self.checkpoint))
        spec = ModelSpec(
            self.space, document.vocabulary, document.context_features, document.run_features, document.tools
        )
        self.model = build_model(document.class_path, document.model, spec)
        load_weights(self.checkpoint, self.model)
        self.model.eval()
        self.reads = str(self.model.reads)
        self.name = document.class_path.partition("@")[2]
        self.outputs = self.model.outputs
        """What each array of :meth:`head_log_probs` is about; each has a temperature of its own."""
        self.reading: TrialReading | None = None
        """How actions follow from a trial head; None without one."""
        if isinstance(self.model.heads, TrialHead):
            self.reading = TrialReading(
                self.space, document.tools, document.kernel_config, read_reading(self.checkpoint)
            )

    @property
    def source_change(self) -> str | None:
        """What has changed of the model's code since the checkpoint was written, in a sentence; None: nothing known."""
        return source_change(self.document.class_path, self.document.source)

    def head_log_probs(self, inputs: Inputs) -> list[NDArray[np.float64]]:
        """Four arrays (n, width), or one (n, n_tuples) of a joint head; -inf where a context admits no such value."""
        prediction = self._predict(inputs)
        heads = [head.double().numpy() for head in prediction.log_probs]
        if self.reading is not None and prediction.trials is not None:
            heads = [self.reading.log_probs(prediction.trials, inputs)]
        if self.calibration is None:
            return heads
        temperatures = [self.calibration.temperatures[name] for name in self.outputs]
        return [scale(head, temperature) for head, temperature in zip(heads, temperatures, strict=True)]

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Log-probability of every valid action, (n, n_valid)."""
        return self.space.joint_log_probs(self.head_log_probs(inputs), job_type)

    def values(self, inputs: Inputs) -> Values:
        """What the value head predicts, (n, n_tuples); CheckpointError when the policy has none."""
        self._value_head()
        values = self._predict(inputs).values
        assert values is not None
        return values

    def tried(self) -> NDArray[np.int64]:
        """Outcomes of each of ``space.tuples`` that the value head has learned from, (n_tuples,)."""
        return self._value_head().tried.numpy()

    def _value_head(self) -> ValueHead:
        if self.model.value is None:
            raise CheckpointError(f"{self.checkpoint}: no value head; train it with model.value_head=true")
        return self.model.value

    def _predict(self, inputs: Inputs) -> Prediction:
        return predict(self.model, inputs, self.document.n_similar, torch.device("cpu"))

    def log_probs_of(self, contexts: Sequence[Mapping[str, Any]]) -> list[NDArray[np.float64]]:
        """The same for planner_input.v1 documents."""
        return self.head_log_probs(self._inputs_of(contexts))

    def beliefs_of(self, contexts: Sequence[Mapping[str, Any]]) -> TrialBeliefs:
        """What a trial head believes about planner_input.v1 documents; CheckpointError when the policy has none."""
        beliefs = self._predict(self._inputs_of(contexts)).trials
        if beliefs is None:
            raise CheckpointError(f"{self.checkpoint}: no trial head; train it with model.action_head=trials")
        return beliefs

    def _inputs_of(self, contexts: Sequence[Mapping[str, Any]]) -> Inputs:
        document = self.document
        return inputs_of_contexts(
            contexts, self.space, document.vocabulary, document.dataset_n_similar, document.token_profile
        )
