"""A server for one browser on this machine: bound to 127.0.0.1, closed to whoever does not know the token.

A page of another site can make a browser ask this server, or give it a name of its own that leads here (DNS rebinding):
it knows no token, and its Host header names another place.
"""

import hmac
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

ADDRESS = "127.0.0.1"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Shown(Protocol):
    """The page at one moment."""

    @property
    def version(self) -> int:
        """Larger than that of every page before."""
        ...

    @property
    def html(self) -> bytes:
        """UTF-8."""
        ...


class Source(Protocol):
    """What is served."""

    @property
    def shown(self) -> Shown:
        """The page now."""
        ...


class PageServer:
    """Serves in a thread from :meth:`start` to :meth:`stop`."""

    def __init__(self, port: int = 0) -> None:
        """Take the port, any free one for 0; OSError when it is taken."""
        self.token = secrets.token_urlsafe(32)
        self._server = ThreadingHTTPServer((ADDRESS, port), BaseHTTPRequestHandler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="view", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self._server.server_port}/{self.token}/"

    def start(self, source: Source) -> None:
        """Begin to answer with ``source``."""
        self._server.RequestHandlerClass = _handler(source, self.token)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _handler(source: Source, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "planner", ""
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            """The page, or the number of its version."""
            assert isinstance(self.server, ThreadingHTTPServer)
            port = self.server.server_port
            if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
                self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"this server answers to 127.0.0.1 alone\n")
                return
            given, _, rest = self.path.lstrip("/").partition("/")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
                self._answer(
                    HTTPStatus.FORBIDDEN, b"the address lacks its token: take the one that the command printed\n"
                )
            elif rest == "":
                self._answer(HTTPStatus.OK, source.shown.html, "text/html; charset=utf-8")
            elif rest == "version":
                self._answer(HTTPStatus.OK, str(source.shown.version).encode())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there is only the one page\n")

        do_HEAD = do_GET

        def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: every line would hold the token."""

    return Handler
