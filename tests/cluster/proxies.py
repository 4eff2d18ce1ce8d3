"""A connection that a test can break: a port of its own that leads to another."""

import contextlib
import socket
import threading
from types import TracebackType


class Proxy:
    """Forwards what comes to :attr:`address` to ``port``, until it is cut.

    The first ``refused`` jobs are refused as Ray 2.60 refuses them while a head's agent has not started.
    """

    def __init__(self, port: int, *, refused: int = 0) -> None:
        self._to, self._open, self._refused = port, True, refused
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Break every connection, and let no other be made."""
        self._open = False
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def restore(self) -> None:
        """Let connections be made again."""
        self._open = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                near, _ = self._listener.accept()
                if not self._open:
                    near.close()
                    continue
                if self._refused and near.recv(65536, socket.MSG_PEEK).startswith(b"POST /api/jobs/ "):
                    self._refused -= 1
                    _refuse(near)
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _refuse(near: socket.socket) -> None:
    near.recv(65536)
    text = b"No available agent to submit job, please try again later."
    near.sendall(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text))
    near.sendall(text)
    near.shutdown(socket.SHUT_WR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
