"""The nodes of a cluster: which are alive, and which of them see a directory of this machine."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWER_WITHIN_S = 60.0
"""How long a node may take to start a worker and look at a file."""


@dataclass(frozen=True)
class Node:
    """One node that is alive."""

    node_id: str
    host: str
    cpus: float


def alive_nodes(ray: Any) -> list[Node]:
    """The nodes that are alive now, in a fixed order."""
    nodes = [
        Node(node["NodeID"], node["NodeManagerHostname"], node["Resources"].get("CPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: node.node_id)


def is_embedded(ray: Any) -> bool:
    """Whether this process has started Ray for itself, so that no other machine joins it."""
    return bool(getattr(ray._private.worker._global_node, "head", False))


@contextmanager
def nonce_in(directory: Path) -> Iterator[Path | None]:
    """A fresh file in ``directory`` for the length of the block, by which a node shows that it sees the directory as it
    is now, and not as it once was; None where nothing can be written there."""
    path = directory / f".nonce-{uuid.uuid4().hex}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except OSError:
        yield None
        return
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def nodes_that_see(ray: Any, directory: Path) -> list[Node] | None:
    """The nodes with CPUs that see ``directory`` as this machine does; None: all of them do, or nobody can say."""
    own = ray.get_runtime_context().get_node_id()
    nodes = [node for node in alive_nodes(ray) if node.cpus > 0]
    others = [node for node in nodes if node.node_id != own]
    if not others:
        return None
    with nonce_in(directory) as nonce:
        if nonce is None:
            return None
        blind = _blind(ray, others, nonce)
    return [node for node in nodes if node not in blind] if blind else None


def _blind(ray: Any, nodes: Sequence[Node], nonce: Path) -> list[Node]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_sees)
    answers = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote(
            str(nonce)
        ): node
        for node in nodes
    }
    done, late = ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_WITHIN_S)
    blind = [answers[reference] for reference in late]
    for reference in done:
        try:
            seen = ray.get(reference)
        except ray.exceptions.RayError:
            seen = False
        if not seen:
            blind.append(answers[reference])
    return blind


def _sees(path: str) -> bool:
    return Path(path).exists()
