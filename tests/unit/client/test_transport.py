"""Requests: what they carry, when they are sent again, and what their failures mean (contract 1)."""

from __future__ import annotations

import httpx2
import pytest

from kvern.client import AsyncCogniteClient, ClientConfig, CogniteClient, exceptions, global_config
from kvern.client.credentials import CredentialProvider, Token
from tests.unit.client.stub import Stub, error

LIST = "POST /functions/list"
CREATE = "POST /functions"
STATUS = "GET /functions/status"


def test_requests_carry_the_headers_of_the_contract(client: CogniteClient, stub: Stub) -> None:
    stub.on(LIST, {"items": []})
    client.functions.list()
    headers = stub.seen[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == headers["accept"] == "application/json"
    assert headers["cdf-version"] == "20230101"
    assert headers["x-cdp-app"] == "a test"
    assert headers["x-cdp-sdk"].startswith("KvernPythonSDK:")


def test_a_client_name_of_any_letters_is_sent(stub: Stub) -> None:
    stub.on(STATUS, {"status": "activated"})
    CogniteClient(ClientConfig("Kværn 挽", "plant", Token("x"), base_url="http://server")).functions.status()
    assert stub.seen[0].headers.raw[[name for name, _ in stub.seen[0].headers.raw].index(b"x-cdp-app")][
        1
    ] == "Kværn ?".encode("latin-1")


def test_bodies_are_compressed_unless_that_is_turned_off(client: CogniteClient, stub: Stub) -> None:
    stub.on(LIST, {"items": []})
    client.functions.list(limit=3)
    global_config.disable_gzip = True
    client.functions.list(limit=3)
    assert [seen.compressed for seen in stub.seen] == [True, False]
    assert stub.seen[0].json == stub.seen[1].json == {"filter": {}, "limit": 3}


def test_headers_of_the_config_go_with_every_request(stub: Stub) -> None:
    stub.on(STATUS, {"status": "activated"})
    config = ClientConfig(
        "n", "plant", Token("x"), base_url="http://server/", headers={"x-own": "1"}, api_subversion="beta"
    )
    CogniteClient(config).functions.status()
    assert (stub.seen[0].headers["x-own"], stub.seen[0].headers["cdf-version"]) == ("1", "beta")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reading_is_tried_again_when_the_server_is_busy(
    client: CogniteClient, stub: Stub, pauses: list[float], status: int
) -> None:
    stub.on(LIST, error(status, "busy"), error(status, "busy"), {"items": []})
    assert client.functions.list() == []
    assert pauses == [0.5, 1.0]


def test_pauses_double_up_to_the_longest(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    global_config.max_retry_backoff = 4
    stub.on(LIST, error(503, "busy"))
    with pytest.raises(exceptions.CogniteAPIError, match="busy"):
        client.functions.list()
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    assert len(stub.seen) == 11


def test_a_server_that_says_when_is_asked_then(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(
        LIST, error(429, "busy", {"Retry-After": "7.5"}), error(429, "busy", {"Retry-After": "soon"}), {"items": []}
    )
    client.functions.list()
    assert pauses == [7.5, 1.0]


@pytest.mark.parametrize("status", [500, 501, 400, 403])
def test_other_failures_are_not_tried_again(
    client: CogniteClient, stub: Stub, pauses: list[float], status: int
) -> None:
    stub.on(LIST, error(status, "no"))
    with pytest.raises(exceptions.CogniteAPIError):
        client.functions.list()
    assert (len(stub.seen), pauses) == (1, [])


def test_any_failure_is_tried_again_where_the_server_invites_to(
    client: CogniteClient, stub: Stub, pauses: list[float]
) -> None:
    stub.on(
        "POST /functions/1/call",
        error(500, "moved", {"cdf-is-auto-retryable": "True"}),
        {
            "id": 1,
            "functionId": 1,
            "status": "Running",
            "startTime": 1,
        },
    )
    client.functions.call(id=1, wait=False)
    assert len(pauses) == 1


@pytest.mark.parametrize("failure", [error(503, "busy"), httpx2.ReadTimeout("slow"), httpx2.ReadError("broken")])
def test_a_call_is_never_made_twice(
    client: CogniteClient, stub: Stub, pauses: list[float], failure: httpx2.Response | Exception
) -> None:
    stub.on("POST /functions/1/call", failure)
    with pytest.raises(exceptions.CogniteException):
        client.functions.call(id=1)
    assert stub.paths().count("POST /functions/1/call") == 1
    assert pauses == []


@pytest.mark.parametrize("failure", [error(429, "busy"), httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow")])
def test_a_call_that_was_certainly_not_made_is_tried_again(
    client: CogniteClient, stub: Stub, pauses: list[float], failure: httpx2.Response | Exception
) -> None:
    stub.on("POST /functions/1/call", failure, {"id": 1, "functionId": 1, "status": "Completed", "startTime": 1})
    assert client.functions.call(id=1).status == "Completed"
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("path", "repeated"),
    [
        ("/functions/byids", True),
        ("/functions/1/calls/list", True),
        ("/functions/status", True),
        ("/sessions", True),
        ("/sessions/revoke", True),
        ("/files/downloadlink", True),
        ("/functions/delete", False),
        ("/functions/schedules", False),
        ("/files", False),
        ("/some/unknown/action", False),
    ],
)
async def test_which_posts_are_repeated(
    async_client: AsyncCogniteClient, stub: Stub, pauses: list[float], path: str, repeated: bool
) -> None:
    stub.on(f"POST {path}", error(503, "busy"), {})
    try:
        await async_client.post(path, json={})
    except exceptions.CogniteAPIError:
        assert not repeated
    assert len(stub.seen) == (2 if repeated else 1)


@pytest.mark.parametrize(
    ("failure", "raised", "tries"),
    [
        (httpx2.ConnectError("refused"), exceptions.CogniteConnectionRefused, 4),
        (httpx2.ConnectTimeout("slow"), exceptions.CogniteConnectionError, 4),
        (httpx2.ReadError("broken"), exceptions.CogniteConnectionError, 4),
        (httpx2.RemoteProtocolError("nonsense"), exceptions.CogniteConnectionError, 4),
        (httpx2.ReadTimeout("slow"), exceptions.CogniteReadTimeout, 11),
        (httpx2.TooManyRedirects("round and round"), exceptions.CogniteRequestError, 1),
    ],
)
def test_failures_without_an_answer(
    client: CogniteClient,
    stub: Stub,
    pauses: list[float],
    failure: Exception,
    raised: type[Exception],
    tries: int,
) -> None:
    stub.on(STATUS, failure)
    with pytest.raises(raised) as caught:
        client.functions.status()
    assert type(caught.value) is raised
    assert len(stub.seen) == tries


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (error(400, "m", missing=[{"id": 1}]), exceptions.CogniteNotFoundError),
        (error(404, "m"), exceptions.CogniteNotFoundError),
        (error(422, "m", missing=[{"id": 1}]), exceptions.CogniteNotFoundError),
        (error(409, "m", duplicated=[{"externalId": "x"}]), exceptions.CogniteDuplicatedError),
        (error(409, "m"), exceptions.CogniteAPIError),
        (error(400, "m", missing=[]), exceptions.CogniteAPIError),
        (error(403, "m"), exceptions.CogniteAPIError),
        (httpx2.Response(500, text="m"), exceptions.CogniteAPIError),
        (httpx2.Response(500, json={"error": "m"}), exceptions.CogniteAPIError),
        (httpx2.Response(418, json={"no": "m"}), exceptions.CogniteAPIError),
    ],
)
def test_answers_of_failure_are_raised_as_what_they_mean(
    client: CogniteClient, stub: Stub, answer: httpx2.Response, raised: type[exceptions.CogniteAPIError]
) -> None:
    stub.on(STATUS, answer)
    with pytest.raises(exceptions.CogniteAPIError) as caught:
        client.functions.status()
    assert type(caught.value) is raised
    assert caught.value.code == answer.status_code
    assert "m" in caught.value.message


def test_what_else_an_error_tells_is_kept(client: CogniteClient, stub: Stub) -> None:
    stub.on(STATUS, error(400, "no", {"x-request-id": "r1"}, hint="use another"))
    with pytest.raises(exceptions.CogniteAPIError) as caught:
        client.functions.status()
    assert (caught.value.x_request_id, caught.value.extra) == ("r1", {"hint": "use another"})
    assert "r1" in str(caught.value) and "use another" in str(caught.value)


def test_without_access_the_projects_of_the_token_are_told(client: CogniteClient, stub: Stub) -> None:
    stub.on(STATUS, error(401, "Unauthorized"))
    stub.on("GET /api/v1/token/inspect", {"projects": [{"projectUrlName": "mill"}, {"projectUrlName": "plant"}]})
    with pytest.raises(exceptions.CogniteProjectAccessError, match="mill") as caught:
        client.functions.status()
    assert caught.value.maybe_projects == ["mill"]


def test_without_access_at_all_nothing_is_suggested(client: CogniteClient, stub: Stub) -> None:
    stub.on(STATUS, error(401, "Unauthorized"))
    with pytest.raises(exceptions.CogniteProjectAccessError) as caught:
        client.functions.status()
    assert caught.value.maybe_projects is None


def test_the_token_is_asked_for_again_for_every_try(stub: Stub, pauses: list[float]) -> None:
    tokens = iter(["old", "new"])
    client = CogniteClient(ClientConfig("n", "plant", Token(lambda: next(tokens)), base_url="http://server"))
    stub.on(STATUS, error(503, "busy"), {"status": "activated"})
    client.functions.status()
    assert [seen.headers["authorization"] for seen in stub.seen] == ["Bearer old", "Bearer new"]


def test_a_provider_of_ones_own_works(stub: Stub) -> None:
    class Own(CredentialProvider):
        def authorization_header(self) -> tuple[str, str]:
            return "X-Key", "mine"

    stub.on(STATUS, {"status": "activated"})
    CogniteClient(ClientConfig("n", "plant", Own(), base_url="http://server")).functions.status()
    assert stub.seen[0].headers["x-key"] == "mine"


def test_paths_are_below_the_project_or_the_server(client: CogniteClient, stub: Stub) -> None:
    stub.on("GET /anything", {})
    stub.on("GET /api/v1/token/inspect", {})
    stub.on("PUT /thing", {})
    client.get("/anything", params={"a": 1})
    client.get("/api/v1/token/inspect")
    client.put("http://server/api/v1/projects/plant/thing", json={"b": 2})
    assert stub.paths() == ["GET /anything", "GET /api/v1/token/inspect", "PUT /thing"]
    assert (stub.seen[0].query, stub.seen[2].json) == ({"a": "1"}, {"b": 2})
    with pytest.raises(ValueError, match="begins with '/'"):
        client.get("anything")


def test_nothing_that_is_no_json_is_sent(client: CogniteClient, stub: Stub) -> None:
    with pytest.raises(ValueError, match="NaN"):
        client.functions.call(id=1, data={"x": float("inf")})
    with pytest.raises(TypeError, match="object"):
        client.functions.call(id=1, data={"x": object()})
    assert "POST /functions/1/call" not in stub.paths()


def test_the_debug_log_hides_secrets(client: CogniteClient, stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.on(CREATE, {"items": [{"id": 1, "createdTime": 1, "name": "n", "status": "Queued", "fileId": 1}]})
    stub.on(
        "POST /files/byids",
        {"items": [{"id": 1, "uploaded": True, "createdTime": 1, "lastUpdatedTime": 1, "name": "n"}]},
    )
    client.config.debug = True
    try:
        client.functions.create("n", file_id=1, secrets={"key": "very secret"}, index_url="https://me:word@host")
    finally:
        client.config.debug = False
    log = capsys.readouterr().err
    assert "POST" in log and "/functions" in log and "***" in log
    assert "very secret" not in log and "word" not in log and "Bearer secret" not in log


def test_the_token_goes_to_the_server_only(client: CogniteClient, stub: Stub) -> None:
    for url in ("http://server/storage", "http://storage/file", "http://server.evil/file", "https://server/file"):
        stub.on(f"GET /{url.rpartition('/')[2]}", {})
        client.get(url)
    assert ["authorization" in seen.headers for seen in stub.seen] == [True, False, False, False]


def test_a_large_body_arrives_whole(client: CogniteClient, stub: Stub) -> None:
    stub.on("POST /functions/1/call", {"id": 1, "functionId": 1, "status": "Completed", "startTime": 1})
    data = {"text": "x" * 3_000_000}
    client.functions.call(id=1, data=data)
    assert stub.seen[1].compressed and stub.seen[1].json["data"] == data
