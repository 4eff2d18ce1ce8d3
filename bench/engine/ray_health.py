"""Ray's own process on this machine, the raylet: without it Ray answers nothing any more, and waiting has no end."""

import contextlib
import os
import select
import socket
import struct
from typing import Any

from planner.errors import BenchError


class RayHealth:
    """The raylet that this driver works through; one that cannot be seen from here counts as alive."""

    def __init__(self, ray: Any) -> None:
        self._pid = _raylet_pid(ray)
        self._handle: int | None = None
        if self._pid:
            with contextlib.suppress(OSError):
                self._handle = os.pidfd_open(self._pid)

    def check(self) -> None:
        """BenchError when it has died."""
        if not self._is_alive():
            raise BenchError(
                f"Ray's raylet (process {self._pid}) died: it was killed, or the memory ran out; what was finished is "
                "in the ledger: start the head again if it was one of yours, and give the same command again"
            )

    def close(self) -> None:
        """Let go of it; when it has died, let its workers see that."""
        if not self._is_alive():
            # Workers of an embedded Ray end when their raylet's number is free, which it is not before its parent,
            # this process, has asked for its exit code. Another parent does so by itself.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _is_alive(self) -> bool:
        return self._handle is None or not select.select([self._handle], [], [], 0)[0]


def _raylet_pid(ray: Any) -> int:
    """Its number, from the socket on which it listens; 0 when it is on another machine or in another container."""
    own = ray.get_runtime_context().get_node_id()
    paths = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(*paths)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", credentials)[0]
    return 0
