"""What a learned policy reads: a dataset's arrays, or contexts that are encoded on the spot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
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
    documents: Callable[[], Sequence[Mapping[str, Any]]] | None = field(default=None, compare=False)
    """Reads the contexts themselves; see :meth:`contexts`."""

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
            partial(_at, self.contexts, rows),
        )

    def contexts(self) -> Sequence[Mapping[str, Any]]:
        """The planner_input.v1 of each context, read anew at every call; for policies that arrays are not enough for.

        ValueError where the arrays came without their contexts.
        """
        if self.documents is None:
            raise ValueError("these inputs are arrays alone: make them with inputs_of_split or inputs_of_contexts")
        return self.documents()


def _at(documents: Callable[[], Sequence[Mapping[str, Any]]], rows: NDArray[np.intp]) -> list[Mapping[str, Any]]:
    found = documents()
    return [found[row] for row in rows.tolist()]


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
        partial(list, contexts),
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
