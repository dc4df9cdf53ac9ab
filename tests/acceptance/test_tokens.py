"""Tokens that are not good, against a real server: each is refused, in the contract's envelope, and the service goes on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.issuers import ServedIssuer, bearer
from tests.acceptance.server import Server
from tests.unit.issuers import bad_tokens

SETTINGS = """
[[projects.kvern.issuers]]
issuer = "{one}"
audience = "api://kvern"

[projects.kvern.groups.operators]
source-id = "ops"
capabilities = ["functions:read"]

[[projects.lab.issuers]]
issuer = "{other}"
audience = "api://kvern"
"""


@pytest.fixture(scope="module")
def issuers() -> Iterator[tuple[ServedIssuer, ServedIssuer]]:
    with ServedIssuer() as one, ServedIssuer() as other:
        one.groups = other.groups = {"alice": ["ops"]}
        yield one, other


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuers: tuple[ServedIssuer, ServedIssuer]) -> Iterator[Server]:
    settings = SETTINGS.format(one=issuers[0].url, other=issuers[1].url)
    with Server(tmp_path_factory.mktemp("tokens"), settings=settings) as running:
        yield running


def functions(server: Server, token: str | bytes) -> httpx2.Response:
    value = b"Bearer " + (token if isinstance(token, bytes) else token.encode("utf-8"))
    url = f"{server.url}/api/v1/projects/kvern/functions"
    return httpx2.get(url, headers=[(b"authorization", value)], timeout=30)


def test_the_corpus_of_bad_tokens_is_refused(server: Server, issuers: tuple[ServedIssuer, ServedIssuer]) -> None:
    issuer, other = issuers
    good, corpus = bad_tokens(issuer, elsewhere=other.url)
    assert functions(server, good).status_code == 200
    for what, token in corpus.items():
        answer = functions(server, token)
        assert answer.status_code == 401, what
        assert answer.json()["error"]["code"] == 401, what
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
    assert functions(server, good).status_code == 200
    assert "Traceback" not in server.log.read_text()
    assert all(url.startswith(issuer.url) for url in issuer.fetched)


@pytest.mark.parametrize("token", [b"\xff\xfe.\x80.\x81", b"a.b.c d", "a" * 60_000, "..", "\u20ac.x.y"])
def test_words_that_are_no_tokens_are_refused(server: Server, token: str | bytes) -> None:
    assert functions(server, token).status_code in (400, 401, 431)
    assert httpx2.get(f"{server.url}/health").status_code == 200


def test_issuers_that_share_a_key_still_do_not_speak_for_one_another(
    server: Server, issuers: tuple[ServedIssuer, ServedIssuer]
) -> None:
    """The key is good for both, the project trusts one of them."""
    _, other = issuers
    token = other.token()
    assert httpx2.get(f"{server.url}/api/v1/token/inspect", headers=bearer(token)).json()["subject"] == "alice"
    assert functions(server, token).status_code == 401


def test_tokens_of_another_server_are_refused(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("another")) as another:
        env = another.environment()
        form = {"grant_type": "client_credentials", "client_id": env["IDP_CLIENT_ID"]}
        answer = httpx2.post(env["IDP_TOKEN_URL"], data={**form, "client_secret": env["IDP_CLIENT_SECRET"]})
        token = str(answer.json()["access_token"])
        assert httpx2.get(f"{another.url}/api/v1/projects/kvern/functions", headers=bearer(token)).status_code == 200
        assert functions(server, token).status_code == 401
