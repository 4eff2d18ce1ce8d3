"""Arrays to batches of tensors, in a data order that depends on the seed alone, not on the number of workers."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from planner.actions import ActionSpace
from planner.encoding.inputs import Inputs
from planner.policies.policy import admitted_tuples

POOL_BATCHES = 16
"""Batches whose examples are sorted by length together: padding then costs 4 % instead of 87 % of the needed work."""


def batch_positions(
    n: int, batch_size: int, seed: int, epoch: int, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """The positions of each global batch of one epoch, over a permutation seeded by (seed, epoch).

    With ``lengths`` (n,), examples of similar length share a batch: pools of the permutation are sorted by length, cut
    into batches, and the batches of a pool come in random order.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(n)
    pool_size = batch_size * POOL_BATCHES
    for pool_start in range(0, n, pool_size):
        pool = order[pool_start : pool_start + pool_size]
        if lengths is not None:
            pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches = [pool[start : start + batch_size] for start in range(0, len(pool), batch_size)]
        for i in random.permutation(len(batches)) if lengths is not None else range(len(batches)):
            yield batches[i]


class Batcher:
    """Makes a model's batches from a split's arrays, or from encoded contexts.

    ``reads`` is what the model declares: "features" or "tokens"; ``n_similar``, ``tokens_per_run`` and ``seq_len``
    bound what it sees of them.
    """

    def __init__(
        self,
        inputs: Inputs,
        reads: str,
        space: ActionSpace,
        *,
        n_similar: int,
        tokens_per_run: int | None = None,
        seq_len: int | None = None,
        device: torch.device,
    ) -> None:
        if reads not in ("features", "tokens"):
            raise ValueError(f"a model that reads {reads!r} is not known to the batches")
        self._inputs, self._reads, self._n_similar = inputs, reads, n_similar
        self._device = device
        self._tuple_masks = admitted_tuples(inputs, space)
        self._starts = np.asarray(inputs.segments[:, : n_similar + 1])
        self._sizes = np.diff(np.asarray(inputs.segments), axis=1)[:, : n_similar + 1]
        if reads == "tokens":
            self._sizes[:, 1:] = np.minimum(self._sizes[:, 1:], tokens_per_run or np.iinfo(np.int64).max)
            self._cut(seq_len or np.iinfo(np.int64).max)

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Tokens of every example as the model sees it, (n,); None for a model that reads features."""
        return self._sizes.sum(axis=1) if self._reads == "tokens" else None

    def batch(self, positions: NDArray[np.int64]) -> dict[str, Tensor]:
        """The examples at ``positions`` as tensors, each with masks (b, H) bool and tuple_masks (b, n_tuples) bool.

        Features: context_features (b, F), run_features (b, n_similar, R), runs_present (b, n_similar) float.
        Tokens: input_ids (b, length) int64, padded on the right with 0, and attention_mask (b, length) bool.
        """
        arrays = self._features(positions) if self._reads == "features" else self._tokens(positions)
        arrays |= {"masks": np.asarray(self._inputs.masks[positions]), "tuple_masks": self._tuple_masks[positions]}
        return {name: torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for name, a in arrays.items()}

    def _features(self, positions: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        return {
            "context_features": np.asarray(self._inputs.context_features[positions]),
            "run_features": np.asarray(self._inputs.run_features[positions])[:, : self._n_similar],
            "runs_present": (self._sizes[positions, 1:] > 0).astype(np.float32),
        }

    def _tokens(self, positions: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        sizes, starts = self._sizes[positions], self._starts[positions]
        lengths = sizes.sum(axis=1)
        mask = np.arange(max(1, int(lengths.max(initial=0)))) < lengths[:, None]
        # Every token's place in the flat array: its segment's start plus its offset inside the segment.
        flat = np.repeat(starts.ravel() - (np.cumsum(sizes) - sizes.ravel()), sizes.ravel()) + np.arange(sizes.sum())
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = self._inputs.tokens[flat]
        return {"input_ids": ids, "attention_mask": mask}

    def _cut(self, seq_len: int) -> None:
        """Shorten the last segments so that no example is longer than ``seq_len``."""
        ends = np.minimum(np.cumsum(self._sizes, axis=1), seq_len)
        self._sizes = np.diff(ends, axis=1, prepend=0)


def batcher_for(model: nn.Module, inputs: Inputs, n_similar: int, device: torch.device) -> Batcher:
    """Batches of what ``model`` declares to read, bounded by its settings."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    bounds = {name: getattr(inner.settings, name, None) for name in ("tokens_per_run", "seq_len")}
    return Batcher(inputs, str(inner.reads), inner.space, n_similar=n_similar, device=device, **bounds)
