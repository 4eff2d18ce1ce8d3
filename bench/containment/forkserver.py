"""The program that starts supervisors: one for each process that supervises runs, and each supervisor a fork of it.

A supervisor of its own would cost a start of Python in every execution, four times what it does in its whole life.
Started by ``bench.containment.run_supervised`` with a stream socket as its argument. A request there is a line of JSON,
``{"arguments": [...], "environment": {...}}``, that comes with four file descriptors: control pipe, report pipe, lock
and log. The socket's end, which is the end of the process that started it, is its own; supervisors go on.
"""

import array
import contextlib
import json
import os
import signal
import socket

from bench.containment import supervisor

N_DESCRIPTORS = 4


def main(arguments: list[str]) -> None:
    """Fork a supervisor for every request until there are no more."""
    # Not ignored: only of children that were waited for, their CPU time is added to ours.
    signal.signal(signal.SIGCHLD, reap)
    requests = socket.socket(fileno=int(arguments[0]))
    while (request := receive(requests)) is not None:
        text, descriptors = request
        if os.fork() == 0:
            requests.close()
            become_supervisor(text, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def reap(*_: object) -> None:
    """Wait for all supervisors that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def receive(requests: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next request and its descriptors, or None when the other end is closed."""
    text, descriptors = b"", array.array("i")
    while not text.endswith(b"\n"):
        room = socket.CMSG_SPACE(N_DESCRIPTORS * descriptors.itemsize)
        data, messages, _, _ = requests.recvmsg(65536, room)
        for _, _, payload in messages:
            descriptors.frombytes(payload)
        if not data:
            return None
        text += data
    return text, list(descriptors)


def become_supervisor(text: bytes, descriptors: list[int]) -> None:
    """Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(text)
    *inherited, log = descriptors
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    supervisor.main([*map(str, inherited), *request["arguments"]])
