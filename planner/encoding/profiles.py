"""The two token profiles of a dataset, and the one place that knows which encoder belongs to which."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from planner.contracts.dataset import TokenProfile
from planner.encoding.encode import ContextEncoder, Encoded
from planner.encoding.kernel_tokens import (
    KERNEL_SEQUENCE,
    KERNEL_SPECIALS,
    cut_segments,
    kernel_runs,
    kernel_segments,
)
from planner.encoding.tokens import SPECIALS, context_segments


def specials(profile: TokenProfile) -> tuple[str, ...]:
    """The tokens that a vocabulary begins with."""
    return KERNEL_SPECIALS if profile == "kernel" else SPECIALS


def token_segments(context: Mapping[str, Any], profile: TokenProfile) -> list[list[str]]:
    """The tokens of one planner_input.v1: its own, then those of each similar run."""
    return kernel_segments(context) if profile == "kernel" else context_segments(context)


def encode(contexts: Iterable[Mapping[str, Any]], n_similar: int, profile: TokenProfile) -> Encoded:
    """planner_input.v1 documents as arrays, in the profile's tokens; at most ``n_similar`` runs of each are kept.

    Under the kernel's profile runs come most recent first and an example ends after 512 tokens, as in the kernel.
    """
    return Encoder(n_similar, profile).encode(contexts)


class Encoder:
    """:func:`encode` for contexts that come some at a time: a run that was in earlier ones is not looked at again."""

    def __init__(self, n_similar: int, profile: TokenProfile) -> None:
        self._n_similar = n_similar
        self._profile = profile
        self._contexts = ContextEncoder(n_similar)

    def encode(self, contexts: Iterable[Mapping[str, Any]]) -> Encoded:
        """These contexts."""
        if self._profile == "planner":
            return self._contexts.encode(contexts)
        contexts = list(contexts)
        # Features are the same in both profiles, of the runs that the stream holds, in its order.
        seen = [{**context, "history": {"last_n_similar_runs": kernel_runs(context)}} for context in contexts]
        return _with_kernel_tokens(self._contexts.encode(seen), contexts, self._n_similar)


def _with_kernel_tokens(features: Encoded, contexts: Sequence[Mapping[str, Any]], n_similar: int) -> Encoded:
    table: dict[str, int] = {}
    tokens: list[int] = []
    bounds: list[list[int]] = []
    for context in contexts:
        ends = [len(tokens)]
        for segment in cut_segments(kernel_segments(context), KERNEL_SEQUENCE)[: n_similar + 1]:
            tokens += [table.setdefault(token, len(table)) for token in segment]
            ends.append(len(tokens))
        bounds.append(ends + [len(tokens)] * (n_similar + 2 - len(ends)))
    return replace(
        features,
        strings=list(table),
        tokens=np.array(tokens, dtype=np.int32),
        segments=np.array(bounds, dtype=np.int64).reshape(-1, n_similar + 2),
    )
