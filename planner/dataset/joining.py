"""Runs to examples with their contexts as arrays, in blocks, each made again only when it would come out differently.

A context follows from its run, its issue and universe, and the runs that had ended when it was decided. So what comes
later changes no block before it.
"""

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import orjson
from numpy.typing import NDArray

from cluster.nodes import Node
from planner.context import N_SIMILAR
from planner.dataset.examples import Example, ExampleMaker, Sources
from planner.dataset.fan_out import fan_out
from planner.dataset.kept import Kept, digest_of
from planner.encoding.encode import Encoded
from planner.encoding.profiles import Encoder
from planner.past_runs import Runs, Texts

BLOCK = 512
"""Decisions joined together."""
REMEMBERED = 2**17
"""Past runs that a process keeps parsed and encoded, 4 kB each."""


@dataclass
class Block:
    """The examples of consecutive decisions, and an account of them."""

    examples: list[Example]
    encoded: Encoded
    texts: Texts
    """The examples' own: while it is kept they have none themselves."""
    contexts: Counter[str]
    unlabelled: Counter[str]

    def with_texts(self) -> "Block":
        """The same, each example's text a view."""
        for example, text in zip(self.examples, self.texts, strict=True):
            example.text = text
        return self


def join(
    sources: Sources,
    digests: NDArray[np.uint8],
    kept: Kept,
    nodes: Sequence[Node] | None,
    progress: Callable[[int, int], None],
) -> list[Block]:
    """The blocks of a repo's examples, in order of time; ``digests`` are those of its runs, (r, 32).

    Their arrays and texts are mapped from the files in ``kept``.
    """
    spans = [range(start, min(start + BLOCK, len(sources.runs))) for start in range(0, len(sources.runs), BLOCK)]
    keys = _keys(sources, digests, spans)
    blocks = {key: block for key in keys if (block := kept.load(key)) is not None}
    progress(len(blocks), len(keys))
    missing = [(key, span) for key, span in zip(keys, spans, strict=True) if key not in blocks]
    for key, block in fan_out(missing, join_blocks, sources, kept, nodes):
        blocks[key] = block
        progress(len(blocks), len(keys))
    return [blocks[key].with_texts() for key in keys]


def join_blocks(blocks: Sequence[tuple[str, range]], sources: Sources) -> Iterator[tuple[str, str, Block]]:
    """The block of each span of runs; its key is its name."""
    maker, encoder = ExampleMaker(sources), Encoder(N_SIMILAR, sources.builder)
    for key, span in blocks:
        if maker.remembered > REMEMBERED:
            maker.forget()
            encoder = Encoder(N_SIMILAR, sources.builder)
        found = maker.make(span)
        texts = [example.text for example in found.examples]
        for example in found.examples:
            example.text = b""
        block = Block(
            found.examples,
            encoder.encode(found.documents),
            Texts.of(texts),
            found.contexts,
            found.unlabelled,
        )
        yield key, key, block


def _keys(sources: Sources, digests: NDArray[np.uint8], spans: Sequence[range]) -> list[str]:
    """The digest of all that each block follows from."""
    runs = sources.runs
    universes = repr(sorted(sources.universes.items())).encode("utf-8", "backslashreplace")
    until = _digests_until([int(runs.decided_ms[span[-1]]) for span in spans], runs, digests)
    failures = sorted(sources.start_failures, key=lambda failure: (failure.ended_ms, failure.issue_id))
    of_tracker, as_recorded = runs.recorded_by(None), runs.recorded_by(sources.builder)

    @cache
    def known_ms() -> dict[str, int]:
        return dict(zip(runs.run_ids, runs.known_ms.tolist(), strict=True))

    @cache
    def issue(issue_id: str) -> bytes:
        return hashlib.sha256(orjson.dumps(sources.issues.get(issue_id))).digest()

    keys = []
    for span, known in zip(spans, until, strict=True):
        own = slice(span.start, span.stop)
        recorded = [runs[number].planner_input for number in span if as_recorded[number]]
        neighbours = [known_ms().get(past.run_id) for context in recorded if context for past in context.runs]
        issues = [runs.issue_ids[number] for number in span if of_tracker[number]]
        last_ms = int(runs.decided_ms[span[-1]])
        known_failures = failures[: bisect.bisect_right(failures, last_ms, key=lambda failure: failure.ended_ms)]
        keys.append(
            digest_of(
                sources.builder.encode(),
                universes,
                known,
                digests[own].tobytes(),
                b"".join(issue(issue_id) for issue_id in issues if issue_id is not None),
                repr(known_failures).encode("utf-8", "backslashreplace"),
                orjson.dumps([neighbours, sources.checked[own].tolist()]),
            )
        )
    return keys


def _digests_until(times_ms: Sequence[int], runs: Runs, digests: NDArray[np.uint8]) -> list[bytes]:
    """Of each of these times, in their order, the digest of all runs that had ended by then."""
    ended_ms = runs.history("planner").ended_ms
    by_end = np.argsort(ended_ms, kind="stable")
    bounds = [0, *ended_ms[by_end].searchsorted(times_ms, side="right").tolist()]
    digest, found = hashlib.sha256(), []
    for start, end in itertools.pairwise(bounds):
        digest.update(digests[by_end[start:end]].tobytes())
        found.append(digest.digest())
    return found
