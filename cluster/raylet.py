"""Ray's own process on this machine, the raylet: without it Ray answers nothing any more, and waiting has no end."""

import contextlib
import os
import select
import socket
import struct
from typing import Any


class Raylet:
    """The raylet that this driver works through; one that cannot be seen from here counts as alive."""

    def __init__(self, ray: Any) -> None:
        self.pid = _pid(ray)
        self.handle: int | None = None
        """Readable when it has died; None where it cannot be seen."""
        if self.pid:
            with contextlib.suppress(OSError):
                self.handle = os.pidfd_open(self.pid)

    def is_alive(self) -> bool:
        """Whether it is."""
        return self.handle is None or not select.select([self.handle], [], [], 0)[0]

    def close(self) -> None:
        """Let go of it."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


def _pid(ray: Any) -> int:
    """Its number, from the socket on which it listens; 0 when it is on another machine or in another container."""
    own = ray.get_runtime_context().get_node_id()
    paths = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(*paths)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", credentials)[0]
    return 0
