"""What a learned policy reads: a dataset's arrays, or contexts that are encoded on the spot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.contracts.dataset import TokenProfile
from planner.encoding.encode import apply_vocabulary
from planner.encoding.profiles import encode


@dataclass(frozen=True)
class Inputs:
    """n contexts, as arrays of the shapes that planner.dataset.storage.Split describes."""

    tokens: NDArray[np.int32]
    segments: NDArray[np.int64]
    context_features: NDArray[np.float32]
    run_features: NDArray[np.float32]
    masks: NDArray[np.bool_]
    job_types: NDArray[np.str_]
    """(n,), names."""

    def __len__(self) -> int:
        return len(self.segments)

    def take(self, rows: NDArray[np.intp]) -> "Inputs":
        """The contexts at ``rows``; their segments still point into the whole token array."""
        return Inputs(
            self.tokens,
            self.segments[rows],
            self.context_features[rows],
            self.run_features[rows],
            self.masks[rows],
            self.job_types[rows],
        )


def inputs_of_contexts(
    contexts: Sequence[Mapping[str, Any]],
    space: ActionSpace,
    vocabulary: Sequence[str],
    n_similar: int,
    profile: TokenProfile = "planner",
) -> Inputs:
    """planner_input.v1 documents, encoded as a dataset with this space, vocabulary and profile would hold them."""
    encoded = encode(contexts, n_similar, profile)
    return Inputs(
        apply_vocabulary(encoded, vocabulary),
        encoded.segments,
        encoded.context_features,
        encoded.run_features,
        np.array([admitted_values(context, space) for context in contexts]).reshape(-1, sum(space.widths)),
        np.array([context["job_type"] for context in contexts], dtype=np.str_),
    )


def admitted_values(context: Mapping[str, Any], space: ActionSpace) -> NDArray[np.bool_]:
    """The values of ``space``'s heads that the context's own space admits for its job type, shape (H,)."""
    return _admitted(ActionSpace.from_document(context["action_space"]), context["job_type"], space)


@lru_cache(maxsize=1024)
def _admitted(own: ActionSpace, job_type: str, space: ActionSpace) -> NDArray[np.bool_]:
    admitted: list[bool] = []
    for head, mask in zip(HEADS, own.masks(job_type), strict=True):
        allowed = {value for value, ok in zip(own.bins(head), mask, strict=True) if ok}
        admitted.extend(value in allowed for value in space.bins(head))
    return np.array(admitted, dtype=bool)
