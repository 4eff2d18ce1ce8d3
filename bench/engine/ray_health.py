"""A look at the raylet between executions: when it has died, the bench cleans up before it ends."""

import contextlib
import os
from typing import Any

from cluster.head_watch import HeadWatch
from cluster.raylet import Raylet
from planner.errors import BenchError


class RayHealth:
    """The raylet that this driver works through. Until :meth:`close` nobody else ends the command when it dies."""

    def __init__(self, ray: Any) -> None:
        HeadWatch.keepers.add(self)
        self._raylet = Raylet(ray)

    def check(self) -> None:
        """BenchError when it has died."""
        if not self._raylet.is_alive():
            raise BenchError(
                f"Ray's raylet (process {self._raylet.pid}) died: it was killed, or the memory ran out; what was "
                "finished is in the ledger: start the head again if it was one of yours, and give the same command "
                "again"
            )

    def close(self) -> None:
        """Let go of it; when it has died, let its workers see that."""
        if not self._raylet.is_alive():
            # Workers of an embedded Ray end when their raylet's number is free, which it is not before its parent,
            # this process, has asked for its exit code. Another parent does so by itself.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._raylet.pid, 0)
        self._raylet.close()
        HeadWatch.keepers.discard(self)
