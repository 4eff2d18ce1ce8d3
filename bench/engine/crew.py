"""The workers of a bench: which nodes have how many, which have answered, and which get no more work.

A worker is an actor that is bound to its node. It gets work only after it has answered, so that an actor that Ray
cannot place holds nothing up. Nodes that join get workers, nodes that die lose theirs.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.nodes import Node, alive_nodes
from planner.errors import BenchError, ClusterError

LOOK_S = 5.0
"""How often the crew looks which nodes there are."""
FAULTS_IN_A_ROW = 2
"""A node whose executions end in that many faults, one after another, gets no more, as long as there is another. One
fewer than an execution has attempts: the last is made elsewhere."""


@dataclass(frozen=True)
class Obstacle:
    """Why a worker can do nothing where it is."""

    reason: str
    unseen: bool = False
    """It does not see the data there: with a parcel of them it might."""


@dataclass(eq=False)
class Worker:
    """An actor and where it is."""

    actor: Any
    node: Node
    number: int = 1
    """From 1 on each host; that of one that went is given again."""

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{self.node.host} {self.number}"


@dataclass
class _Place:
    """What the crew knows of one node."""

    node: Node
    workers: list[Worker] = field(default_factory=list)
    faults: int = 0
    barred: str | None = None
    """Why the node gets no work."""


class Crew:
    """Starts workers on the cluster's nodes. ``n_workers`` of None: as many as the cluster has CPUs, and grows so."""

    def __init__(
        self,
        ray: Any,
        make: Callable[[], Any],
        arguments: tuple[Any, ...],
        n_workers: int | None,
        nonce: Path | None,
        pack: Callable[[], Any] | None = None,
    ) -> None:
        """``make`` gives the actor's class, which has a method ``ready``; ``arguments`` are its constructor's.

        ``pack`` gives what a node needs that does not see the data; it may raise BenchError.
        """
        self._ray = ray
        self._class = ray.remote(max_restarts=0, max_task_retries=0)(make())
        self._arguments = arguments
        self._n_workers = n_workers
        self._nonce = None if nonce is None else str(nonce)
        self._pack = pack
        self._parcel: list[Any] = []
        """Its reference in Ray's object store, once a node has needed it."""
        self._places: dict[str, _Place] = {}
        self._starting: dict[Any, Worker] = {}
        self._idle: list[Worker] = []
        self._looked = -math.inf

    @property
    def answers(self) -> list[Any]:
        """References to the answers that workers still owe."""
        return list(self._starting)

    @property
    def barred(self) -> dict[str, str]:
        """Host -> why its node gets no work."""
        return {place.node.host: place.barred for place in self._places.values() if place.barred}

    def recruit(self, wanted: int) -> None:
        """See which nodes there are now, and start workers on them, ``wanted`` in all at most.

        ClusterError when no node is left that may do anything.
        """
        if time.monotonic() - self._looked < LOOK_S and self._places:
            return
        self._looked = time.monotonic()
        nodes = [node for node in alive_nodes(self._ray) if node.cpus > 0]
        if not nodes:
            raise ClusterError(
                "no node of the cluster has a CPU: start one with `ray start --address ... --num-cpus N`"
            )
        for node in nodes:
            self._places.setdefault(node.node_id, _Place(node))
        alive = {node.node_id for node in nodes}
        usable = [place for key, place in self._places.items() if key in alive and not place.barred]
        if not usable:
            reasons = "; ".join(f"{host}: {reason}" for host, reason in self.barred.items())
            raise ClusterError(f"no node can do executions: {reasons}")
        total = min(wanted, self._n_workers or int(sum(place.node.cpus for place in usable)) or 1)
        for place, count in zip(usable, _shares([place.node.cpus for place in usable], total), strict=True):
            cpus = math.floor(min(1.0, place.node.cpus / max(count, 1)) * 1000) / 1000
            while len(place.workers) < count:
                self._start(place, cpus)

    def take(self) -> Worker | None:
        """An idle worker, which is then busy."""
        while self._idle:
            worker = self._idle.pop()
            place = self._places[worker.node.node_id]
            if worker in place.workers and not place.barred:
                return worker
            self.dismiss(worker)
        return None

    def give_back(self, worker: Worker, faulty: bool) -> None:
        """The worker is idle again; ``faulty``: its execution ended in a fault."""
        place = self._places[worker.node.node_id]
        place.faults = place.faults + 1 if faulty else 0
        others = [p for p in self._places.values() if p is not place and p.workers and not p.barred]
        if place.faults >= FAULTS_IN_A_ROW and others:
            place.barred = f"{place.faults} executions in a row ended in a fault there"
        self._idle.append(worker)

    def answered(self, reference: Any) -> None:
        """Take in the answer of a worker that was started."""
        worker = self._starting.pop(reference)
        try:
            obstacle = self._ray.get(reference)
            if obstacle is not None and obstacle.unseen and self._pack is not None:
                self._send_parcel(worker, self._pack)
                return
        except self._ray.exceptions.RayError as error:
            obstacle = Obstacle(f"its worker died at its start: {str(error).splitlines()[0]}")
        except BenchError as error:
            obstacle = Obstacle(f"it does not see the repo, which cannot be sent there: {error}")
        if obstacle is None:
            self._idle.append(worker)
            return
        if worker.node.node_id in {node.node_id for node in alive_nodes(self._ray)}:
            self._places[worker.node.node_id].barred = obstacle.reason
        self.dismiss(worker)

    def _send_parcel(self, worker: Worker, pack: Callable[[], Any]) -> None:
        """Let the worker answer again, with what it needs where the data are not seen."""
        if not self._parcel:
            self._parcel = [self._ray.put(pack())]
        self._starting[worker.actor.ready.remote(None, self._parcel)] = worker

    def dismiss(self, worker: Worker) -> None:
        """Let a worker go for good."""
        self._ray.kill(worker.actor)
        place = self._places[worker.node.node_id]
        if worker in place.workers:
            place.workers.remove(worker)
        self._looked = -math.inf

    def close(self) -> None:
        """Let all workers go."""
        for place in self._places.values():
            for worker in place.workers:
                self._ray.kill(worker.actor)

    def _start(self, place: _Place, cpus: float) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(place.node.node_id, soft=False)
        actor = self._class.options(num_cpus=cpus, scheduling_strategy=strategy).remote(*self._arguments)
        # Nodes of one machine, as tests have them, count on.
        taken = {
            worker.number
            for other in self._places.values()
            for worker in other.workers
            if other.node.host == place.node.host
        }
        number = next(number for number in itertools.count(1) if number not in taken)
        worker = Worker(actor, place.node, number)
        place.workers.append(worker)
        self._starting[actor.ready.remote(self._nonce, ())] = worker


def _shares(cpus: list[float], total: int) -> list[int]:
    """``total`` workers over nodes in proportion to their CPUs, whole numbers, the largest remainders first."""
    exact = [total * own / sum(cpus) for own in cpus]
    shares = [int(value) for value in exact]
    remainders = sorted(range(len(cpus)), key=lambda i: (shares[i] - exact[i], i))
    for i in remainders[: total - sum(shares)]:
        shares[i] += 1
    return shares
