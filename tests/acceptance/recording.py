"""A proxy between one client and the server, which notes what the client asked for and what it was answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

_OF_ONE_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that are not passed on (RFC 9110 7.6.1)."""


@dataclass(frozen=True)
class Exchange:
    """One request and the status that answered it; `path` has no query."""

    method: str
    path: str
    status: int


class RecordingProxy:
    """A reverse proxy on a free port of this machine.

    The Host header is passed on as it came, so that links which the server makes lead through the proxy too.

    Args:
        target: base URL of the server.
        note: told of each exchange when its answer has been sent; from the thread of the client's connection.
    """

    def __init__(self, target: str, note: Callable[[Exchange], None] = lambda exchange: None) -> None:
        self._target = urlsplit(target)
        self._note = note
        self._exchanges: list[Exchange] = []
        self._lock = threading.Lock()
        proxy = self

        class Passing(_Passing):
            def pass_on(self) -> None:
                proxy._pass_on(self)

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> RecordingProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(timeout=10)

    def environment(self, environment: dict[str, str]) -> dict[str, str]:
        """The same variables, with every address of the server turned into the proxy's."""
        server = f"{self._target.scheme}://{self._target.netloc}"
        return {name: value.replace(server, self.url) for name, value in environment.items()}

    def taken(self) -> list[Exchange]:
        """What was exchanged since the last time somebody looked."""
        with self._lock:
            exchanges, self._exchanges = self._exchanges, []
        return exchanges

    def _pass_on(self, request: _Passing) -> None:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=120)
        try:
            body = request.body()
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _OF_ONE_HOP and name.lower() != "content-length":
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        # Noted before the answer goes out: who has the answer may look at once.
        exchange = Exchange(request.command, urlsplit(request.path).path, answer.status)
        with self._lock:
            self._exchanges.append(exchange)
        self._note(exchange)
        request.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_HOP and name.lower() != "content-length":
                request.send_header(name, value)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def pass_on(self) -> None:
        raise NotImplementedError

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = lambda self: self.pass_on()

    def body(self) -> bytes | None:
        """The request's body; None where it has none."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            parts: list[bytes] = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        length = self.headers.get("content-length")
        return None if length is None else self.rfile.read(int(length))

    def log_message(self, *words: object) -> None:
        pass
