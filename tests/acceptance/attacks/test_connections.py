"""Connections that keep the service waiting: half a head, half a body, an answer that nobody reads, too many at once."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.attacks.bare import connected, exchange, read, send, statuses
from tests.acceptance.server import Server, until

WAITS = ("--head-seconds", "0.8", "--body-seconds", "0.8", "--answer-seconds", "0.8")
MOST = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("waits"), *WAITS, "--max-connections", str(MOST)) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        pytest.param([], b"", id="nothing"),
        pytest.param([408], b"GET /health HTTP/1.1\r\nHost: x\r\nA: b", id="half a head"),
        pytest.param([408], b"\r\n\r\n", id="empty lines"),
        pytest.param([200, 408], b"GET /health HTTP/1.1\r\n\r\nGET /", id="half of the second head"),
        pytest.param([408], b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", id="half a body"),
        pytest.param(
            [408], b"POST /oauth2/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx", id="half a chunk"
        ),
        pytest.param(
            [401], b"POST /api/v1/projects/kvern/functions HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", id="refused"
        ),
        pytest.param([404], b"PUT /api/v1/files/upload/x HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", id="half an upload"),
    ],
)
def test_what_is_never_whole_is_not_waited_for(server: Server, expected: list[int], content: bytes) -> None:
    said = statuses(exchange(server.url, content, seconds=10))
    assert said == expected or (expected == [404] and said[0] in (401, 403, 404))


def test_a_body_a_byte_at_a_time_is_not_waited_for(server: Server) -> None:
    with connected(server.url, seconds=0.2) as connection:
        send(connection, b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 999\r\n\r\n")
        said = b""
        for _ in range(60):
            if not send(connection, b"x"):
                break
            with contextlib.suppress(TimeoutError):
                said += connection.recv(65_536)
                break
        assert statuses(said) == [408]


def test_a_body_that_the_service_does_not_ask_for_yet_is_no_fault_of_the_client(server: Server) -> None:
    with connected(server.url) as connection:
        send(connection, b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        send(connection, b"abcGET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert statuses(read(connection)) == [400, 200]


def test_an_answer_that_nobody_reads_is_broken_off(server: Server, api: Api) -> None:
    file_id = api.upload(b"\0" * 30_000_000)
    url = api.post("/files/downloadlink", {"items": [{"id": file_id}]}).json()["items"][0]["downloadUrl"]
    assert server.process is not None
    sockets = Path(f"/proc/{server.process.pid}/fd")

    def held() -> int:
        found = 0
        for link in sockets.iterdir():
            with contextlib.suppress(OSError):
                found += link.readlink().name.startswith("blobs") or "/blobs/" in str(link.readlink())
        return found

    with connected(server.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        send(connection, f"GET {url.removeprefix(server.url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        until(held, 5, "the file is open")
        until(lambda: not held(), 10, "the file is closed")


def test_half_open_requests_shut_nobody_out(server: Server, api: Api) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(3 * MOST):
            connection = held.enter_context(connected(server.url))
            send(connection, b"GET /health HTTP/1.1\r\nHost: x\r\n")
            if _ % 10 == 0:
                assert httpx2.get(f"{server.url}/health").status_code == 200
        assert api.get("/functions").status_code == 200
    until(lambda: "connections turned away or closed" in server.log.read_text(), 5, "the log tells")


def test_where_all_have_something_under_way_a_new_one_is_told_to_come_again(
    server: Server, api: Api, tmp_path: Path
) -> None:
    function_id = api.ready("import time\ndef handle(data):\n    time.sleep(5)\n")
    head = (
        f"POST /api/v1/projects/kvern/functions/{function_id}/call HTTP/1.1\r\nHost: x\r\nPrefer: wait=4\r\n"
        f"Authorization: {api.headers['authorization']}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            send(held.enter_context(connected(server.url)), head.encode())
        said = until(lambda: exchange(server.url, b""), 4, "a connection is refused")
        assert statuses(said) == [503]
        assert b"retry-after" in said
    until(lambda: httpx2.get(f"{server.url}/health").status_code == 200, 20, "there is room again")


def test_the_limit_of_files_is_raised_and_connections_fit_into_it(tmp_path: Path) -> None:
    def under(soft: int, hard: int, folder: str) -> tuple[int, str]:
        (tmp_path / folder).mkdir()
        program = ("sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec kvern "$@"', "sh")
        env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        with Server(tmp_path / folder, program=program, extra_env=env) as server:
            assert server.process is not None
            lines = Path(f"/proc/{server.process.pid}/limits").read_text().splitlines()
            open_files = next(line for line in lines if line.startswith("Max open files"))
            return int(open_files.split()[3]), server.log.read_text()

    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    assert under(256, hard, "raised")[0] == hard
    told = under(256, 300, "low")[1]
    assert "50 connections are taken at a time, not 2000" in told


def test_of_a_body_that_is_answered_already_not_all_is_read(server: Server) -> None:
    with connected(server.url, seconds=8) as connection:
        send(connection, b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 9000000000\r\n\r\n")
        sent = 0
        while sent < 200_000_000 and send(connection, b"x" * 100_000):
            sent += 100_000
        assert sent < 100_000_000
        assert statuses(read(connection)) == [400]
