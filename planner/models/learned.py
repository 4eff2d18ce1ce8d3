"""A trained policy, loaded from a checkpoint: contexts or arrays in, log-probabilities of the four heads out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.evaluation.calibration import scale
from planner.models.base import ModelSpec, build_model
from planner.models.inputs import Inputs, inputs_of_contexts
from planner.training.batches import batcher_for
from planner.training.checkpoint import checkpoint_path, load_weights, read_calibration, read_policy

_BATCH = 64
"""Examples in one forward pass."""


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
        spec = ModelSpec(self.space.widths, document.vocabulary, document.context_features, document.run_features)
        self.model = build_model(document.class_path, document.model, spec)
        load_weights(self.checkpoint, self.model)
        self.model.eval()
        self.reads = str(self.model.reads)
        self.name = document.class_path.partition("@")[2]

    @torch.no_grad()
    def head_log_probs(self, inputs: Inputs) -> list[NDArray[np.float64]]:
        """Four arrays (n, width); -inf where the context does not admit the value."""
        batcher = batcher_for(self.model, inputs, self.document.n_similar, torch.device("cpu"))
        parts = []
        for start in range(0, len(inputs), _BATCH):
            batch = batcher.batch(np.arange(start, min(start + _BATCH, len(inputs))))
            parts.append([head.double().numpy() for head in self.model(batch)])
        if not parts:
            return [np.zeros((0, width)) for width in self.space.widths]
        heads = [np.concatenate(head) for head in zip(*parts, strict=True)]
        if self.calibration is None:
            return heads
        temperatures = [self.calibration.temperatures[name] for name in HEADS]
        return [scale(head, temperature) for head, temperature in zip(heads, temperatures, strict=True)]

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Log-probability of every valid action, (n, n_valid)."""
        return self.space.joint_log_probs(self.head_log_probs(inputs), job_type)

    def log_probs_of(self, contexts: Sequence[Mapping[str, Any]]) -> list[NDArray[np.float64]]:
        """The same for planner_input.v1 documents."""
        document = self.document
        return self.head_log_probs(
            inputs_of_contexts(contexts, self.space, document.vocabulary, document.dataset_n_similar)
        )
