"""Similar runs known at a point in time: an index instead of a scan over all pairs.

Runs of one signature (same tags, same failures) differ in score only by recency, so a query scores signatures,
takes the best ones, and looks at no more than n runs of each. The result is exact.
"""

from __future__ import annotations

import bisect
import heapq
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.artifacts.events import StartFailure
from planner.lazy_numpy import np
from planner.past_runs import History, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RECENCY_LIMITS_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
AGES = len(RECENCY_LIMITS_MS) + 1
_Entry = tuple[int, int]
_Overlapping = tuple[frozenset[str], frozenset[str]]
"""Tags and failures, as far as they count."""
_Head = tuple[float, int, int, float, int, list[_Entry]]


@dataclass(frozen=True)
class Similarity:
    """What makes a past run similar: the score is a weighted sum of overlaps (Jaccard) and of recency."""

    tags: float
    """Weight of the overlap of tags."""
    failures: float
    """Weight of the overlap of failures with the issue's own; at 0 they are not looked at."""
    limits_ms: tuple[int, ...]
    recency: tuple[float, ...]
    """Score by age of the run's start: below the first limit, below the second, and so on, and above all of them."""
    of_one_world: bool
    """Whether runs of a world are only similar to those of the same world and objective."""


OURS = Similarity(1.0, 1.0, RECENCY_LIMITS_MS, (0.4, 0.3, 0.2, 0.1, 0.0), of_one_world=True)
KERNELS = Similarity(
    0.6, 0.0, (DAY_MS, 7 * DAY_MS, 30 * DAY_MS), tuple(0.1 * (1 / n) for n in (1, 2, 3, 4)), of_one_world=False
)
"""Of kernel 0.1.0 (docs/kernel-contract.md, section 7), which compares failures with an empty set."""


@dataclass(frozen=True)
class Query:
    """What similar runs are sought for, and when (ms since the epoch, UTC)."""

    at_ms: int
    job_type: str
    domain: str
    tags: frozenset[str]
    issue_id: str | None
    world_id: str | None = None
    objective_id: str | None = None


def recency_bucket(at_ms: int, started_ms: int) -> int:
    """Age of a run's start at ``at_ms``: 0 under an hour, 1 a day, 2 a week, 3 thirty days, 4 older."""
    return bisect.bisect_right(RECENCY_LIMITS_MS, at_ms - started_ms)


def recency_buckets(since_ms: NDArray[Any]) -> NDArray[np.intp]:
    """:func:`recency_bucket` of many runs, from the time since each one's start."""
    return np.array(RECENCY_LIMITS_MS).searchsorted(since_ms, side="right")


class HistoryIndex:
    """All runs, revealed in the order in which they ended. Queries must come in order of time."""

    def __init__(
        self, runs: History, similarity: Similarity = OURS, start_failures: Sequence[StartFailure] = ()
    ) -> None:
        """``start_failures`` are attempts that left no run."""
        self._similarity = similarity
        self._runs = runs
        count = len(runs.run_ids)
        self._by_name = sorted(range(count), key=runs.run_ids.__getitem__)
        self._rank: NDArray[np.int64] = np.empty(count, dtype=np.int64)
        """The place of each run in ``_by_name``."""
        self._rank[self._by_name] = np.arange(count)
        self._by_end = np.lexsort((self._rank, runs.ended_ms))
        self._ends_ms = runs.ended_ms[self._by_end]
        self._next = 0
        self._now = -1
        self._attempts: defaultdict[str, int] = defaultdict(int)
        self._issue_failures: defaultdict[str, set[str]] = defaultdict(set)
        self._start_failures = deque(sorted(start_failures, key=lambda failure: failure.ended_ms))
        distinct, first = np.unique(runs.signature_of[self._by_end], return_index=True)
        members: defaultdict[tuple[Any, ...], dict[_Overlapping, int]] = defaultdict(dict)
        places = {}
        for number in distinct[np.argsort(first)].tolist():
            signature = runs.signatures[number]
            group = members[key := self._key(signature)]
            own = signature.tags, signature.failures if similarity.failures else frozenset()
            places[number] = key, group.setdefault(own, len(group))
        self._groups = {key: _Group(list(group), similarity) for key, group in members.items()}
        self._place_of = {number: (self._groups[key], place) for number, (key, place) in places.items()}
        """Of each signature its group, and its place there."""

    def advance(self, at_ms: int) -> None:
        """Make known every run that had ended by ``at_ms``; ValueError when time would go back."""
        if at_ms < self._now:
            raise ValueError(f"history was already at {self._now} ms, it cannot go back to {at_ms} ms")
        self._now = at_ms
        stop = int(self._ends_ms.searchsorted(at_ms, side="right"))
        new = self._by_end[self._next : stop]
        self._next = stop
        runs = self._runs
        columns = (runs.signature_of[new], runs.started_ms[new], self._rank[new], runs.passed[new])
        for number, signature, started_ms, rank, passed in zip(
            new.tolist(), *(c.tolist() for c in columns), strict=True
        ):
            group, place = self._place_of[signature]
            group.reveal(place, (started_ms, -rank))
            issue_id = runs.issue_ids[number]
            if issue_id is not None and not passed:
                self._attempts[issue_id] += 1
                self._issue_failures[issue_id] |= runs.signatures[signature].failures
        while self._start_failures and self._start_failures[0].ended_ms <= at_ms:
            self._attempts[self._start_failures.popleft().issue_id] += 1

    def similar_runs(self, query: Query, n: int) -> list[int]:
        """The places of the ``n`` best runs known at ``query.at_ms``: score desc, started_ms desc, run_id asc."""
        self.advance(query.at_ms)
        group = self._groups.get(self._key(query))
        if group is None or n == 0:
            return []
        known_failures = frozenset(self._issue_failures.get(query.issue_id or "", ()))
        return [self._by_name[rank] for rank in group.best(query, known_failures, n)]

    def attempts(self, issue_id: str | None, at_ms: int) -> int:
        """How many attempts at the issue had ended without passing by ``at_ms``."""
        self.advance(at_ms)
        return self._attempts.get(issue_id or "", 0)

    def _key(self, asked: Query | Signature) -> tuple[Any, ...]:
        """What runs must have in common to be similar at all."""
        if not self._similarity.of_one_world:
            return (asked.job_type,)
        world = (asked.world_id, asked.objective_id) if asked.domain == "fab_world" else ()
        return (asked.job_type, asked.domain, *world)


class _Group:
    """The runs that pass the filter of the same queries, in lists of equal overlap; each run is its rank by name.

    There is a list for all runs with the same failures whatever their tags, and one for every signature. A query looks
    at the signatures that share a tag with it, which are few, and finds all others in the lists by failures. Of both
    kinds, lists are numbered in the order in which they get their first run: those with any are the first ones.
    """

    def __init__(self, signatures: Sequence[_Overlapping], similarity: Similarity) -> None:
        """``signatures`` in the order in which they will get their first run."""
        self._similarity = similarity
        failure_sets: dict[frozenset[str], int] = {}
        self._failed = [failure_sets.setdefault(failed, len(failure_sets)) for _, failed in signatures]
        """The failures of each signature, as their place in ``_failure_sets``."""
        self._failures_of = np.array(self._failed)
        self._tags = _Overlap([tags for tags, _ in signatures])
        self._failure_sets = list(failure_sets)
        self._overlaps: dict[frozenset[str], NDArray[np.float64]] = {}
        """With the failure sets, of every set that was asked for: issues fail in few ways."""
        self._by_failures = _Lists(len(failure_sets), similarity)
        self._by_signature = _Lists(len(signatures), similarity)

    def reveal(self, place: int, entry: _Entry) -> None:
        """From now on this run of the signature at ``place`` may be found."""
        self._by_signature.add(place, entry)
        self._by_failures.add(self._failed[place], entry)

    def best(self, query: Query, known_failures: frozenset[str], n: int) -> list[int]:
        """The ``n`` best known runs of this group."""
        by_failures = self._overlap_of_failures(known_failures)
        sharing, by_tags = self._tags.sharing(query.tags, self._by_signature.n_known)
        of_sharing = by_failures[self._failures_of[sharing]] + self._similarity.tags * by_tags
        heads = self._by_signature.heads(sharing, of_sharing, query.at_ms, n)
        every = np.arange(self._by_failures.n_known)
        heads += self._by_failures.heads(every, by_failures[every], query.at_ms, n)

        # Each list is in order already: merge them until n runs are found.
        heapq.heapify(heads)
        found: dict[int, None] = {}
        while heads and len(found) < n:
            *_, rank, overlap, taken, known = heads[0]
            found[rank] = None
            if taken < len(known):
                heapq.heapreplace(heads, _head(known, taken, overlap, query.at_ms, self._similarity))
            else:
                heapq.heappop(heads)
        return list(found)

    def _overlap_of_failures(self, known_failures: frozenset[str]) -> NDArray[np.float64]:
        """Jaccard of these failures with every failure set, weighted."""
        if known_failures not in self._overlaps:
            overlaps = np.array([jaccard(known_failures, f) for f in self._failure_sets])
            self._overlaps[known_failures] = self._similarity.failures * overlaps
        return self._overlaps[known_failures]


class _Lists:
    """Lists of known runs, each run as (started_ms, -rank): in a list, the best comes last.

    The lists are numbered in the order in which they get their first run.
    """

    def __init__(self, count: int, similarity: Similarity) -> None:
        self._limits_ms, self._recency = np.array(similarity.limits_ms), np.array(similarity.recency)
        self.n_known = 0
        """The lists that have any run are the first ones."""
        self._known: list[list[_Entry]] = [[] for _ in range(count)]
        self._latest: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        """The last start in each list."""

    def add(self, place: int, entry: _Entry) -> None:
        """Put a run into the list at ``place``."""
        known = self._known[place]
        bisect.insort(known, entry)
        self._latest[place] = known[-1][0]
        self.n_known = max(self.n_known, place + 1)

    def heads(self, places: NDArray[np.intp], overlap: NDArray[np.float64], at_ms: int, n: int) -> list[_Head]:
        """The best runs of those lists among ``places`` that can hold any of the n best runs."""
        latest = self._latest[places]
        score = overlap + self._recency[self._limits_ms.searchsorted(at_ms - latest, side="right")]
        if len(places) > n:
            leaders = _leaders(score, latest, n)
            places, overlap, latest, score = places[leaders], overlap[leaders], latest[leaders], score[leaders]
        lists = [self._known[place] for place in places.tolist()]
        values = zip(score.tolist(), latest.tolist(), overlap.tolist(), lists, strict=True)
        return [(-best, -started_ms, -known[-1][1], over, 1, known) for best, started_ms, over, known in values]


def _head(known: list[_Entry], taken: int, overlap: float, at_ms: int, similarity: Similarity) -> _Head:
    """What follows the ``taken`` best runs of a list: smallest first is best first."""
    started_ms, negative_rank = known[-1 - taken]
    score = overlap + similarity.recency[bisect.bisect_right(similarity.limits_ms, at_ms - started_ms)]
    return -score, -started_ms, -negative_rank, overlap, taken + 1, known


def _leaders(score: NDArray[np.float64], latest: NDArray[np.int64], n: int) -> NDArray[np.intp]:
    """The lists whose best run can be among the ``n`` best: by score, then start, ties included."""
    (candidates,) = (score >= np.partition(score, -n)[-n]).nonzero()
    if len(candidates) == n:
        return candidates
    score, latest = score[candidates], latest[candidates]
    last = np.lexsort((-latest, -score))[n - 1]
    return candidates[(score > score[last]) | (latest >= latest[last])]


class _Overlap:
    """Jaccard of one set with many, by an inverted index."""

    def __init__(self, sets: Sequence[frozenset[str]]) -> None:
        self._sizes = np.array([len(items) for items in sets], dtype=np.float64)
        positions: defaultdict[str, list[int]] = defaultdict(list)
        for position, items in enumerate(sets):
            for item in items:
                positions[item].append(position)
        self._positions = {item: np.array(places) for item, places in positions.items()}

    def sharing(self, items: frozenset[str], stop: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The positions of those of the first ``stop`` sets that share anything with ``items``, and their Jaccard."""
        places = [self._positions[item] for item in items if item in self._positions]
        if not places:
            return np.array([], dtype=np.intp), np.array([])
        shared = np.bincount(np.concatenate([place[: place.searchsorted(stop)] for place in places]))
        (sharing,) = shared.nonzero()
        shared = shared[sharing]
        return sharing, shared / (self._sizes[sharing] + len(items) - shared)


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared over joint size, 0 for two empty sets."""
    shared = len(left & right)
    return shared / max(len(left) + len(right) - shared, 1)
