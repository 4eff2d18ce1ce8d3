"""Starts supervisors by way of this process's fork server (``forkserver``), which is started when needed."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence

from bench.containment import forkserver
from bench.containment.fast_python import fast_module
from planner.errors import BenchError


class ForkServer:
    """The fork server of one process; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start_supervisor(
        self, arguments: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
    ) -> None:
        """Start one with ``arguments`` after its descriptors: control pipe, report pipe, lock, and at last the log.

        BenchError when an argument or a variable has a NUL character.
        """
        if any("\0" in text for text in (*arguments, *environment, *environment.values())):
            raise BenchError(f"cannot start {list(arguments)}: there is a NUL character in it or in its environment")
        text = json.dumps({"arguments": list(arguments), "environment": dict(environment)})
        with self._lock:
            try:
                self._send(text, descriptors)
            except (BrokenPipeError, ConnectionResetError):
                # It was killed since: the next one is as good.
                self._stop()
                self._send(text, descriptors)

    def _send(self, text: str, descriptors: Sequence[int]) -> None:
        if self._requests is None or self._owner != os.getpid():
            self._start()
        assert self._requests is not None
        data = text.encode() + b"\n"
        sent = socket.send_fds(self._requests, [data], list(descriptors))
        self._requests.sendall(data[sent:])

    def _start(self) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [*fast_module(forkserver), str(its.fileno())],
                cwd="/",
                # What a run may see comes with it.
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._requests, self._owner = ours, os.getpid()

    def _stop(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()


FORK_SERVER = ForkServer()
"""This process's own."""
