"""How the driver shortens the limits of an execution that runs on whatever node: by a note in Ray's key-value store.

A method of the worker would be the usual way, in a concurrency group of its own. But then Ray performs every method
in a thread, and the idle main thread wakes a hundred times a second: 1 % of a core for each worker, all the time.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import orjson
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from bench.containment.limits import Deadline

_NAMESPACE = "planner-bench"
LOOK_S = 2.0
"""How often a worker looks whether there is a note."""


class RemoteDeadline:
    """The driver's end: limits for one call of a worker, which looks for them under ``key``."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._limits: dict[str, float] = {}

    def shorten(self, seconds: float, reason: Literal["capped", "cancelled"]) -> None:
        """End the execution once it has lasted ``seconds``; one that is over already is left alone."""
        if seconds < self._limits.get(reason, float("inf")):
            self._limits[reason] = seconds
            _internal_kv_put(self.key, orjson.dumps(self._limits), namespace=_NAMESPACE)

    def close(self) -> None:
        """Take the note away."""
        if self._limits:
            _internal_kv_del(self.key, namespace=_NAMESPACE)


@contextmanager
def following(deadline: Deadline, key: str) -> Iterator[None]:
    """The worker's end: shorten ``deadline`` as the notes under ``key`` say, for the length of the block."""
    over = threading.Event()

    def follow() -> None:
        while not over.is_set():
            for reason, seconds in orjson.loads(_internal_kv_get(key, namespace=_NAMESPACE) or b"{}").items():
                deadline.shorten(seconds, reason)
            over.wait(LOOK_S)

    follower = threading.Thread(target=follow, name="remote_deadline", daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
