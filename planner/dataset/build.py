"""`planner dataset build`: from a Cyntra repo to a dataset. Ray Data reads and encodes, the driver orders and writes.

Chunks of archive directories are read in parallel, each archive once, and a context that a run recorded is encoded
where it was read. Where no Ray is connected this process reads them: a small repo is done before Ray has started.
Sorting, history, splitting and writing happen in the driver, in a fixed order, so that the bytes do
not depend on the parallelism; so does the encoding of contexts that history makes: their runs are at hand there.
"""

import itertools
import logging
import os
import pickle
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.nodes import Node, nodes_that_see
from planner.actions import ActionSpace
from planner.artifacts.events import WorkcellEvents
from planner.artifacts.recorded_context import PackedContext
from planner.artifacts.records import Quarantine, RunRecord
from planner.artifacts.repo import Repo, list_archives, locate, read_archives
from planner.artifacts.rule_settings import decisive_part
from planner.artifacts.universe import minute_seconds
from planner.artifacts.versions import UnknownKeys
from planner.context import N_SIMILAR
from planner.contracts.dataset import DatasetInfo, TokenProfile
from planner.contracts.document import canonical_json
from planner.contracts.kernel import context_builder
from planner.dataset.examples import Example, ExampleSet, make_examples
from planner.dataset.logged_trials import logged_trials
from planner.dataset.split import time_split
from planner.dataset.write import check_out, write_dataset
from planner.encoding.encode import Encoded, gather
from planner.encoding.profiles import encode
from planner.errors import DatasetError, PlannerError
from planner.gc_pause import collector_paused

READ_CHUNK = 4096
"""Archives read by one Ray Data batch, at most."""
ENCODE_CHUNK = 8192
"""Contexts that history made, encoded at once."""

RAY_PAYS_FROM = 4096
"""Archives: this process has read so many before an embedded Ray has started."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and its whole."""


def build_dataset(
    root: Path,
    out: Path,
    *,
    kernel_dir: Path | None = None,
    profile: TokenProfile = "planner",
    progress: Progress = lambda stage, done, total: None,
) -> DatasetInfo:
    """Read the repo at ``root`` and write a dataset to ``out``; returns its dataset.json.

    Ray Data reads the archives if Ray is connected, else this process; the dataset is the same.
    ``profile`` "kernel" is for policies that Cyntra's kernel will run itself; its stream holds less of a context.
    Archives are read on the nodes that see them, or here where no node with CPUs does. Raises ArtifactError when
    ``root`` is no Cyntra repo, DatasetError when no run can be a label or ``out`` holds something else. Files that
    cannot be read are listed in the dataset's quarantine.
    """
    with collector_paused():
        return _build(Repo(root, kernel_dir), out, profile, progress)


def is_worth_ray(root: Path, kernel_dir: Path | None = None) -> bool:
    """Whether the repo has so many archives that starting Ray to read them takes less time than it saves."""
    _, kernel = locate(root, kernel_dir)
    return len(list_archives(kernel, Quarantine(root))) >= RAY_PAYS_FROM


def _build(repo: Repo, out: Path, profile: TokenProfile, progress: Progress) -> DatasetInfo:
    check_out(out)
    issues, quarantine = repo.issues, repo.quarantine
    archived, recorded = _read_all(repo, profile, progress)
    runs = [*repo.world_runs, *archived]
    progress("join with history", 0, len(runs))
    found = make_examples(runs, issues, repo.universes, profile, repo.start_failures)
    progress("join with history", len(runs), len(runs))
    splits = time_split([example.decided_ms for example in found.examples])
    firsts_ms = {name: found.examples[span.start].decided_ms if span else None for name, span in splits.items()}
    config = repo.config
    info = write_dataset(
        out,
        examples=found.examples,
        encode=lambda: _encode_all(found, recorded, profile, progress),
        splits=splits,
        space=_joint_space(found.examples),
        vocabulary=None,
        seen_issues={found.examples[i].issue_id for i in splits["train"]},
        trials=logged_trials(archived, repo.events, issues, firsts_ms, repo.start_failures),
        n_similar=N_SIMILAR,
        account={
            "label_source": "executed_plans",
            "base_dataset_hash": None,
            "token_profile": profile,
            "context_builder": profile,
            "kernel_config": decisive_part(config),
            "minute_seconds": minute_seconds(config),
            "counts": {
                "runs": len(runs),
                "examples": len(found.examples),
                "history_only": len(runs) - len(found.examples),
                "quarantined": len(quarantine.entries),
                "issues": len(issues),
            },
            "contexts": dict(found.contexts),
            "unlabelled": dict(sorted(found.unlabelled.items())),
            "unknown_keys": dict(sorted(quarantine.unknown_keys.items())),
            "quarantine": sorted(quarantine.entries, key=lambda entry: (entry["path"], entry["reason"])),
        },
    )
    progress("write", len(found.examples), len(found.examples))
    return info


def _joint_space(examples: Sequence[Example]) -> ActionSpace:
    return ActionSpace.union(sorted({e.space for e in examples}, key=lambda space: canonical_json(space.to_document())))


@dataclass
class _Recorded:
    """The contexts that runs recorded, and their arrays in parts that follow one another."""

    packed: list[PackedContext] = field(default_factory=list)
    parts: list[Encoded] = field(default_factory=list)


def _read_all(repo: Repo, profile: TokenProfile, progress: Progress) -> tuple[list[RunRecord], _Recorded]:
    """Every archive's run and what it recorded."""
    ray = _connected_ray()
    nodes = None if ray is None else nodes_that_see(ray, repo.kernel / "planner")
    events, quarantine = repo.events, repo.quarantine
    paths = list_archives(repo.kernel, quarantine)
    # Runs of the same time know the same past runs, and what is in one chunk is encoded once.
    paths = sorted(paths, key=lambda path: (events[path.name].started_ms or 0) if path.name in events else 0)
    chunks = []
    for span in _even_spans(len(paths)):
        part = paths[span]
        chunks.append(([str(path) for path in part], {p.name: events[p.name] for p in part if p.name in events}))
    runs, recorded = [], _Recorded()
    arguments = {"root": str(repo.root), "profile": profile}
    for records, encoded, entries, unknown_keys in _map_chunks(
        chunks, _read_chunk, arguments, "read archives", progress, nodes
    ):
        runs += records
        recorded.packed += [record.planner_input for record in records if _is_of(profile, record.planner_input)]
        recorded.parts.append(encoded)
        quarantine.entries += entries
        quarantine.unknown_keys.update(unknown_keys)
    return runs, recorded


def _even_spans(n: int) -> list[slice]:
    """Spans over n archives, as many for each CPU, so that all of them are busy to the end."""
    ray = _connected_ray()
    cpus = 1 if ray is None else max(1, int(ray.cluster_resources().get("CPU", 1)))
    count = cpus * max(1, -(-n // (READ_CHUNK * cpus)))
    bounds = [n * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds) if end > start]


def _read_chunk(
    chunk: tuple[list[str], dict[str, WorkcellEvents]], root: str, profile: TokenProfile
) -> tuple[list[RunRecord], Encoded, list[dict[str, str]], UnknownKeys]:
    """Archive paths and events in; out come run records, the contexts they recorded as arrays, and what a quarantine
    holds: its entries and the unknown keys."""
    paths, events = chunk
    quarantine = Quarantine(Path(root))
    unseen = [path for path in paths if not os.path.lexists(path)]
    if unseen:
        raise DatasetError(
            f"node {platform.node()} does not see {len(unseen)} of {len(paths)} archives that are there: {unseen[0]}: "
            "mount the repo on every node"
        )
    contexts: list[dict[str, Any]] = []
    runs = read_archives([Path(path) for path in paths], events, quarantine, contexts)
    # What the other builder recorded is built anew where the whole history is known.
    own = [context for context in contexts if context_builder(context) == profile]
    return runs, encode(own, N_SIMILAR, profile), quarantine.entries, quarantine.unknown_keys


def _is_of(profile: TokenProfile, context: PackedContext | None) -> bool:
    """Whether a run recorded a context, and that of the profile's own builder."""
    return context is not None and context.builder == profile


def _encode_all(found: ExampleSet, recorded: _Recorded, profile: TokenProfile, progress: Progress) -> Encoded:
    """The examples' contexts as arrays; those that still are as recorded need not be encoded again."""
    made = list(found.made.values())
    parts = list(recorded.parts)
    for start in range(0, len(made), ENCODE_CHUNK):
        progress("encode contexts", start, len(made))
        parts.append(encode(made[start : start + ENCODE_CHUNK], N_SIMILAR, profile))
    progress("encode contexts", len(made), len(made))
    progress("write", 0, len(found.examples))
    row_of = {id(packed): row for row, packed in enumerate(recorded.packed)}
    row_of_made = {position: row for row, position in enumerate(found.made, start=len(recorded.packed))}
    rows = [
        row_of_made[position] if position in row_of_made else row_of[id(example.packed)]
        for position, example in enumerate(found.examples)
    ]
    return gather(parts, np.array(rows, dtype=np.intp))


def _map_chunks(
    chunks: Sequence[Any],
    function: Callable[..., Any],
    arguments: dict[str, Any],
    stage: str,
    progress: Progress,
    nodes: Sequence[Node] | None,
) -> list[Any]:
    """``function`` over chunks; the results in their order.

    ``nodes`` of Ray's may do it (None: all); where there is none, this process does.
    """
    if not chunks:
        return []
    progress(stage, 0, len(chunks))
    if nodes != [] and _connected_ray() is not None:
        return _map_with_ray(chunks, function, arguments, stage, progress, nodes)
    results = []
    for done, chunk in enumerate(chunks, start=1):
        results.append(function(chunk, **arguments))
        progress(stage, done, len(chunks))
    return results


def _connected_ray() -> Any:
    """The ray module where this process is connected; else None, and nothing of Ray is imported."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def _map_with_ray(
    chunks: Sequence[Any],
    function: Callable[..., Any],
    arguments: dict[str, Any],
    stage: str,
    progress: Progress,
    nodes: Sequence[Node] | None,
) -> list[Any]:
    """With Ray Data, a batch of each chunk."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False
    settings.op_resource_reservation_enabled = False  # else, with two CPUs, one of them stays idle
    rows = [{"number": number, "chunk": pickle.dumps(chunk)} for number, chunk in enumerate(chunks)]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    mapped = data.map_batches(
        _map_batch,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"function": function, "arguments": arguments},
        label_selector=nodes and {"ray.io/node-id": f"in({','.join(node.node_id for node in nodes)})"},
    )
    results = {}
    try:
        for done, row in enumerate(mapped.iter_rows(), start=1):
            *buffers, stream = row["result"]
            results[row["number"]] = pickle.loads(stream, buffers=buffers)
            progress(stage, done, len(chunks))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PlannerError):
            raise error.cause from None
        raise
    return [results[number] for number in range(len(chunks))]


def _map_batch(batch: pa.Table, function: Callable[..., Any], arguments: dict[str, Any]) -> pa.Table:
    """One batch of one chunk. Pickled by us: as columns of a table, objects would be taken apart and copied.

    Arrays travel beside the pickle and not within it (PEP 574): each copy of them would be new memory.
    """
    buffers: list[pickle.PickleBuffer] = []
    with collector_paused():
        result = function(pickle.loads(batch["chunk"][0].as_buffer()), **arguments)
        stream = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    row = [*(buffer.raw() for buffer in buffers), stream]
    return pa.table({"number": batch["number"], "result": pa.array([row], pa.list_(pa.large_binary()))})
