"""Watches the head that this process is attached to: Ray itself waits a minute for a dead one, and then aborts."""

import os
import shlex
import socket
import sys
import threading
from pathlib import Path
from typing import Any

LOOK_S = 2.0
"""How often the head's port is tried."""
PATIENCE = 5
"""How many times in a row it may refuse or not answer; a head that is started again needs a few seconds."""


class HeadWatch:
    """Ends this process with one sentence when the head is gone. What commands have finished is on disk by then."""

    def __init__(self, ray: Any) -> None:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="head watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        missed = 0
        while not self._over.wait(LOOK_S):
            missed = 0 if self._answers() else missed + 1
            if missed == PATIENCE and not self._over.is_set():
                self._end()

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._address, timeout=LOOK_S).close()
        except OSError:
            return False
        return True

    def _end(self) -> None:
        host, port = self._address
        words = " ".join(map(shlex.quote, [Path(sys.argv[0]).name, *sys.argv[1:]]))
        sys.stderr.write(
            f"\nerror: Ray's head at {host}:{port} does not answer any more; what was finished is kept: start the head "
            f"again, then give the same command: {words}\n"
        )
        sys.stderr.flush()
        # Whatever else this process could do would wait for the head.
        os._exit(1)
