"""The token endpoint, and who a token is (contract 1.2, 8; RFC 6749 4.4)."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from tests.unit.fakes import PROJECT
from tests.unit.server.conftest import Web, quietly

from kvern.service.clients import Credentials


@pytest.fixture
async def client(web: Web) -> Credentials:
    return await web.p.service.clients.add(PROJECT, "a client")


async def ask(web: Web, fields: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    return await web.http.post("/oauth2/token", data=fields, **more)


def form(client: Credentials, **fields: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        **fields,
    }


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def test_a_client_gets_a_token_that_is_good(web: Web, client: Credentials) -> None:
    answer = await ask(web, form(client, scope="kvern", audience="anything"))
    assert answer.status_code == 200
    given = answer.json()
    assert given == {"access_token": given["access_token"], "token_type": "Bearer", "expires_in": 3600}
    assert answer.headers["cache-control"] == "no-store"
    web.token = given["access_token"]
    assert (await web.get("/functions")).status_code == 200


async def test_the_secret_may_come_in_the_header(web: Web, client: Credentials) -> None:
    headers = basic(client.client_id, client.client_secret)
    answer = await ask(web, {"grant_type": "client_credentials"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(("client_id", "secret"), [(None, "wrong"), ("nobody", None), ("nobody", "wrong"), ("é", "é")])
async def test_a_wrong_id_and_a_wrong_secret_look_the_same(
    web: Web, client: Credentials, client_id: str | None, secret: str | None
) -> None:
    given = form(Credentials(client_id or client.client_id, secret or client.client_secret))
    answer = await ask(web, given)
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "invalid_client",
        "error_description": "The client id or the client secret is not good",
    }


@quietly
@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "unsupported_grant_type"),
        (b"grant_type=password&client_id=a&client_secret=b", "unsupported_grant_type"),
        (b"grant_type=client_credentials", "invalid_request"),
        (b"grant_type=client_credentials&client_id=a", "invalid_request"),
        (b"grant_type=client_credentials&client_id=&client_secret=b", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        (b"x" * 70_000, "invalid_request"),
        (b'{"grant_type": "client_credentials"}', "unsupported_grant_type"),
    ],
)
async def test_a_form_that_is_none(quiet: Web, content: bytes, error: str) -> None:
    answer = await ask(quiet, content=content)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert isinstance(answer.json()["error_description"], str)


@quietly
@pytest.mark.parametrize(
    "header", [b"Basic", b"Basic !!!", b"Basic \xe6\xf8", b"Basic YWJj", b"Basic //79", b"Basic " + b"A" * 5]
)
async def test_a_header_that_is_no_basic_one(quiet: Web, header: bytes) -> None:
    answer = await ask(quiet, {"grant_type": "client_credentials"}, headers={"authorization": header})
    assert answer.status_code in (400, 401)
    assert "error_description" in answer.json()


@quietly
async def test_who_a_token_is(quiet: Web) -> None:
    seen = (await quiet.get("//api/v1/token/inspect")).json()
    assert seen["subject"] == quiet.p.who.subject
    assert [project["projectUrlName"] for project in seen["projects"]] == [PROJECT]
    acls = {name for capability in seen["capabilities"] for name in capability if name != "projectScope"}
    assert {"functionsAcl", "sessionsAcl", "filesAcl"} <= acls
    assert all(capability["projectScope"] for capability in seen["capabilities"])


@quietly
async def test_the_project_and_its_list(quiet: Web) -> None:
    project = (await quiet.get("")).json()
    assert (project["name"], project["urlName"]) == (PROJECT, PROJECT)
    listed = (await quiet.get("//api/v1/projects", params={"withDataModelingStatus": "true"})).json()
    assert listed == {"items": [{"urlName": PROJECT, "dataModelingStatus": "HYBRID"}]}
