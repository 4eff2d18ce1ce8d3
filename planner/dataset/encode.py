"""Contexts to arrays: tokens as ids of a growing string table, and features. Pure functions, no Ray."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.contracts import timestamp_to_ms
from planner.dataset.features import CONTEXT_FEATURES, RUN_FEATURES, asked_features, context_features, run_features
from planner.dataset.tokens import RUN, SEP, SPECIALS, UNK, asked_tokens, own_segment, run_tokens
from planner.history import jaccard, recency_bucket


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


def encode_contexts(contexts: Iterable[Mapping[str, Any]], n_similar: int) -> Encoded:
    """Encode planner_input.v1 documents; no more than ``n_similar`` of each one's runs are kept."""
    table = _Table()
    known: dict[tuple[str, int], _Run] = {}
    openings: dict[tuple[int, bool], array[int]] = {}
    tokens = array("i")
    bounds = array("q")
    context_rows: list[list[float]] = []
    own_rows: list[tuple[float, ...]] = []
    asked_rows: list[tuple[float, ...]] = []
    for context in contexts:
        created_ms = timestamp_to_ms(context["created_at"])
        issue_id, tags = context["issue"]["issue_id"], frozenset(context["issue"]["tags"])
        runs = context["history"]["last_n_similar_runs"][:n_similar]
        bounds.append(len(tokens))
        tokens.extend(map(table.__getitem__, own_segment(context)))
        bounds.append(len(tokens))
        for summary in runs:
            key = summary["run_id"], summary["started_ms"]
            run = known.get(key)
            if run is None or run.summary != summary:
                closed = array("i", map(table.__getitem__, (*run_tokens(summary), SEP)))
                run = known[key] = _Run(summary, closed, frozenset(summary.get("tags") or ()), len(own_rows))
                own_rows.append(run_features(summary))
            asked = recency_bucket(created_ms, summary["started_ms"]), summary.get("issue_id") == issue_id
            if asked not in openings:
                openings[asked] = array("i", map(table.__getitem__, (RUN, *asked_tokens(*asked))))
            tokens.extend(openings[asked])
            tokens.extend(run.tokens)
            bounds.append(len(tokens))
            asked_rows.append((run.row, *asked, jaccard(tags, run.tags)))
        bounds.extend([len(tokens)] * (n_similar - len(runs)))
        context_rows.append(context_features(context))
    segments = np.array(bounds).reshape(-1, n_similar + 2)
    run_rows: NDArray[np.float32] = np.zeros((len(segments), n_similar, len(RUN_FEATURES)), dtype=np.float32)
    if asked_rows:
        row, age, same_issue, overlap = np.array(asked_rows).T
        own = np.array(own_rows)[row.astype(np.intp)]
        run_rows[np.diff(segments, axis=1)[:, 1:] > 0] = asked_features(own, age, same_issue, overlap)
    return Encoded(
        strings=list(table),
        tokens=np.array(tokens),
        segments=segments,
        context_features=np.array(context_rows, dtype=np.float32).reshape(-1, len(CONTEXT_FEATURES)),
        run_features=run_rows,
    )


class _Run(NamedTuple):
    """A past run, encoded as far as it does not depend on who asks: the same run is in many contexts."""

    summary: Mapping[str, Any]
    tokens: "array[int]"
    """The rest of its segment."""
    tags: frozenset[str]
    row: int
    """Where its own features are."""


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


def fit_vocabulary(encoded: Encoded, train: range, specials: Sequence[str] = SPECIALS) -> list[str]:
    """The special tokens, then every token that occurs in the train examples, sorted."""
    spans = encoded.segments[train.start : train.stop]
    used = encoded.tokens[spans[0, 0] : spans[-1, -1]] if len(spans) else np.array([], dtype=np.int32)
    seen = {encoded.strings[i] for i in np.unique(used)}
    return [*specials, *sorted(seen - set(specials))]


def apply_vocabulary(encoded: Encoded, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """The tokens as ids in ``vocabulary``; tokens it lacks become [UNK]."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    lookup = np.array([ids.get(token, ids[UNK]) for token in encoded.strings], dtype=np.int32)
    return lookup[encoded.tokens] if len(lookup) else encoded.tokens
