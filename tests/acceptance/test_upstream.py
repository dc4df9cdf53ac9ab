"""Paths that Kvern does not serve, passed on to an upstream: here a small server of the test's own."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.acceptance.api import Api
from tests.acceptance.issuers import ServedIssuer
from tests.acceptance.server import Server

SETTINGS = """
[[projects.kvern.issuers]]
issuer = "{issuer}"
audience = "api://kvern"

[projects.kvern.groups.staff]
source-id = "staff"
capabilities = ["functions:*", "files:*", "sessions:*"]
"""
"""An upstream knows the tokens of the company's identity provider, not those of the built-in issuer."""


class Cloud(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; `/stream` in chunks, `/cut` breaks off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.endswith("/cut"):
            self.close_connection = True
            return
        if self.path.endswith("/stream"):
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (b"one", b"two", b"three"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        seen = {"path": self.path, "method": self.command, "headers": {k.lower(): v for k, v in self.headers.items()}}
        if body:
            plain = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            seen["body"] = json.loads(plain)
        content = gzip.compress(json.dumps(seen).encode())
        self.send_response(418 if self.path.endswith("/teapot") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-encoding", "gzip")
        self.send_header("x-cloud", "yes")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

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
        running.clients, running.groups = {"ada": "s3cret"}, {"ada": ["staff"]}
        yield running


def as_ada(server: Server, issuer: ServedIssuer) -> Api:
    """Bare HTTP with a token of the identity provider."""
    env = server.environment()
    env.update(IDP_TOKEN_URL=f"{issuer.url}/token", IDP_CLIENT_ID="ada", IDP_CLIENT_SECRET="s3cret")
    return Api(env)


@pytest.fixture(scope="module")
def server(cloud: str, issuer: ServedIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("upstream")
    options = ("--upstream", cloud, "--upstream-project", "in the cloud")
    with Server(folder, *options, settings=SETTINGS.format(issuer=issuer.url)) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server, issuer: ServedIssuer) -> Iterator[Api]:
    with as_ada(server, issuer) as bare:
        yield bare


def test_a_token_of_the_built_in_issuer_has_nothing_to_show_there(server: Server) -> None:
    with Api(server.environment()) as ours:
        answer = ours.get("/assets")
        assert answer.status_code == 403
        assert "identity provider" in answer.json()["error"]["message"]


def test_a_function_asks_the_upstream_as_whoever_its_session_is(api: Api, issuer: ServedIssuer) -> None:
    handler = """
        def handle(client):
            return client.get(f"/api/v1/projects/{client.config.project}/timeseries").json()
    """
    function_id = api.ready(handler)
    credentials = {"clientId": "ada", "clientSecret": "s3cret"}
    nonce = api.post("/sessions", {"items": [credentials]}).json()["items"][0]["nonce"]
    call = api.ended(api.post(f"/functions/{function_id}/call", {"nonce": nonce}).json())
    assert call["status"] == "Completed", call
    seen = api.response(call)
    assert seen["path"] == "/api/v1/projects/in%20the%20cloud/timeseries"
    shown = jwt.decode(seen["headers"]["authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert [shown["sub"], shown["iss"]] == ["ada", issuer.url]


def test_what_kvern_does_not_serve_is_asked_of_the_upstream(api: Api) -> None:
    answer = api.post("/timeseries/data/list?x=1&y=%2F", {"items": [{"externalId": "æ"}]})
    seen = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-cloud"] == "yes"
    assert answer.headers["x-request-id"]
    assert seen["path"] == "/api/v1/projects/in%20the%20cloud/timeseries/data/list?x=1&y=%2F"
    assert seen["method"] == "POST"
    assert seen["body"] == {"items": [{"externalId": "æ"}]}
    assert seen["headers"]["authorization"] == api.headers["authorization"]
    assert seen["headers"]["host"].startswith("127.0.0.1:")


def test_a_packed_body_is_passed_on_packed(api: Api) -> None:
    headers = {**api.headers, "content-encoding": "gzip", "content-type": "application/json"}
    answer = api.http.post(f"{api.base}/assets/list", content=gzip.compress(b'{"limit": 5}'), headers=headers)
    assert answer.json()["body"] == {"limit": 5}


def test_status_and_streams_come_back_as_they_are(api: Api) -> None:
    assert api.get("/assets/teapot").status_code == 418
    assert api.get("/assets/stream").text == "onetwothree"


def test_what_kvern_serves_is_not_passed_on(api: Api) -> None:
    answer = api.get("/functions/limits")
    assert "timeoutMinutes" in answer.json()
    assert "x-cloud" not in answer.headers


def test_without_a_good_token_nothing_is_passed_on(api: Api) -> None:
    assert api.http.get(f"{api.base}/assets").status_code == 401
    assert api.http.get(f"{api.base}/assets", headers={"authorization": "Bearer x"}).status_code == 401
    assert api.http.get(f"{api.root}/api/v1/projects/another/assets", headers=api.headers).status_code == 401


def test_an_upstream_that_breaks_off(api: Api) -> None:
    reading = api.get("/assets/cut")
    writing = api.post("/assets/cut", {"items": []})
    assert [reading.status_code, writing.status_code] == [502, 500]
    assert reading.json()["error"]["code"] == 502
    assert "unknown" in writing.json()["error"]["message"]


def test_paths_with_dots_go_nowhere(api: Api) -> None:
    import http.client

    host = api.root.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", "/api/v1/projects/kvern/a/../../other/x", headers=api.headers)
    answer = connection.getresponse()
    assert answer.status == 404
    connection.close()


def test_an_upstream_that_is_not_there(issuer: ServedIssuer, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("no-upstream")
    settings = SETTINGS.format(issuer=issuer.url)
    with Server(folder, "--upstream", "http://127.0.0.1:9", settings=settings) as server, as_ada(server, issuer) as api:
        answer = api.post("/assets", {"items": []})
        assert answer.status_code == 502
        assert "cannot be reached" in answer.json()["error"]["message"]
        assert api.get("/functions").status_code == 200


def test_it_is_off_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("off")) as server, Api(server.environment()) as api:
        assert api.get("/assets").status_code == 404
