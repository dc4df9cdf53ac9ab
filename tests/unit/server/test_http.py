"""An answer that is sent at once is, byte for byte, the one that ASGI's two messages make."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from kvern.server.connections import Connections, Patience
from kvern.server.edge import Json
from kvern.server.heads import Heads
from kvern.server.http import WHOLE, HttpProtocol

ANSWER = Json(b'{"items":[]}', 201, {"preference-applied": "wait=5", "location": "/a?b=c"})


class Wire(asyncio.Transport):
    """What was written, and in how many writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


async def _written(request: bytes, answer: Json, *, whole: bool) -> tuple[Wire, bool]:
    """What goes to the client, and whether it went at once."""
    at_once = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal at_once
        at_once = whole and answer.at_once(scope[WHOLE], "0123456789abcdef")
        if not at_once:

            async def with_id(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"].append((b"x-request-id", b"0123456789abcdef"))
                await send(message)

            await answer(scope, receive, with_id)

    config = uvicorn.Config(app, lifespan="off", proxy_headers=False, log_config=None)
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
    protocol, wire = HttpProtocol(config, state, {}, among=Connections(Patience(9, 9, 9, 9), time.monotonic)), Wire()
    protocol.connection_made(wire)
    protocol.data_received(request)
    while state.tasks:
        await asyncio.wait(state.tasks)
        await asyncio.sleep(0)
    if protocol.timeout_keep_alive_task is not None:
        protocol.timeout_keep_alive_task.cancel()
    return wire, at_once


def _request(method: str = "GET", version: str = "1.1", *headers: str) -> bytes:
    return "\r\n".join([f"{method} / HTTP/{version}", "host: a", *headers, "", ""]).encode()


async def test_one_write_of_the_same_bytes() -> None:
    plain, _ = await _written(_request(), ANSWER, whole=False)
    at_once, was = await _written(_request(), ANSWER, whole=True)
    assert was
    assert len(at_once.writes) == 1
    assert at_once.writes[0] == b"".join(plain.writes)
    assert at_once.writes[0].startswith(b"HTTP/1.1 201 Created\r\n")


@pytest.mark.parametrize(
    "request_bytes",
    [_request("HEAD"), _request("GET", "1.0"), _request("GET", "1.1", "connection: close")],
    ids=["HEAD", "HTTP/1.0", "close"],
)
async def test_what_is_out_of_the_ordinary_goes_the_ordinary_way(request_bytes: bytes) -> None:
    plain, _ = await _written(request_bytes, ANSWER, whole=False)
    other, was = await _written(request_bytes, ANSWER, whole=True)
    assert not was
    assert other.writes == plain.writes
    assert other.closed == plain.closed


async def test_requests_one_after_the_other_on_one_connection_are_answered_in_turn() -> None:
    wire, _ = await _written(_request() + _request(), ANSWER, whole=True)
    assert len(wire.writes) == 2
    assert wire.writes[0] == wire.writes[1]


async def test_a_header_cannot_bring_a_line_of_its_own() -> None:
    answer = Json(b"1", 200, {"location": "a\r\nset-cookie: b"})
    wire, was = await _written(_request(), answer, whole=True)
    assert not was
    assert b"set-cookie" not in b"".join(wire.writes)  # uvicorn refuses it


def test_headers_are_looked_up_as_they_would_be_searched() -> None:
    heads = Heads([(b"prefer", b"wait=1"), (b"x", b"\xe6"), (b"prefer", b"wait=2")])
    assert heads["Prefer"] == heads.get("PREFER") == "wait=1"
    assert heads.getlist("prefer") == ["wait=1", "wait=2"]
    assert heads["x"] == "æ"
    assert "X" in heads
    assert "y" not in heads
    assert heads.get("y", "no") == "no"
    assert heads.getlist("y") == []
    with pytest.raises(KeyError):
        heads["y"]
