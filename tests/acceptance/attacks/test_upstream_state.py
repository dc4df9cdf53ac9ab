"""What passes to the upstream and back: requests and answers, and nothing that one user could leave for the next."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.acceptance.api import Api
from tests.acceptance.attacks.bare import exchange, statuses
from tests.acceptance.issuers import ServedIssuer
from tests.acceptance.server import Server

SETTINGS = """
[[projects.kvern.issuers]]
issuer = "{issuer}"
audience = "api://kvern"

[projects.kvern.groups.staff]
source-id = "staff"
capabilities = ["functions:*", "files:*", "sessions:*"]

[[projects.lab.issuers]]
issuer = "{issuer}"
audience = "api://kvern"

[projects.lab.groups.crew]
source-id = "crew"
capabilities = ["functions:*", "files:*", "sessions:*"]
"""


class Cloud(http.server.BaseHTTPRequestHandler):
    """Tells what it was asked, and hands out a cookie and other things to keep."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            while (size := int(self.rfile.readline(), 16)) > 0:
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("content-length") or 0))
        heads = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append({"path": self.path, "method": self.command, "headers": heads})
        body = json.dumps(self.seen[-1]).encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("set-cookie", f"session=of-{len(self.seen)}; path=/")
        self.send_header("strict-transport-security", "max-age=99999")
        self.send_header("connection", "x-inner")
        self.send_header("x-inner", "between neighbours")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def issuer() -> Iterator[ServedIssuer]:
    with ServedIssuer() as running:
        running.clients = {"ada": "s3cret", "bob": "s3cret"}
        running.groups = {"ada": ["staff"], "bob": ["crew"]}
        yield running


@pytest.fixture(scope="module")
def server(cloud: str, issuer: ServedIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("upstream")
    with Server(folder, "--upstream", cloud, settings=SETTINGS.format(issuer=issuer.url)) as running:
        yield running


def _as(server: Server, issuer: ServedIssuer, name: str, project: str) -> Api:
    env = server.environment()
    env.update(IDP_TOKEN_URL=f"{issuer.url}/token", IDP_CLIENT_ID=name, IDP_CLIENT_SECRET="s3cret", CDF_PROJECT=project)
    return Api(env)


@pytest.fixture(scope="module")
def ada(server: Server, issuer: ServedIssuer) -> Iterator[Api]:
    with _as(server, issuer, "ada", "kvern") as api:
        yield api


@pytest.fixture(scope="module")
def bob(server: Server, issuer: ServedIssuer) -> Iterator[Api]:
    with _as(server, issuer, "bob", "lab") as api:
        yield api


def test_a_cookie_for_one_user_is_not_sent_with_the_next_ones_request(ada: Api, bob: Api) -> None:
    first = ada.get("/assets")
    second, third = bob.get("/assets"), ada.get("/assets")
    assert "cookie" not in second.json()["headers"]
    assert "cookie" not in third.json()["headers"]
    assert "set-cookie" not in first.headers
    assert "strict-transport-security" not in first.headers


@pytest.mark.parametrize(
    "head",
    [
        {"cookie": "a=b"},
        {"x-forwarded-for": "10.0.0.1"},
        {"x-forwarded-host": "elsewhere.example"},
        {"x-forwarded-proto": "https"},
        {"forwarded": "for=10.0.0.1"},
        {"x-real-ip": "10.0.0.1"},
        {"x-original-url": "/files"},
        {"connection": "close, x-hop", "x-hop": "for the neighbour"},
        {"proxy-authorization": "Basic eDp5"},
        {"te": "trailers"},
        {"expect": "100-continue"},
    ],
    ids=lambda head: [*head][-1],
)
def test_a_header_for_this_server_is_not_passed_on(ada: Api, head: dict[str, str]) -> None:
    seen = ada.get("/assets", headers=head).json()["headers"]
    assert [*head][-1] not in seen


def test_a_header_between_upstream_and_server_is_not_passed_back(ada: Api) -> None:
    assert "x-inner" not in ada.get("/assets").headers


def test_a_page_of_the_upstream_is_not_this_servers_page(ada: Api) -> None:
    assert ada.get("/assets").headers["content-security-policy"] == "sandbox"


def test_what_a_client_does_not_say_is_not_said_for_it(ada: Api) -> None:
    head = f"GET /api/v1/projects/kvern/assets HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['authorization']}\r\n"
    said = exchange(ada.root, head.encode() + b"Connection: close\r\n\r\n")
    assert statuses(said) == [200]
    assert set(Cloud.seen[-1]["headers"]) == {"host", "authorization"}


def test_trailers_are_no_headers(ada: Api) -> None:
    head = (
        "POST /api/v1/projects/kvern/assets HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Connection: close\r\nAuthorization: {ada.headers['authorization']}\r\n\r\n"
    )
    said = exchange(ada.root, head.encode() + b"2\r\n{}\r\n0\r\nX-Late: yes\r\nCdf-Version: alpha\r\n\r\n")
    assert statuses(said) == [200]
    assert "x-late" not in Cloud.seen[-1]["headers"]
    assert "cdf-version" not in Cloud.seen[-1]["headers"]
    without = head.replace("Authorization", "X-Other")
    late = f"Authorization: {ada.headers['authorization']}\r\n\r\n"
    said = exchange(ada.root, without.encode() + b"2\r\n{}\r\n0\r\n" + late.encode())
    assert statuses(said) == [401]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/files/"),
        ("GET", "/sessions/"),
        ("GET", "/groups/"),
        ("GET", "/functions/1/"),
        ("POST", "/functions/1/call/"),
        ("POST", "/files/aggregate"),
        ("POST", "/files/search"),
        ("POST", "/datasets/aggregate"),
        ("PUT", "/files"),
        ("DELETE", "/sessions"),
        ("PATCH", "/groups"),
        ("POST", "/Files/Aggregate"),
        ("POST", "/files%2Faggregate"),
        ("POST", "/files%252Faggregate"),
        ("POST", "/files%5Caggregate"),
        ("POST", "/%66iles/aggregate"),
        ("POST", "/files;x=1/aggregate"),
        ("POST", "//files/aggregate"),
        ("POST", "/assets/..%2Ffiles/aggregate"),
        ("POST", "/assets/%252e%252e/files/aggregate"),
        ("POST", "/assets/..;/files/aggregate"),
        ("POST", "/assets//../files"),
    ],
)
def test_what_kvern_serves_goes_nowhere_however_it_is_written(ada: Api, method: str, path: str) -> None:
    before = len(Cloud.seen)
    head = (
        f"{method} /api/v1/projects/kvern{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        f"Authorization: {ada.headers['authorization']}\r\n\r\n"
    )
    (status,) = statuses(exchange(ada.root, head.encode()))
    assert status in (400, 404, 405)
    assert len(Cloud.seen) == before
