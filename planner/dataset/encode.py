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
from planner.history import AGES, jaccard, recency_buckets


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
    pieces = _Pieces()
    openings = [pieces.add((RUN, *asked_tokens(age, same))) for same in (False, True) for age in range(AGES)]
    known: dict[tuple[str, int], _Run] = {}
    own_pieces: list[int] = []
    counts: list[int] = []
    context_rows, own_rows, asked_rows = array("d"), array("d"), array("d")
    distinct = 0
    for context in contexts:
        created_ms = timestamp_to_ms(context["created_at"])
        issue_id, tags = context["issue"]["issue_id"], frozenset(context["issue"]["tags"])
        runs = context["history"]["last_n_similar_runs"][:n_similar]
        own_pieces.append(pieces.add(own_segment(context)))
        context_rows.extend(context_features(context))
        counts.append(len(runs))
        for summary in runs:
            started_ms = summary["started_ms"]
            key = summary["run_id"], started_ms
            run = known.get(key)
            if run is None or run.summary != summary:
                piece = pieces.add((*run_tokens(summary), SEP))
                run = known[key] = _Run(summary, piece, frozenset(summary.get("tags") or ()), distinct)
                own_rows.extend(run_features(summary))
                distinct += 1
            same_issue = summary.get("issue_id") == issue_id
            asked_rows.extend((run.piece, run.row, created_ms - started_ms, same_issue, jaccard(tags, run.tags)))

    # What is left is the same for every context and every run, so numpy does it for all at once.
    count = np.array(counts, dtype=np.intp)
    run_piece, row, since_ms, same, overlap = np.array(asked_rows).reshape(-1, 5).T
    age = recency_buckets(since_ms)
    first = np.cumsum(count + 1) - count - 1
    """Of each context, the number of its own segment among all segments."""
    halves = np.full((len(row) + len(count), 2), _Pieces.EMPTY)
    is_own: NDArray[np.bool_] = np.zeros(len(halves), dtype=bool)
    is_own[first] = True
    halves[is_own, 1] = own_pieces
    halves[~is_own, 0] = np.array(openings)[age + AGES * same.astype(np.intp)]
    halves[~is_own, 1] = run_piece
    tokens, ends = pieces.join(halves.ravel())
    nth = np.minimum(np.arange(n_similar + 1), count[:, None])
    segments: NDArray[np.int64] = np.zeros((len(count), n_similar + 2), dtype=np.int64)
    segments[:, 1:] = ends[1::2][first[:, None] + nth]
    segments[1:, 0] = segments[:-1, -1]
    run_rows: NDArray[np.float32] = np.zeros((len(segments), n_similar, len(RUN_FEATURES)), dtype=np.float32)
    if distinct:
        own = np.array(own_rows).reshape(distinct, -1)[row.astype(np.intp)]
        run_rows[np.arange(n_similar) < count[:, None]] = asked_features(own, age, same, overlap)
    return Encoded(
        strings=pieces.strings,
        tokens=tokens,
        segments=segments,
        context_features=np.array(context_rows).astype(np.float32).reshape(-1, len(CONTEXT_FEATURES)),
        run_features=run_rows,
    )


class _Run(NamedTuple):
    """A past run, encoded as far as it does not depend on who asks: the same run is in many contexts."""

    summary: Mapping[str, Any]
    piece: int
    """The rest of its segment."""
    tags: frozenset[str]
    row: int
    """Where its own features are."""


class _Pieces:
    """Runs of tokens that segments consist of, each stored once and known by its number."""

    EMPTY = 0

    def __init__(self) -> None:
        self._table = _Table()
        self._tokens = array("i")
        self._ends = array("q", [0])

    @property
    def strings(self) -> list[str]:
        """What the token ids stand for."""
        return list(self._table)

    def add(self, tokens: Iterable[str]) -> int:
        """Store a piece; returns its number."""
        self._tokens.extend(map(self._table.__getitem__, tokens))
        self._ends.append(len(self._tokens))
        return len(self._ends) - 1

    def join(self, numbers: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The pieces of these numbers one after another, and where each of them ends."""
        ends = np.array(self._ends)
        lengths = np.diff(ends, prepend=0)
        return _spans(np.array(self._tokens), (ends - lengths)[numbers], lengths[numbers])


def _spans(
    values: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """These spans of ``values`` one after another, and where each of them ends."""
    ends = np.cumsum(lengths)
    return values[np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)], ends


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


def take(encoded: Encoded, rows: NDArray[np.intp]) -> Encoded:
    """The contexts at ``rows``, in that order."""
    segments = encoded.segments[rows]
    starts, lengths = segments[:, 0], segments[:, -1] - segments[:, 0]
    tokens, ends = _spans(encoded.tokens, starts, lengths)
    return Encoded(
        encoded.strings,
        tokens,
        segments + (ends - lengths - starts)[:, None],
        encoded.context_features[rows],
        encoded.run_features[rows],
    )


def fit_vocabulary(encoded: Encoded, train: range, specials: Sequence[str] = SPECIALS) -> list[str]:
    """The special tokens, then every token that occurs in the train examples, sorted."""
    spans = encoded.segments[train.start : train.stop]
    used = encoded.tokens[spans[0, 0] : spans[-1, -1]] if len(spans) else np.array([], dtype=np.int32)
    seen = {encoded.strings[i] for i in np.flatnonzero(np.bincount(used))}
    return [*specials, *sorted(seen - set(specials))]


def apply_vocabulary(encoded: Encoded, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """The tokens as ids in ``vocabulary``; tokens it lacks become [UNK]."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    lookup = np.array([ids.get(token, ids[UNK]) for token in encoded.strings], dtype=np.int32)
    return lookup[encoded.tokens] if len(lookup) else encoded.tokens
