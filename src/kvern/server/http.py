"""HTTP/1.1 as uvicorn speaks it, with bounds on what comes before anybody is known, and a way to answer at once.

ASGI sends an answer as two messages, which become two writes to the socket and two packets. `WHOLE` in the scope of a
request sends one that is known whole in a single write. Where it is not there, or refuses, the messages go the ordinary
way: what a client receives is the same, byte for byte.

what comes                                     | the client gets
-----------------------------------------------|----------------------------------------------------------------
a URL of more than `HEAD_MOST` bytes           | 414
a head of more than that, or `HEADERS_MOST`    | 431
trailers or chunks' framing of more than that  | 431, 400
a body in chunks of next to nothing            | 400
what is no HTTP/1                              | 400
more than `PIPELINED_MOST` requests at once    | answers to these; the rest is left unread
an upgrade, in a request with a body           | 400: the parser takes the body for the other protocol

After each of these the connection is closed. Trailers are no headers, and nobody sees them. An upgrade in
a request without a body is answered as if it had not been asked for (RFC 9110 7.8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kvern.server.connections import Connections, Wait

WHOLE = "kvern.whole"
"""In the scope: `(status, head, body) -> bool`; `head` holds all lines of headers, the empty one too."""

Whole = Callable[[int, bytes, bytes], bool]

HEAD_MOST = 65_536
"""Bytes of a head, and of trailers; what common proxies let through is less."""

HEADERS_MOST = 100
PIPELINED_MOST = 16
"""Requests that wait while an earlier one of the same connection is answered."""

REST_MOST = 1_000_000
"""Bytes of a body that are thrown away once it is answered; of a longer one the rest is not read, nor what follows."""

PIECES_MOST = 10_000
PIECE_LEAST = 16
"""Chunks that a body may have, and bytes that each must have on average when it has more."""

MOVES = 1024
"""Bytes after which a body counts as one that moves."""

SAFE = (
    b"x-content-type-options: nosniff\r\ncache-control: no-store\r\ncontent-type: application/json\r\n"
    b"connection: close\r\n"
)


_LENGTHS = (b"content-length", b"transfer-encoding")


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        among: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.waits = Wait.NOTHING
        self.since = 0.0
        self.url = b""
        self.headers = []
        self._among = among
        self._refused = False
        self._came = self._begun = False
        self._in_head = True
        self._ended = 0
        self._head_left = HEAD_MOST
        self._trailers = self._pieces = self._body = self._framing = self._moved = self._rest = 0
        self._why: _RefusedError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._among.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._among.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._came = True
        try:
            while data:
                data = self._feed(data)
        except (httptools.HttpParserError, _RefusedError) as error:
            why, self._why = self._why, None
            why = error if isinstance(error, _RefusedError) else why
            status = 400 if why is None else why.status
            self._among.turned("no good HTTP" if why is None else str(why))
            self.refuse(status, "Expected a request of HTTP/1.1" if why is None else str(why))
            return
        self._note_what_is_waited_for()

    def _feed(self, data: bytes) -> bytes:
        """Parse some; what is left to parse, when a head that is too large might be in there."""
        was_in_head, ended, body, left = self._in_head, self._ended, self._body, b""
        if was_in_head and len(data) > self._head_left:
            data, left = data[: self._head_left + 1], data[self._head_left + 1 :]
        try:
            cast(httptools.HttpRequestParser, self.parser).feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            left = data[upgrade.args[0] :] + left
        if ended != self._ended or was_in_head is not self._in_head:
            return left
        if was_in_head:
            self._head_left -= len(data)
            if self._head_left < 0:
                raise self._too_large()
        else:
            self._framing += len(data) - (self._body - body)
            if self._framing > HEAD_MOST + PIECE_LEAST * self._body:
                raise _RefusedError(431, f"Expected at most {HEAD_MOST} bytes of trailers and extensions of chunks")
        return left

    def _too_large(self) -> _RefusedError:
        if len(self.url) > HEAD_MOST // 2:
            return _RefusedError(414, f"Expected a URL and headers of at most {HEAD_MOST} bytes")
        return _RefusedError(431, f"Expected headers of at most {HEAD_MOST} bytes")

    def _note_what_is_waited_for(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        if self._in_head:
            waits = Wait.HEAD if answered else Wait.NOTHING
            if waits is Wait.HEAD and self._head_left == HEAD_MOST and not self._begun:
                waits = Wait.IDLE
        elif answered:
            waits = Wait.REST
            if self.waits is not Wait.REST:
                self._rest = self._body
            elif self._body - self._rest > REST_MOST:
                self._among.turned("a body that goes on after its answer")
                self._say_no_more()
                return
        else:
            waits = Wait.BODY
            if self._moved >= MOVES:
                self._moved = 0
                self._among.wait(self, waits)
        if waits is not self.waits:
            self._among.wait(self, waits)

    # What the parser tells

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > HEAD_MOST:
            self._why = _RefusedError(414, f"Expected a URL of at most {HEAD_MOST} bytes")
            raise self._why
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers += 1
            if self._trailers > HEADERS_MOST:
                self._why = _RefusedError(431, f"Expected at most {HEADERS_MOST} trailers")
                raise self._why
            return
        if len(self.headers) >= HEADERS_MOST or len(value) > HEAD_MOST:
            self._why = _RefusedError(431, f"Expected at most {HEADERS_MOST} headers, of {HEAD_MOST} bytes in all")
            raise self._why
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINED_MOST:
            self._why = _RefusedError(400, f"Expected at most {PIPELINED_MOST} requests before their answers")
            raise self._why
        if cast(httptools.HttpRequestParser, self.parser).should_upgrade() and any(
            name in _LENGTHS and value != b"0" for name, value in self.headers
        ):
            self._why = _RefusedError(400, "Expected a request without a body beside Upgrade, or one without Upgrade")
            raise self._why
        super().on_headers_complete()
        self._in_head = False
        self._trailers = self._pieces = self._body = self._framing = self._moved = 0

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._moved += len(body)
        self._pieces += 1
        if self._pieces > PIECES_MOST and self._body < self._pieces * PIECE_LEAST:
            self._why = _RefusedError(400, f"Expected chunks of {PIECE_LEAST} bytes or more on average")
            raise self._why
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._ended += 1
        self._begun = False
        self._in_head = True
        self._head_left = HEAD_MOST

    def on_response_complete(self) -> None:
        """An answer was sent: begin the next one, or wait for a request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._refused:
            self._note_what_is_waited_for()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cast("dict[str, Any]", cycle.scope)[WHOLE] = Answerer(cycle)
        super()._start_asgi_task(cycle, app)

    # What `Connections` asks for

    @property
    def held_up(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return self.flow.read_paused or (cycle is not None and cycle.waiting_for_100_continue)

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def number(self) -> int:
        there = self.transport.get_extra_info("socket")
        return -1 if there is None else int(there.fileno())

    def refuse(self, status: int, message: str) -> None:
        """Answer in the contract's envelope and close, after what was asked before has been answered."""
        self._refused = True
        cycle = cast("RequestResponseCycle | None", self.cycle)
        open_still = cycle is not None and not cycle.response_complete
        if not self._in_head and not open_still:  # the rest of what was answered
            self.drop()
            return
        if open_still and self._in_head:
            assert cycle is not None
            cycle.keep_alive = False
            self._among.wait(self, Wait.NOTHING)
            return
        if open_still:
            assert cycle is not None
            begun = cycle.response_started or bool(self.pipeline)
            cycle.disconnected = True
            cycle.message_event.set()
            if begun:  # what was sent can be no answer to this
                self.drop()
                return
        if not self._came and status == 408:
            self.drop()
            return
        body = msgspec.json.encode({"error": {"code": status, "message": message}})
        lines = [STATUS_LINE[status], SAFE]
        if status == 503:
            lines.append(b"retry-after: 1\r\n")
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, b"content-length: %d\r\n\r\n" % len(body), body)))
        self._say_no_more()

    def _say_no_more(self) -> None:
        """Let the client read what was said, and read nothing more of it: that costs nothing, and slows it down."""
        self._refused = True
        self.flow.pause_reading()
        self.transport.write_eof()
        self._among.wait(self, Wait.END)

    def drop(self) -> None:
        """Close without a word: at once, unless all was said."""
        if self.waits is Wait.IDLE and not self.unsent:
            self.transport.close()
        else:
            self.transport.abort()


class Answerer:
    """Sends the answer to one request."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def __call__(self, status: int, head: bytes, body: bytes) -> bool:
        """Send an answer; False, and nothing is sent, when it has to go the ordinary way."""
        cycle = self._cycle
        if (
            cycle.disconnected
            or cycle.response_started
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        lines = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (head, body)
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        cycle.on_response()
        return True
