"""Arrays to batches of tensors, in a data order that depends on the seed alone, not on the number of workers."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planner.models.inputs import Inputs


def batch_positions(n: int, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """The positions of each global batch of one epoch, over a permutation seeded by (seed, epoch)."""
    order = np.random.default_rng((seed, epoch)).permutation(n)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


def make_batch(
    inputs: Inputs, positions: NDArray[np.int64], reads: str, n_similar: int, device: torch.device
) -> dict[str, Tensor]:
    """The examples at ``positions`` as tensors; ``reads`` is what the model declares ("features").

    context_features (b, F), run_features (b, n_similar, R), runs_present (b, n_similar) float, masks (b, H) bool.
    """
    if reads != "features":
        raise ValueError(f"a model that reads {reads!r} is not known to the batches")
    segments = np.asarray(inputs.segments[positions])
    present = np.diff(segments, axis=1)[:, 1 : n_similar + 1] > 0
    arrays = {
        "context_features": np.asarray(inputs.context_features[positions]),
        "run_features": np.asarray(inputs.run_features[positions])[:, :n_similar],
        "runs_present": present.astype(np.float32),
        "masks": np.asarray(inputs.masks[positions]),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
