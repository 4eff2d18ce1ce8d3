"""The parts of a stage, worked on side by side: by Ray Data where Ray is connected, else by this process."""

import bisect
import itertools
import logging
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.nodes import Node
from planner.dataset.kept import Kept, packed, unpacked
from planner.errors import PathError, PlannerError
from planner.gc_pause import collector_paused

FEW = 2
"""Parts that this process has done before Ray Data has begun."""
Work = Callable[[Sequence[Any], Any], Iterator[tuple[Any, str | None, Any]]]
"""Given consecutive parts and what is the same for all of them: of each a name, the key under which it is to be kept,
and its value."""


def fan_out(
    parts: Sequence[Any],
    work: Work,
    common: Any,
    kept: Kept,
    nodes: Sequence[Node] | None,
    sizes: Sequence[int] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """``work`` over all parts: their names and values; what has a key is kept, and its arrays are mapped from there.

    They come in any order, each as soon as it is there. ``nodes`` of Ray's may do it (None: all); where there is none,
    or little to do, this process does. Each process gets consecutive parts, so that what it learns from one helps with
    the next, and of much the same size together; without ``sizes`` all are alike.
    """
    if len(parts) > FEW and nodes != [] and connected_ray() is not None:
        yield from _with_ray(parts, work, common, kept, nodes, sizes or [1] * len(parts))
        return
    if parts:
        for name, key, value in work(parts, common):
            yield name, kept.keep(key, packed(value))


def connected_ray() -> Any:
    """The ray module where this process is connected; else None, and nothing of Ray is imported."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


@dataclass(frozen=True)
class _Task:
    """What every process is sent."""

    work: Work
    common: list[NDArray[np.uint8]]
    """Packed: what of it is arrays lies once in each machine's memory, for all of its processes."""
    kept: Kept
    node_id: str
    """The driver's."""


def _with_ray(
    parts: Sequence[Any], work: Work, common: Any, kept: Kept, nodes: Sequence[Node] | None, sizes: Sequence[int]
) -> Iterator[tuple[Any, Any]]:
    """By Ray Data: a row for each CPU's share of the parts, and from it a row for each of them."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False
    settings.op_resource_reservation_enabled = False  # else, with two CPUs, one of them stays idle
    settings.target_max_block_size = 1  # else a process's parts come all at once, when it has done the last one
    whole = [np.frombuffer(part, dtype=np.uint8) for part in packed(common)]
    task = _Task(work, whole, kept, ray.get_runtime_context().get_node_id())
    spans = even_spans(sizes, max(1, int(ray.cluster_resources().get("CPU", 1))))
    rows = [{"parts": pickle.dumps(parts[span])} for span in spans]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _work_on,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"task": ray.put(task)},
        label_selector=nodes and {"ray.io/node-id": f"in({','.join(node.node_id for node in nodes)})"},
    )
    # By rows, Ray would hold each one back until the next is there.
    for batch in done.iter_batches(prefetch_batches=0, batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            found = pickle.loads(row["name"])
            if isinstance(found, PlannerError):
                raise found
            name, key = found
            yield name, kept.load(key) if row["value"] is None else kept.keep(key, row["value"])


def even_spans(sizes: Sequence[int], count: int) -> list[slice]:
    """At most ``count`` spans of nearly the same size together, none of them empty."""
    ends = list(itertools.accumulate(sizes))
    bounds = [*(bisect.bisect_right(ends, ends[-1] * i // count) for i in range(count)), len(ends)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds) if end > start]


def _work_on(batch: pa.Table, task: Any) -> Iterator[pa.Table]:
    """One process's share; ``task`` is the reference of a _Task.

    On the driver's machine what is to be kept goes straight to where it is kept, else through the object store.
    Pickled by us: as columns of a table, objects would be taken apart and copied.
    """
    import ray

    task = ray.get(task)
    beside = ray.get_runtime_context().get_node_id() == task.node_id
    try:
        with collector_paused():
            for name, key, value in task.work(pickle.loads(batch["parts"][0].as_buffer()), unpacked(task.common)):
                parts = packed(value)
                sent = None if key is not None and beside and _stored(task.kept, key, parts) else parts
                yield _row((name, key), None if sent is None else [bytes(part) for part in sent])
    except PlannerError as error:
        # Raised, Ray Data would print where, and add two sentences of its own to ours.
        yield _row(error, None)


def _row(name: Any, value: list[bytes] | None) -> pa.Table:
    return pa.table(
        {
            "name": pa.array([pickle.dumps(name)], pa.binary()),
            "value": pa.array([value], pa.list_(pa.large_binary())),
        }
    )


def _stored(kept: Kept, key: str, parts: Sequence[Any]) -> bool:
    """Whether this process could keep it: it may be another user's."""
    try:
        kept.store(key, parts)
    except PathError:
        return False
    return True
