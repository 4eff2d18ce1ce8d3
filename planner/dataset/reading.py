"""Archives to run records, in chunks, each of which is read again only when something in it has changed."""

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from cluster.nodes import Node
from planner.artifacts.archives import ARTIFACTS
from planner.artifacts.events import WorkcellEvents
from planner.artifacts.recorded_context import KnownRuns
from planner.artifacts.records import Quarantine, RunRecord
from planner.artifacts.repo import Repo, list_archives, read_archives
from planner.artifacts.versions import UnknownKeys
from planner.dataset.fan_out import fan_out
from planner.dataset.kept import Kept, digest_of
from planner.dataset.logged_trials import drafts_of, with_one_object
from planner.dataset.trials import Trial
from planner.encoding.subject import Subject
from planner.errors import DatasetError
from planner.past_runs import PackedRuns, Runs

MEAN_CHUNK = 512
"""Archives read together, on average."""
KNOWN = 2**16
"""Runs in histories that a process remembers, 4 kB each."""
SETTLED_NS = 5 * 10**9
"""How old a change must be for a file's times and size to say that it is still the same."""
_MSGPACK = msgspec.msgpack.Encoder()
_PLAIN_FIELDS = [field.name for field in fields(RunRecord) if field.name != "planner_input"]


@dataclass(frozen=True)
class Chunk:
    """Archive directories that are read together, with what the event log says of them."""

    paths: list[str]
    events: dict[str, WorkcellEvents]
    key: str | None
    """Under which its records are kept; None where a file has just been written, and may be again."""


@dataclass
class Records:
    """What was read from a chunk."""

    runs: PackedRuns
    digests: NDArray[np.uint8]
    """Of each run, of all that is in it, (r, 32)."""
    trials: list[Trial | None]
    """Of each run, see drafts_of."""
    quarantine: list[dict[str, str]]
    unknown_keys: UnknownKeys


class ReadRuns(NamedTuple):
    """Every run of a repo, and of each its digest, (r, 32), and the draft of its trial."""

    runs: Runs
    digests: NDArray[np.uint8]
    trials: list[Trial | None]


def read_runs(repo: Repo, kept: Kept, nodes: Sequence[Node] | None, progress: Callable[[int, int], None]) -> ReadRuns:
    """The runs of every archive and world; what could not be read goes into the repo's quarantine.

    ``nodes`` see the repo, see :func:`planner.dataset.fan_out.fan_out`. Raises DatasetError when one does not.
    """
    chunks = _chunks(repo, list_archives(repo.kernel, repo.quarantine))
    found: dict[int, Records] = {}
    for number, chunk in enumerate(chunks):
        if chunk.key is not None and (records := kept.load(chunk.key)) is not None:
            found[number] = records
    progress(len(found), len(chunks))
    missing = [(number, chunk) for number, chunk in enumerate(chunks) if number not in found]
    sizes = [len(chunk.paths) for _, chunk in missing]
    for number, records in fan_out(missing, read_chunks, str(repo.root), kept, nodes, sizes):
        found[number] = records
        progress(len(found), len(chunks))
    parts, digests = [PackedRuns.of(repo.world_runs)], [digests_of(repo.world_runs)]
    trials, subjects = drafts_of(repo.world_runs), dict[Subject, Subject]()
    for number in range(len(chunks)):
        records = found[number]
        parts.append(records.runs)
        digests.append(records.digests)
        trials += with_one_object(records.trials, subjects)
        repo.quarantine.entries += records.quarantine
        repo.quarantine.unknown_keys.update(records.unknown_keys)
    runs = Runs(parts)
    return ReadRuns(runs, np.concatenate(digests)[runs.order], [trials[place] for place in runs.order.tolist()])


def digests_of(runs: Sequence[RunRecord]) -> NDArray[np.uint8]:
    """Of each run, (r, 32)."""
    return np.frombuffer(b"".join(map(digest_of_run, runs)), dtype=np.uint8).reshape(-1, 32)


def digest_of_run(run: RunRecord) -> bytes:
    """SHA-256 of all that is in a record."""
    context = run.planner_input
    pieces = None if context is None else [*context.pieces(), context.builder]
    return hashlib.sha256(_MSGPACK.encode([*(getattr(run, name) for name in _PLAIN_FIELDS), pieces])).digest()


def read_chunks(chunks: Sequence[tuple[int, Chunk]], root: str) -> Iterator[tuple[int, str | None, Records]]:
    """The number, key and records of each chunk. DatasetError for an archive that this node does not see."""
    known = KnownRuns()
    for number, chunk in chunks:
        if known.count > KNOWN:
            known = KnownRuns()
        unseen = [path for path in chunk.paths if not os.path.lexists(path)]
        if unseen:
            raise DatasetError(
                f"node {platform.node()} does not see {len(unseen)} of {len(chunk.paths)} archives that are there: "
                f"{unseen[0]}: mount the repo on every node"
            )
        quarantine = Quarantine(Path(root))
        runs = read_archives([Path(path) for path in chunk.paths], chunk.events, quarantine, known)
        packed, digests, trials = PackedRuns.of(runs), digests_of(runs), drafts_of(runs)
        yield number, chunk.key, Records(packed, digests, trials, quarantine.entries, quarantine.unknown_keys)


def _chunks(repo: Repo, paths: Sequence[Path]) -> list[Chunk]:
    """The archives in order of their start, for runs of the same time know the same past runs.

    A chunk ends after a name whose digest says so: whatever comes or goes, all other chunks stay as they are.
    """
    events = repo.events
    named = [(path.name, str(path)) for path in paths]
    named.sort(key=lambda archive: (events[archive[0]].started_ms or 0) if archive[0] in events else 0)
    settled_ns = time.time_ns() - SETTLED_NS
    chunks: list[Chunk] = []
    start = 0
    for end, (name, _) in enumerate(named, start=1):
        if end == len(named) or _ends_chunk(name):
            part = dict(named[start:end])
            own = {name: events[name] for name in part if name in events}
            chunks.append(Chunk(list(part.values()), own, _key(part, own, settled_ns)))
            start = end
    return chunks


def _ends_chunk(name: str) -> bool:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % MEAN_CHUNK == 0


def _key(paths: Mapping[str, str], events: dict[str, WorkcellEvents], settled_ns: int) -> str | None:
    """``paths`` are the archives' own, by their names."""
    states: dict[str, list[tuple[int, ...] | None]] = {}
    for name, path in paths.items():
        own = [_state(f"{path}/{artifact}") for artifact in ARTIFACTS]
        states[name] = own if any(own) else [_state(path)]
    if any(state is not None and max(state[:2]) > settled_ns for own in states.values() for state in own):
        return None
    return digest_of(orjson.dumps([states, events], option=orjson.OPT_SORT_KEYS))


def _state(path: str) -> tuple[int, ...] | None:
    """What changes when a file does, as git looks at it; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
