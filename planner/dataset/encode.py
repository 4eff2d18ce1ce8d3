"""Contexts to arrays: tokens as ids of a growing string table, and features. Pure functions, no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.dataset.features import CONTEXT_FEATURES, RUN_FEATURES, context_features, run_features
from planner.dataset.tokens import SPECIALS, UNK, context_segments


@dataclass
class Encoded:
    """n contexts as arrays. Token ids point into ``strings``.

    ``segments[i]`` are the n_similar + 2 boundaries of example i's segments in ``tokens``: its own, then one per run;
    an absent run has an empty segment.
    """

    strings: list[str]
    tokens: NDArray[np.int32]
    segments: NDArray[np.int64]
    context_features: NDArray[np.float32]
    run_features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.segments)


def encode_contexts(contexts: Sequence[Mapping[str, Any]], n_similar: int) -> Encoded:
    """Encode planner_input.v1 documents; no more than ``n_similar`` of each one's runs are kept."""
    table = _Table()
    tokens: list[int] = []
    segments: NDArray[np.int64] = np.zeros((len(contexts), n_similar + 2), dtype=np.int64)
    context_rows: NDArray[np.float32] = np.zeros((len(contexts), len(CONTEXT_FEATURES)), dtype=np.float32)
    run_rows: NDArray[np.float32] = np.zeros((len(contexts), n_similar, len(RUN_FEATURES)), dtype=np.float32)
    for i, context in enumerate(contexts):
        bounds = [len(tokens)]
        for segment in context_segments(context)[: n_similar + 1]:
            tokens += [table[token] for token in segment]
            bounds.append(len(tokens))
        segments[i] = bounds + [len(tokens)] * (n_similar + 2 - len(bounds))
        context_rows[i] = context_features(context)
        run_rows[i] = run_features(context, n_similar)
    return Encoded(list(table), np.array(tokens, dtype=np.int32), segments, context_rows, run_rows)


class _Table(dict[str, int]):
    """String -> its number; a new string gets the next one."""

    def __missing__(self, string: str) -> int:
        self[string] = number = len(self)
        return number


def concatenate(parts: Sequence[Encoded]) -> Encoded:
    """The parts in order as one, with one string table."""
    table = _Table()
    tokens, segments, offset = [], [], 0
    for part in parts:
        ids = np.array([table[token] for token in part.strings], dtype=np.int32)
        tokens.append(ids[part.tokens])
        segments.append(part.segments + offset)
        offset += len(part.tokens)
    return Encoded(
        list(table),
        np.concatenate(tokens),
        np.concatenate(segments),
        np.concatenate([part.context_features for part in parts]),
        np.concatenate([part.run_features for part in parts]),
    )


def fit_vocabulary(encoded: Encoded, train: range) -> list[str]:
    """The special tokens, then every token that occurs in the train examples, sorted."""
    spans = encoded.segments[train.start : train.stop]
    used = encoded.tokens[spans[0, 0] : spans[-1, -1]] if len(spans) else np.array([], dtype=np.int32)
    seen = {encoded.strings[i] for i in np.unique(used)}
    return [*SPECIALS, *sorted(seen - set(SPECIALS))]


def apply_vocabulary(encoded: Encoded, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """The tokens as ids in ``vocabulary``; tokens it lacks become [UNK]."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    lookup = np.array([ids.get(token, ids[UNK]) for token in encoded.strings], dtype=np.int32)
    return lookup[encoded.tokens] if len(lookup) else encoded.tokens
