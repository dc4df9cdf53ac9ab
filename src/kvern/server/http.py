"""HTTP/1.1 as uvicorn speaks it, and a way to send a whole answer at once.

ASGI sends an answer as two messages, which become two writes to the socket and two packets. `WHOLE` in the scope of a
request sends one that is known whole in a single write. Where it is not there, or refuses, the messages go the ordinary
way: what a client receives is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

WHOLE = "kvern.whole"
"""In the scope: `(status, head, body) -> bool`; `head` holds all lines of headers, the empty one too."""

Whole = Callable[[int, bytes, bytes], bool]


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cast("dict[str, Any]", cycle.scope)[WHOLE] = Answerer(cycle)
        super()._start_asgi_task(cycle, app)


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
