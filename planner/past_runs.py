"""A repo's runs as columns and texts, which lie outside of Python's memory; a RunRecord is made when it is asked for.

What is asked of every run, above all what makes it similar to others, is in columns. Columns and texts are arrays, so
that they may be mapped from files, and are there once for all processes of a machine: as objects, a million runs would
take 5 GB in each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec

from planner.actions import ActionSpace
from planner.artifacts.recorded_context import PackedContext, PackedRun
from planner.artifacts.records import RunRecord
from planner.contracts.kernel import ContextBuilderName
from planner.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER_MS = 2**62
"""The end of what is never known."""
_BUILDERS: tuple[ContextBuilderName | None, ...] = (None, "planner", "kernel")
_PLAIN = [
    field.name
    for field in fields(RunRecord)
    if field.name not in ("summary_text", "kernel_summary_text", "planner_input")
]
_MSGPACK, _FROM_MSGPACK = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()


@dataclass
class Texts:
    """Texts one after another; ``bounds`` are where they begin, and where the last one ends."""

    data: NDArray[np.uint8]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[bytes | memoryview]) -> Texts:
        """These texts."""
        lengths = [0, *map(len, texts)]
        return cls(np.frombuffer(b"".join(texts), dtype=np.uint8), np.cumsum(lengths, dtype=np.int64))

    def __getitem__(self, number: int) -> memoryview:
        start, end = self.bounds[number : number + 2].tolist()
        return self.data[start:end].data

    def __iter__(self) -> Iterator[memoryview]:
        data = self.data.data
        return (data[start:end] for start, end in itertools.pairwise(self.bounds.tolist()))


class Signature(NamedTuple):
    """What makes a run similar to others. Of one signature there are many runs."""

    job_type: str
    domain: str
    world_id: str | None
    """None, as the objective, except for runs of a world."""
    objective_id: str | None
    tags: frozenset[str]
    failures: frozenset[str]


_NO_SIGNATURE = Signature("", "", None, None, frozenset(), frozenset())


def signature_of(summary: dict[str, Any], world_id: str | None = None, objective_id: str | None = None) -> Signature:
    """Of a run with this run_summary.v1."""
    job_type, domain, outcome = summary["job_type"], summary["domain"], summary["outcome"]
    world = (world_id, objective_id) if domain == "fab_world" else (None, None)
    failing = (gate["name"] for gate in outcome["gates"] if not gate["passed"])
    return Signature(
        job_type, domain, *world, frozenset(summary.get("tags") or ()), frozenset((*outcome["fail_codes"], *failing))
    )


@dataclass
class History:
    """Of every run what the history index asks, (r,) each. Times are ms since the epoch, UTC."""

    run_ids: Sequence[str]
    issue_ids: Sequence[str | None]
    started_ms: NDArray[np.int64]
    ended_ms: NDArray[np.int64]
    """NEVER_MS of a run that is not to be known."""
    passed: NDArray[np.bool_]
    signatures: Sequence[Signature]
    """Each of those that there are."""
    signature_of: NDArray[np.int32]
    """The place in ``signatures``."""


@dataclass
class PackedRecords:
    """Runs that were read together, but for what is asked of every run, (r,) each."""

    summaries: Texts
    kernel_summaries: Texts
    """Empty where the kernel makes none."""
    rest: Texts
    """All else of each record, as MessagePack."""
    neighbours: Texts
    """The runs in the histories of recorded contexts, each once, as MessagePack."""
    spaces: list[ActionSpace]
    """Those of recorded contexts, each once."""

    def __getitem__(self, row: int) -> RunRecord:
        plain, taken = _FROM_MSGPACK.decode(self.rest[row])
        context = None
        if taken is not None:
            before, after, job_type, issue_id, builder, space, neighbours = taken
            past = _Neighbours(self.neighbours, neighbours)
            context = PackedContext(before, past, after, job_type, issue_id, self.spaces[space], builder)
        return RunRecord(
            **dict(zip(_PLAIN, plain, strict=True)),
            summary_text=bytes(self.summaries[row]),
            kernel_summary_text=bytes(self.kernel_summaries[row]) or None,
            planner_input=context,
        )


@dataclass
class PackedRuns:
    """Runs that were read together, as a file holds them, (r,) each."""

    records: PackedRecords
    run_ids: list[str]
    issue_ids: list[str | None]
    decided_ms: NDArray[np.int64]
    started_ms: NDArray[np.int64]
    ended_ms: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    kernel_started_ms: NDArray[np.int64]
    """By the kernel's own summary, see ``kernel_ended_ms``."""
    kernel_ended_ms: NDArray[np.int64]
    """When the kernel had archived the run: it looks for starts before the moment of the decision. NEVER_MS where it
    makes no summary of the run."""
    passed: NDArray[np.bool_]
    builders: NDArray[np.int8]
    """Who built the context that the run recorded, a place in _BUILDERS."""
    signatures: list[Signature]
    signature_of: NDArray[np.int32]
    kernel_signature_of: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.run_ids)

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> PackedRuns:
        """Pack these runs."""
        numbers: dict[Signature, int] = {_NO_SIGNATURE: 0}
        neighbours: dict[PackedRun, int] = {}
        spaces: dict[ActionSpace, int] = {}
        ours, kernels, starts, rest = [], [], [], []
        for run in runs:
            own = signature_of(run.summary, run.world_id, run.objective_id)
            ours.append(numbers.setdefault(own, len(numbers)))
            kernel = run.kernel_summary
            kernels.append(0 if kernel is None else numbers.setdefault(signature_of(kernel), len(numbers)))
            starts.append(0 if kernel is None else kernel["started_ms"])
            rest.append(_MSGPACK.encode([[getattr(run, name) for name in _PLAIN], _taken(run, neighbours, spaces)]))
        known = [run.kernel_summary_text is not None for run in runs]
        archived_ms = _milliseconds(run.archived_ms for run in runs)
        records = PackedRecords(
            summaries=Texts.of([run.summary_text for run in runs]),
            kernel_summaries=Texts.of([run.kernel_summary_text or b"" for run in runs]),
            rest=Texts.of(rest),
            neighbours=Texts.of([_MSGPACK.encode(neighbour) for neighbour in neighbours]),
            spaces=list(spaces),
        )
        return cls(
            records,
            [run.run_id for run in runs],
            [run.issue_id for run in runs],
            decided_ms=_milliseconds(run.decided_ms for run in runs),
            started_ms=_milliseconds(run.started_ms for run in runs),
            ended_ms=_milliseconds(run.ended_ms for run in runs),
            known_ms=_milliseconds(run.known_ms for run in runs),
            kernel_started_ms=_milliseconds(starts),
            kernel_ended_ms=np.where(known, archived_ms + 1, NEVER_MS),
            passed=np.array([run.passed for run in runs], dtype=bool),
            builders=np.array(
                [_BUILDERS.index(run.planner_input and run.planner_input.builder) for run in runs], dtype=np.int8
            ),
            signatures=list(numbers),
            signature_of=np.array(ours, dtype=np.int32),
            kernel_signature_of=np.array(kernels, dtype=np.int32),
        )


class _Neighbours(Sequence[PackedRun]):
    """The runs of these numbers, made anew when they are asked for: hardly ever."""

    def __init__(self, texts: Texts, numbers: list[int]) -> None:
        self._texts, self._numbers = texts, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> PackedRun: ...
    @overload
    def __getitem__(self, place: slice) -> list[PackedRun]: ...
    def __getitem__(self, place: int | slice) -> PackedRun | list[PackedRun]:
        if isinstance(place, slice):
            return [PackedRun(*_FROM_MSGPACK.decode(self._texts[number])) for number in self._numbers[place]]
        return PackedRun(*_FROM_MSGPACK.decode(self._texts[self._numbers[place]]))


def _taken(run: RunRecord, neighbours: dict[PackedRun, int], spaces: dict[ActionSpace, int]) -> list[Any] | None:
    """A run's recorded context, with numbers for what others hold as well; what is new is added."""
    context = run.planner_input
    if context is None:
        return None
    numbers = [neighbours.setdefault(neighbour, len(neighbours)) for neighbour in context.runs]
    space = spaces.setdefault(context.space, len(spaces))
    return [context.before, context.after, context.job_type, context.issue_id, context.builder, space, numbers]


def _milliseconds(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


class Runs(Sequence[RunRecord]):
    """Runs in order of (decided_ms, run_id); each is made anew whenever it is asked for."""

    def __init__(self, parts: Sequence[PackedRuns]) -> None:
        self._records = [part.records for part in parts]
        run_ids = [run_id for part in parts for run_id in part.run_ids]
        decided_ms = _joined(parts, "decided_ms")
        by_name = sorted(range(len(run_ids)), key=run_ids.__getitem__)
        order = np.array(by_name, dtype=np.int64)
        order = order[np.argsort(decided_ms[order], kind="stable")]
        sizes = [len(part) for part in parts]
        self.order: NDArray[np.int64] = order
        """Of each run its place among all that were given."""
        self._part_of = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)[order]
        self._row_of = np.concatenate([np.arange(0), *(np.arange(size) for size in sizes)]).astype(np.int32)[order]
        self.run_ids = [run_ids[place] for place in order.tolist()]
        self.decided_ms = decided_ms[order]
        self.known_ms = _joined(parts, "known_ms")[order]
        self._builders = _joined(parts, "builders")[order]
        issues: dict[str | None, str | None] = {}
        issue_ids = [issues.setdefault(issue_id, issue_id) for part in parts for issue_id in part.issue_ids]
        self.issue_ids = [issue_ids[place] for place in order.tolist()]
        numbers: dict[Signature, int] = {}
        sets: dict[frozenset[str], frozenset[str]] = {}
        lookups = [[_number(signature, numbers, sets) for signature in part.signatures] for part in parts]
        self._histories = {
            builder: History(
                self.run_ids,
                self.issue_ids,
                _joined(parts, f"{prefix}started_ms")[order],
                _joined(parts, f"{prefix}ended_ms")[order],
                _joined(parts, "passed")[order],
                tuple(numbers),
                _looked_up(parts, lookups, f"{prefix}signature_of")[order],
            )
            for builder, prefix in (("planner", ""), ("kernel", "kernel_"))
        }

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Runs:
        """These runs, given in any order."""
        return cls([PackedRuns.of(runs)])

    def history(self, builder: ContextBuilderName) -> History:
        """The runs as ``builder`` knows them of its own summaries."""
        return self._histories[builder]

    def recorded_by(self, builder: ContextBuilderName | None) -> NDArray[np.bool_]:
        """Whose recorded context ``builder`` built; with None, which recorded none."""
        return self._builders == _BUILDERS.index(builder)

    def packed(self, number: int, builder: ContextBuilderName) -> PackedRun:
        """A run as ``builder`` puts it into a context."""
        records, row = self._records[self._part_of[number]], self._row_of[number]
        texts = records.summaries if builder == "planner" else records.kernel_summaries
        started_ms = self._histories[builder].started_ms[number]
        return PackedRun(self.run_ids[number], int(started_ms), bytes(texts[row]))

    def __len__(self) -> int:
        return len(self.run_ids)

    @overload
    def __getitem__(self, number: int) -> RunRecord: ...
    @overload
    def __getitem__(self, number: slice) -> list[RunRecord]: ...
    def __getitem__(self, number: int | slice) -> RunRecord | list[RunRecord]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        return self._records[self._part_of[number]][int(self._row_of[number])]


def _joined(parts: Sequence[PackedRuns], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts])


def _number(signature: Signature, numbers: dict[Signature, int], sets: dict[frozenset[str], frozenset[str]]) -> int:
    """The place of a signature; equal sets become one object: there are few, and runs are many."""
    number = numbers.get(signature)
    if number is None:
        tags, failures = signature.tags, signature.failures
        signature = signature._replace(tags=sets.setdefault(tags, tags), failures=sets.setdefault(failures, failures))
        number = numbers[signature] = len(numbers)
    return number


def _looked_up(parts: Sequence[PackedRuns], lookups: Sequence[list[int]], name: str) -> NDArray[np.int32]:
    pieces = [
        np.array(lookup, dtype=np.int32)[getattr(part, name)] for part, lookup in zip(parts, lookups, strict=True)
    ]
    return np.concatenate(pieces)
