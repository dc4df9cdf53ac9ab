"""What answers tell, and what a browser may make of them; and how often somebody may guess."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("answers")) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


def test_versions_are_told_to_a_good_token_only(api: Api) -> None:
    url = f"{api.root}/health"
    for headers in (
        {},
        {"authorization": "Bearer x"},
        {"authorization": "Basic eDp5"},
        {"authorization": "Bearer a.b.c"},
    ):
        answer = api.http.get(url, headers=headers)
        assert [answer.status_code, answer.json()] == [200, {"status": "ok"}]
    assert {"version", "database"} <= api.http.get(url, headers=api.headers).json().keys()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/api/v1/token/inspect", 200),
        ("GET", "/api/v1/projects/kvern/functions", 200),
        ("HEAD", "/api/v1/projects/kvern/functions", 200),
        ("GET", "/api/v1/projects/kvern/functions/1", 404),
        ("GET", "/api/v1/projects/other/functions", 401),
        ("PUT", "/api/v1/projects/kvern/functions", 405),
        ("POST", "/api/v1/projects/kvern/functions", 400),
        ("POST", "/oauth2/token", 400),
        ("GET", "/nowhere", 404),
    ],
)
def test_json_is_neither_guessed_at_nor_kept(api: Api, method: str, path: str, status: int) -> None:
    answer = api.http.request(method, api.root + path, headers=api.headers)
    assert answer.status_code == status
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml"])
def test_an_uploaded_page_is_nothing_of_this_servers(api: Api, kind: str) -> None:
    made = api.post("/files", {"name": "page", "mimeType": kind}).json()
    assert api.http.put(made["uploadUrl"], content=b"<script>alert(1)</script>").status_code == 200
    link = api.post("/files/downloadlink", {"items": [{"id": made["id"]}]}).json()["items"][0]["downloadUrl"]
    heads = api.http.get(link).headers
    assert "sandbox" in heads["content-security-policy"]
    assert heads["cross-origin-resource-policy"] == "same-origin"
    assert heads["content-disposition"].startswith("attachment")
    assert heads["x-content-type-options"] == "nosniff"


def _log_in(api: Api, client_id: str, secret: str) -> httpx2.Response:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return api.http.post(f"{api.root}/oauth2/token", data=form)


def test_wrong_secrets_are_slowed_down_and_honest_clients_are_not(api: Api) -> None:
    wanted = {"name": "guessed at", "capabilities": [{"functionsAcl": {"actions": ["READ"], "scope": {"all": {}}}}]}
    made = api.post("/kvern/clients", wanted).json()
    answers = [_log_in(api, made["clientId"], f"wrong {number}") for number in range(14)]
    assert [answer.status_code for answer in answers[:10]] == [401] * 10
    assert {answer.status_code for answer in answers[10:]} <= {401, 429}
    last = answers[-1]
    assert last.status_code == 429
    assert 1 <= int(last.headers["retry-after"]) <= 6
    assert last.json()["error"] == "slow_down"
    guessed = _log_in(api, made["clientId"], made["clientSecret"])
    assert guessed.status_code == 429, "a right guess would tell that it is right"
    statuses = {_log_in(api, f"kvern-{number}", "wrong").status_code for number in range(70)}
    assert statuses == {401, 429}, "other clients' secrets, from the same address"
    api.log_in()
    assert api.get("/functions").status_code == 200


def test_secrets_are_not_guessed_by_way_of_sessions(api: Api) -> None:
    wanted = {"name": "guessed at", "capabilities": [{"functionsAcl": {"actions": ["READ"], "scope": {"all": {}}}}]}
    made = api.post("/kvern/clients", wanted).json()
    item = {"clientId": made["clientId"], "clientSecret": "wrong"}
    answers = [api.post("/sessions", {"items": [item]}).status_code for _ in range(14)]
    assert answers[:10] == [400] * 10
    assert answers[-1] == 429
