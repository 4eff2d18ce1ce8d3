"""The parts of a stage, worked on side by side: by Ray Data where Ray is connected, else by this process."""

import bisect
import itertools
import logging
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from cluster.nodes import Node
from planner.dataset.kept import packed
from planner.errors import PlannerError
from planner.gc_pause import collector_paused

FEW = 2
"""Parts that this process has done before Ray Data has begun."""
Work = Callable[[Sequence[Any], Any], Iterator[tuple[Any, Any]]]
"""Given consecutive parts and what is the same for all of them: a name and a value for each."""


def fan_out(
    parts: Sequence[Any], work: Work, common: Any, nodes: Sequence[Node] | None, sizes: Sequence[int] | None = None
) -> Iterator[tuple[Any, list[Any]]]:
    """``work`` over all parts: its names, and its values as :func:`planner.dataset.kept.packed` gives them.

    They come in any order, each as soon as it is there. ``nodes`` of Ray's may do it (None: all); where there is none,
    or little to do, this process does. Each process gets consecutive parts, so that what it learns from one helps with
    the next, and of much the same size together; without ``sizes`` all are alike.
    """
    if len(parts) > FEW and nodes != [] and connected_ray() is not None:
        yield from _with_ray(parts, work, common, nodes, sizes or [1] * len(parts))
        return
    if parts:
        for name, value in work(parts, common):
            yield name, packed(value)


def connected_ray() -> Any:
    """The ray module where this process is connected; else None, and nothing of Ray is imported."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def _with_ray(
    parts: Sequence[Any], work: Work, common: Any, nodes: Sequence[Node] | None, sizes: Sequence[int]
) -> Iterator[tuple[Any, list[Any]]]:
    """By Ray Data: a row for each CPU's share of the parts, and from it a row for each of them."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False
    settings.op_resource_reservation_enabled = False  # else, with two CPUs, one of them stays idle
    spans = even_spans(sizes, max(1, int(ray.cluster_resources().get("CPU", 1))))
    rows = [{"parts": pickle.dumps(parts[span])} for span in spans]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _work_on,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"work": work, "common": ray.put(pickle.dumps(common, protocol=5))},
        label_selector=nodes and {"ray.io/node-id": f"in({','.join(node.node_id for node in nodes)})"},
    )
    try:
        for row in done.iter_rows():
            yield pickle.loads(row["name"]), row["value"]
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PlannerError):
            raise error.cause from None
        raise


def even_spans(sizes: Sequence[int], count: int) -> list[slice]:
    """At most ``count`` spans of nearly the same size together, none of them empty."""
    ends = list(itertools.accumulate(sizes))
    bounds = [*(bisect.bisect_right(ends, ends[-1] * i // count) for i in range(count)), len(ends)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds) if end > start]


def _work_on(batch: pa.Table, work: Work, common: Any) -> Iterator[pa.Table]:
    """One process's share. Pickled by us: as columns of a table, objects would be taken apart and copied."""
    import ray

    with collector_paused():
        found = work(pickle.loads(batch["parts"][0].as_buffer()), pickle.loads(ray.get(common)))
        for name, value in found:
            value = pa.array([[bytes(part) for part in packed(value)]], pa.list_(pa.large_binary()))
            yield pa.table({"name": pa.array([pickle.dumps(name)], pa.binary()), "value": value})
