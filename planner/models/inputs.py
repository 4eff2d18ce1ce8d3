"""What a learned policy reads: a dataset's arrays, or contexts that are encoded on the spot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.contracts.dataset import TokenProfile
from planner.dataset.encode import apply_vocabulary
from planner.dataset.profiles import encode
from planner.dataset.storage import Split, admitted_values


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


def inputs_of_split(split: Split) -> Inputs:
    """A split's arrays, still memory-mapped."""
    job_types = np.array(split.table["job_type"], dtype=np.str_)
    return Inputs(split.tokens, split.segments, split.context_features, split.run_features, split.masks, job_types)


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
