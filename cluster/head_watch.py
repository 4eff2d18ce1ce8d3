"""Watches the head and raylet that this process is attached to.

Of a dead head Ray takes a minute to notice, and then aborts; when the raylet has died it ends this process within
seconds, in the middle of a training without a word.
"""

import os
import select
import shlex
import socket
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from cluster.raylet import Raylet

LOOK_S = 2.0
"""How often the head's port is tried."""
PATIENCE = 5
"""How many times in a row it may refuse or not answer; a head that is started again needs a few seconds."""


class HeadWatch:
    """Ends this process with one sentence when one of them is gone. What commands have finished is on disk by then."""

    keepers: ClassVar[set[object]] = set()
    """Who looks after the raylet's death himself; then the head alone is watched."""

    def __init__(self, ray: Any) -> None:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._raylet = Raylet(ray)
        self._over, self._close = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="head watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._close)
        self._thread.join()
        os.close(self._over)
        self._raylet.close()

    def _watch(self) -> None:
        missed = 0
        while True:
            handles = [self._over] if self._raylet.handle is None else [self._over, self._raylet.handle]
            ended = select.select(handles, [], [], LOOK_S)[0]
            if self._over in ended:
                return
            if ended and not self.keepers:
                self._end(f"Ray's raylet (process {self._raylet.pid}) has died")
            if ended:
                self._raylet.close()
                continue
            missed = 0 if self._answers() else missed + 1
            if missed == PATIENCE:
                host, port = self._address
                self._end(f"Ray's head at {host}:{port} does not answer any more")

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._address, timeout=LOOK_S).close()
        except OSError:
            return False
        return True

    def _end(self, what: str) -> None:
        words = " ".join(map(shlex.quote, [Path(sys.argv[0]).name, *sys.argv[1:]]))
        sys.stderr.write(
            f"\nerror: {what}; what was finished is kept: start the head again, then give the same command: {words}\n"
        )
        sys.stderr.flush()
        # Whatever else this process could do would wait for the head.
        os._exit(1)
