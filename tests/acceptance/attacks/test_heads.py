"""What comes before anybody is known has bounds: heads, URLs, trailers, framing. A line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.attacks.bare import connected, exchange, read, send, statuses
from tests.acceptance.server import Server

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = b"x" * 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("heads"), "--metrics-port", "0") as running:
        yield running


@pytest.fixture(scope="module", params=["service", "metrics"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    if request.param == "service":
        return server.url
    found = re.search(r"metrics +(http://\S+)/metrics", server.log.read_text())
    assert found is not None
    return found[1]


def memory(server: Server) -> int:
    """Bytes of the server's process."""
    assert server.process is not None
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    ("status", "content"),
    {
        "a URL of 100 kB": (414, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"),
        "a URL without end": (414, b"GET /" + MEGABYTE * 3),
        "a query without end": (414, b"GET /health?" + b"a=b&" * 500_000),
        "101 headers": (431, GET + b"A: b\r\n" * 100 + b"\r\n"),
        "headers without end": (431, GET + b"A: b\r\n" * 500_000),
        "a value of 100 kB": (431, GET + b"A: " + b"x" * 100_000 + b"\r\n\r\n"),
        "a value without end": (431, GET + b"A: " + MEGABYTE * 3),
        "a name without end": (431, GET + MEGABYTE * 3),
        "40 headers of 2 kB": (431, GET + (b"A: " + b"x" * 2000 + b"\r\n") * 40 + b"\r\n"),
        "the second head without end": (431, GET + b"\r\n" + GET + b"A: " + MEGABYTE * 3),
        "101 trailers": (431, CHUNKED + b"1\r\nx\r\n0\r\n" + b"A: b\r\n" * 101 + b"\r\n"),
        "trailers without end": (431, CHUNKED + b"1\r\nx\r\n0\r\n" + b"A: b\r\n" * 500_000),
        "a trailer without end": (431, CHUNKED + b"1\r\nx\r\n0\r\nA: " + MEGABYTE * 3),
        "an extension of a chunk without end": (431, CHUNKED + b"1;a=" + MEGABYTE * 3),
        "chunks of a byte": (400, CHUNKED + b"1\r\nx\r\n" * 100_000),
        "both lengths": (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "two lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        "a length with a sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
        "a coding that is not the last": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        "a coding in disguise": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        "a blank before the colon": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
        "a line that goes on": (400, GET + b"A: b\r\n c\r\n\r\n"),
        "lines without CR": (400, b"GET /health HTTP/1.1\nHost: x\nA: b\n\n"),
        "a NUL in a value": (400, GET + b"A: b\0c\r\n\r\n"),
        "a chunk's size that is none": (400, CHUNKED + b"-1\r\nx\r\n0\r\n\r\n"),
        "a chunk's size of 20 digits": (400, CHUNKED + b"1" + b"0" * 20 + b"\r\nx\r\n0\r\n\r\n"),
        "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "a tunnel": (400, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
        "empty lines without end": (431, b"\r\n" * 500_000),
        "nonsense": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    }.values(),
    ids=lambda value: None,
)
def test_a_head_that_is_refused_ends_the_connection(url: str, server: Server, status: int, content: bytes) -> None:
    before = memory(server)
    last = statuses(exchange(url, content))[-1:]
    if len(content) < 1_000_000 and url == server.url:
        assert last == [status]
    else:
        # An answer may be lost where the client goes on writing; what was asked before is answered, then it is closed.
        assert last in ([status], [], [404], [200])
    assert memory(server) - before < 20_000_000


def test_a_refusal_is_the_contracts_envelope(server: Server) -> None:
    said = exchange(server.url, GET + b"A: b\r\n" * 200 + b"\r\n")
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"nosniff" in head
    assert body.startswith(b'{"error":{"code":431,"message":"Expected at most 100 headers')


def test_a_hundred_headers_and_60_kB_are_borne(server: Server) -> None:
    head = b"Connection: close\r\n" + b"A: b\r\n" * 98 + b"\r\n"
    assert statuses(exchange(server.url, GET + head)) == [200]
    assert statuses(exchange(server.url, GET + b"Connection: close\r\nA: " + b"x" * 60_000 + b"\r\n\r\n")) == [200]


def test_a_head_byte_by_byte_is_understood(server: Server) -> None:
    with connected(server.url) as connection:
        for byte in GET + b"Connection: close\r\n\r\n":
            send(connection, bytes([byte]))
        assert statuses(read(connection)) == [200]


def test_requests_that_do_not_wait_for_answers_are_answered_in_turn(server: Server) -> None:
    some = (GET + b"\r\n") * 9 + GET + b"Connection: close\r\n\r\n"
    assert statuses(exchange(server.url, some)) == [200] * 10


def test_thousands_of_them_are_not_kept(server: Server) -> None:
    before = memory(server)
    answers = statuses(exchange(server.url, (GET + b"\r\n") * 20_000))
    assert set(answers) == {200}
    assert len(answers) <= 20
    assert memory(server) - before < 20_000_000


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(server: Server, protocol: str) -> None:
    asked = GET + f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n".encode()
    asked += b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    following = GET + b"Connection: close\r\n\r\n"
    assert statuses(exchange(server.url, asked + b"\r\n" + following)) == [200, 200]
    with_body = asked.replace(b"GET /health", b"POST /oauth2/token") + b"Content-Length: 3\r\n\r\nabc"
    assert statuses(exchange(server.url, with_body + following)) == [400]


def test_http_1_0_is_answered_and_closed(server: Server) -> None:
    assert statuses(exchange(server.url, b"GET /health HTTP/1.0\r\n\r\n")) == [200]


def test_the_server_is_none_the_worse(server: Server) -> None:
    assert httpx2.get(f"{server.url}/health").status_code == 200
    assert "Traceback" not in server.log.read_text()
