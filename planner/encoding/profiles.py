"""The two token profiles of a dataset, and the one place that knows which encoder belongs to which."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from planner.contracts.dataset import TokenProfile
from planner.encoding.encode import Encoded, encode_contexts
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
    return (
        _encode_for_kernel(list(contexts), n_similar) if profile == "kernel" else encode_contexts(contexts, n_similar)
    )


def _encode_for_kernel(contexts: list[Mapping[str, Any]], n_similar: int) -> Encoded:
    # Features are the same in both profiles, of the runs that the stream holds, in its order.
    seen = [{**context, "history": {"last_n_similar_runs": kernel_runs(context)}} for context in contexts]
    features = encode_contexts(seen, n_similar)
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
