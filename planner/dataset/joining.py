"""Runs to examples with their contexts as arrays, in blocks, each made again only when it would come out differently.

A context follows from its run, its issue and universe, and the runs that had ended when it was decided. So what comes
later changes no block before it.
"""

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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

BLOCK = 512
"""Decisions joined together."""


@dataclass
class Block:
    """The examples of consecutive decisions, and an account of them."""

    examples: list[Example]
    encoded: Encoded
    text: NDArray[np.uint8]
    """The examples' own, one after another: while it is kept they have none themselves."""
    bounds: NDArray[np.int64]
    contexts: Counter[str]
    unlabelled: Counter[str]

    def with_texts(self) -> "Block":
        """The same, each example's text a view."""
        text = memoryview(self.text)
        for example, (start, end) in zip(self.examples, itertools.pairwise(self.bounds.tolist()), strict=True):
            example.text = text[start:end]
        return self


def join(
    sources: Sources,
    digests: Mapping[str, bytes],
    kept: Kept,
    nodes: Sequence[Node] | None,
    progress: Callable[[int, int], None],
) -> list[Block]:
    """The blocks of a repo's examples, in order of time; ``digests`` are those of its runs, by their ids.

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
        found = maker.make(span)
        texts = [example.text for example in found.examples]
        for example in found.examples:
            example.text = b""
        block = Block(
            found.examples,
            encoder.encode(found.documents),
            np.frombuffer(b"".join(texts), dtype=np.uint8),
            np.cumsum([0, *map(len, texts)], dtype=np.int64),
            found.contexts,
            found.unlabelled,
        )
        yield key, key, block


def _keys(sources: Sources, digests: Mapping[str, bytes], spans: Sequence[range]) -> list[str]:
    """The digest of all that each block follows from."""
    runs = sources.runs
    universes = repr(sorted(sources.universes.items())).encode("utf-8", "backslashreplace")
    by_end = sorted(runs, key=lambda run: (run.ended_ms, run.run_id))
    ends_ms = [run.ended_ms for run in by_end]
    # Of the runs up to each one, in order of their ends.
    chain = list(itertools.accumulate((digests[run.run_id] for run in by_end), _link, initial=b""))
    failures = sorted(sources.start_failures, key=lambda failure: (failure.ended_ms, failure.issue_id))
    known_ms = {run.run_id: run.known_ms for run in runs}
    checked = sources.checked

    @cache
    def issue(issue_id: str) -> bytes:
        return hashlib.sha256(orjson.dumps(sources.issues.get(issue_id))).digest()

    keys = []
    for span in spans:
        own = runs[span.start : span.stop]
        last_ms = own[-1].decided_ms
        recorded = [run.planner_input for run in own if run.planner_input is not None]
        neighbours = [
            known_ms.get(past.run_id)
            for context in recorded
            if context.builder == sources.builder
            for past in context.runs
        ]
        known_failures = failures[: bisect.bisect_right(failures, last_ms, key=lambda failure: failure.ended_ms)]
        keys.append(
            digest_of(
                sources.builder.encode(),
                universes,
                chain[bisect.bisect_right(ends_ms, last_ms)],
                b"".join(digests[run.run_id] for run in own),
                b"".join(issue(run.issue_id) for run in own if run.planner_input is None and run.issue_id is not None),
                repr(known_failures).encode("utf-8", "backslashreplace"),
                orjson.dumps([neighbours, [run.run_id in checked for run in own]]),
            )
        )
    return keys


def _link(chain: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(chain + digest).digest()
