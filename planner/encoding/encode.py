"""Contexts to arrays: tokens as ids of a growing string table, and features. Pure functions, no Ray."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.contracts.document import timestamp_to_ms
from planner.encoding.features import CONTEXT_FEATURES, RUN_FEATURES, asked_features, context_features, run_features
from planner.encoding.tokens import RUN, SEP, SPECIALS, UNK, asked_tokens, own_segment, run_tokens
from planner.history import AGES, recency_buckets

SLICE = 2**20
"""Tokens looked up at once: as indices they take twice the memory, and new memory takes longer than the looking up."""


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

    def rows(self, rows: slice) -> "Encoded":
        """The contexts at ``rows``, a slice of step 1, as views."""
        segments = self.segments[rows]
        first, last = (int(segments[0, 0]), int(segments[-1, -1])) if len(segments) else (0, 0)
        return Encoded(
            self.strings,
            self.tokens[first:last],
            segments - first,
            self.context_features[rows],
            self.run_features[rows],
        )


def encode_contexts(contexts: Iterable[Mapping[str, Any]], n_similar: int) -> Encoded:
    """Encode planner_input.v1 documents; no more than ``n_similar`` of each one's runs are kept.

    A run that is in several contexts as one and the same object is looked at once.
    """
    return ContextEncoder(n_similar).encode(contexts)


class ContextEncoder:
    """Encodes contexts, some at a time, and looks at a run once, however many of them it is in.

    It keeps every run that it has seen.
    """

    def __init__(self, n_similar: int) -> None:
        self._n_similar = n_similar
        self._pieces, self._runs, self._tag_bits = _Pieces(), _Runs(), _Bits()
        self._openings = np.array(
            [self._pieces.add((RUN, *asked_tokens(age, same))) for same in (False, True) for age in range(AGES)]
        )

    def encode(self, contexts: Iterable[Mapping[str, Any]]) -> Encoded:
        """These planner_input.v1 documents; ``strings`` also holds those of all that came before."""
        n_similar, pieces, runs, tag_bits = self._n_similar, self._pieces, self._runs, self._tag_bits
        own_pieces: list[int] = []
        counts, issues, tag_counts = array("q"), array("q"), array("q")
        created_ms, context_rows = array("d"), array("d")
        row, shared = array("q"), array("q")
        """Of each run of each context: its number in ``runs``, and how many tags it has in common with the context."""
        for context in contexts:
            issue = context["issue"]
            asked = context["history"]["last_n_similar_runs"][:n_similar]
            rows = runs.numbers(asked, pieces, tag_bits)
            tags = tag_bits.of(issue["tags"])
            created_ms.append(timestamp_to_ms(context["created_at"]))
            issues.append(runs.issue_numbers[issue["issue_id"]])
            tag_counts.append(tags.bit_count())
            counts.append(len(rows))
            row.extend(rows)
            shared.extend([(tags & runs.tags[number]).bit_count() for number in rows])
            own_pieces.append(pieces.add(own_segment(context)))
            context_rows.extend(context_features(context))

        # What is left is the same for every context and every run, so numpy does it for all at once.
        count, row_of, shared_tags = np.array(counts), np.array(row), np.array(shared)
        asking: NDArray[np.intp] = np.repeat(np.arange(len(count)), count)
        """The context that each run belongs to."""
        age = recency_buckets(np.array(created_ms)[asking] - np.asarray(runs.started_ms)[row_of])
        same = np.array(issues)[asking] == np.asarray(runs.issues)[row_of]
        joint_tags = np.array(tag_counts)[asking] + np.asarray(runs.tag_counts)[row_of] - shared_tags
        first = np.cumsum(count + 1) - count - 1
        """Of each context, the number of its own segment among all segments."""
        halves = np.full((len(row_of) + len(count), 2), _Pieces.EMPTY)
        is_own: NDArray[np.bool_] = np.zeros(len(halves), dtype=bool)
        is_own[first] = True
        halves[is_own, 1] = own_pieces
        halves[~is_own, 0] = self._openings[age + AGES * same]
        halves[~is_own, 1] = np.asarray(runs.pieces)[row_of]
        tokens, ends = pieces.join(halves.ravel())
        nth = np.minimum(np.arange(n_similar + 1), count[:, None])
        segments: NDArray[np.int64] = np.zeros((len(count), n_similar + 2), dtype=np.int64)
        segments[:, 1:] = ends[1::2][first[:, None] + nth]
        segments[1:, 0] = segments[:-1, -1]
        run_rows: NDArray[np.float32] = np.zeros((len(segments), n_similar, len(RUN_FEATURES)), dtype=np.float32)
        if len(row_of):
            own = np.asarray(runs.features).reshape(len(runs.pieces), -1)[row_of]
            overlap = shared_tags / np.maximum(joint_tags, 1)
            run_rows[np.arange(n_similar) < count[:, None]] = asked_features(own, age, same, overlap)
        return Encoded(
            strings=pieces.strings,
            tokens=tokens,
            segments=segments,
            context_features=np.array(context_rows).astype(np.float32).reshape(-1, len(CONTEXT_FEATURES)),
            run_features=run_rows,
        )


class _Runs:
    """Past runs, encoded as far as they do not depend on who asks: the same run is in many contexts."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._summaries: list[Mapping[str, Any]] = []
        """Kept, for an object's id is its own only as long as it lives."""
        self.pieces, self.issues, self.tag_counts = array("q"), array("q"), array("q")
        """Of each run: the rest of its segment, its issue's number, how many tags it has."""
        self.started_ms, self.features = array("d"), array("d")
        self.tags: list[int] = []
        """Each run's tags as bits."""
        self.issue_numbers = _Table()

    def numbers(self, asked: Sequence[Mapping[str, Any]], pieces: "_Pieces", tag_bits: "_Bits") -> list[int]:
        """The number of each of these runs."""
        numbers = list(map(self._numbers.get, map(id, asked)))
        return [
            self._add(run, pieces, tag_bits) if number is None else number
            for number, run in zip(numbers, asked, strict=True)
        ]

    def _add(self, run: Mapping[str, Any], pieces: "_Pieces", tag_bits: "_Bits") -> int:
        number = self._numbers[id(run)] = len(self._summaries)
        self._summaries.append(run)
        self.pieces.append(pieces.add((*run_tokens(run), SEP)))
        issue_id = run.get("issue_id")
        self.issues.append(-1 if issue_id is None else self.issue_numbers[issue_id])
        self.tags.append(tag_bits.of(run.get("tags") or ()))
        self.tag_counts.append(self.tags[-1].bit_count())
        self.started_ms.append(run["started_ms"])
        self.features.extend(run_features(run))
        return number


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
        # Views, gone before any more is added: an array that is looked at cannot grow.
        ends = np.asarray(self._ends)
        starts = np.concatenate([[0], ends[:-1]])[numbers]
        return _spans(np.asarray(self._tokens), starts, ends[numbers] - starts)


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


class _Bits:
    """Sets of strings as bits of one number, so that what two of them share is quickly counted."""

    def __init__(self) -> None:
        self._table = _Table()

    def of(self, strings: Iterable[str]) -> int:
        """The set of these strings."""
        bits = 0
        for string in strings:
            bits |= 1 << self._table[string]
        return bits


def cut(parts: Sequence[Encoded], span: range) -> list[Encoded]:
    """The contexts at ``span`` of parts that follow one another, as views; one of none where there is none."""
    found = []
    first = 0
    for part in parts:
        rows = slice(max(span.start - first, 0), max(min(span.stop - first, len(part)), 0))
        if rows.start < rows.stop:
            found.append(part.rows(rows))
        first += len(part)
    return found or [parts[0].rows(slice(0, 0))]


def fit_vocabulary(parts: Sequence[Encoded], specials: Sequence[str] = SPECIALS) -> list[str]:
    """The special tokens, then every token that occurs in the contexts, sorted."""
    seen: set[str] = set()
    for part in parts:
        is_used: NDArray[np.bool_] = np.zeros(len(part.strings), dtype=bool)
        for start in range(0, len(part.tokens), SLICE):
            is_used[part.tokens[start : start + SLICE]] = True
        seen.update(part.strings[i] for i in np.flatnonzero(is_used))
    return [*specials, *sorted(seen - set(specials))]


def apply_vocabulary(encoded: Encoded, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """The tokens as ids in ``vocabulary``; tokens it lacks become [UNK]."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    lookup = np.array([ids.get(token, ids[UNK]) for token in encoded.strings], dtype=np.int32)
    tokens = np.empty_like(encoded.tokens)
    for start in range(0, len(tokens), SLICE):
        tokens[start : start + SLICE] = lookup[encoded.tokens[start : start + SLICE]]
    return tokens
