"""Around every route: request ids, the envelope of errors, faults in the log, what links begin with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.types import Message, Scope
from tests.unit.fakes import PROJECT
from tests.unit.server.conftest import HOST, Web, error_of, quietly

from kvern.server.app import build_app
from kvern.service.functions import Functions


async def test_every_answer_has_a_request_id_of_its_own(web: Web) -> None:
    answers = [
        await web.get("/functions"),
        await web.get("/functions/4711"),
        await web.get("/nowhere"),
        await web.get("/functions", headers={"authorization": None}),
        await web.get("//health"),
        await web.post("//oauth2/token"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 401, 200, 400]
    ids = [answer.headers.get_list("x-request-id") for answer in answers]
    assert all(len(each) == 1 for each in ids)
    assert len({each[0] for each in ids}) == len(answers)


@quietly
@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/functions/",
        "/Functions",
        "/functions/abc",
        "/functions/1/calls/x",
        "/functions/-1",
        "/functions/1.5",
        "//api/v1",
        "//api/v2/projects/plant/functions",
        "//",
        "//favicon.ico",
    ],
)
async def test_there_is_no_such_route(quiet: Web, path: str) -> None:
    answer = await quiet.get(path)
    error_of(answer, 404)
    assert "location" not in answer.headers  # clients do not follow redirects (contract 1.1)


@pytest.mark.parametrize("number", ["0", "9007199254740992", "9" * 30, "9" * 6000])
async def test_an_id_that_can_be_none_is_unknown(web: Web, number: str) -> None:
    function = await web.p.function()
    for path in (
        f"/functions/{number}",
        f"/functions/{number}/calls",
        f"/functions/{function.record.id}/calls/{number}",
        f"/functions/{function.record.id}/calls/{number}/logs",
        f"/functions/schedules/{number}",
        f"/files/{number}",
    ):
        error_of(await web.get(path), 404)


@quietly
async def test_the_wrong_method_is_told_with_the_right_ones(quiet: Web) -> None:
    answer = await quiet.ask("DELETE", "/functions")
    assert "DELETE" in error_of(answer, 405)["message"]
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(" ", "").split(","))
    assert "expected GET, HEAD, POST" in error_of(answer, 405)["message"]


@quietly
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/securitycategories", 405),
        ("POST", "/securitycategories/delete", 400),
        ("POST", "/timeseries/list", 404),
        ("POST", "/models/instances/byids", 400),
        ("GET", "/assets", 404),
        ("POST", "/files/aggregate", 400),
        ("DELETE", "/functions", 405),
    ],
)
async def test_what_is_not_served_is_told_with_the_setting_that_passes_it_on(
    quiet: Web, method: str, path: str, status: int
) -> None:
    message = error_of(await quiet.ask(method, path), status)["message"]
    assert f"Kvern does not serve {method} " in message
    assert "--upstream" in message


@quietly
async def test_head_answers_as_get_without_the_body(quiet: Web) -> None:
    answer = await quiet.ask("HEAD", "/functions/limits")
    assert (answer.status_code, answer.content) == (200, b"")


@quietly
async def test_an_unknown_id_in_a_path_is_named(quiet: Web) -> None:
    assert error_of(await quiet.get("/functions/4711"), 404)["missing"] == [{"id": 4711}]


# Faults


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(Functions, "limits", fault)


async def test_a_fault_is_a_500_whose_request_id_leads_to_the_log(
    web: Web, faulty: None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await web.get("/functions/limits")
    error = error_of(answer, 500)
    request_id = answer.headers["x-request-id"]
    assert request_id in error["message"]
    assert "a secret detail" not in answer.text
    (record,) = [record for record in caplog.records if request_id in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "a secret detail" in caplog.text


async def test_a_store_that_refuses_is_a_500_without_a_traceback(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    function = await web.p.function()
    web.p.store.refusing = True
    answer = await web.call(function)
    assert answer.headers["x-request-id"] in error_of(answer, 500)["message"]
    (record,) = [one for one in caplog.records if answer.headers["x-request-id"] in one.getMessage()]
    assert "disk is full" in record.getMessage()
    assert record.exc_info is None
    assert "retry-after" not in answer.headers


async def test_refusals_are_not_logged(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    for path in ("/nowhere", "/functions/4711", "/functions?limit=0"):
        assert (await web.get(path)).status_code in (400, 404)
    assert [record for record in caplog.records if record.name.startswith("kvern.server")] == []


async def test_a_link_that_meets_a_fault_is_not_told_to_the_log(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log could use it: it is its own proof, for a week."""
    made = (await web.post("/files", {"name": "a.zip"})).json()
    web.p.store.refusing = True
    answer = await web.http.put(made["uploadUrl"], content=b"abc")
    error_of(answer, 500)
    proof = made["uploadUrl"].rpartition("/")[2]
    assert answer.headers["x-request-id"] in caplog.text
    assert proof not in caplog.text
    assert proof not in answer.text


async def test_a_fault_while_an_answer_is_under_way_breaks_the_connection(web: Web) -> None:
    """Better no end than half a file that looks whole."""
    file_id = await web.p.upload(b"x" * 200_000)
    link = (await web.post("/files/downloadlink", {"items": [{"id": file_id}]})).json()["items"][0]["downloadUrl"]
    app = build_app(web.p.service)
    sent: list[Message] = []

    begun = False

    async def receive() -> Message:
        nonlocal begun
        if begun:
            await asyncio.Event().wait()
        begun = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            raise RuntimeError("a fault")

    url = httpx2.URL(link)
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "server": ("kvern.test", 80),
        "client": ("127.0.0.1", 1),
    }
    with pytest.raises(RuntimeError, match="a fault"):
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


# Links


async def test_links_begin_with_the_address_that_the_client_used(web: Web) -> None:
    made = (await web.post("/files", {"name": "a.zip"})).json()
    assert made["uploadUrl"].startswith(f"{HOST}/api/v1/files/upload/")
    for host in ("functions.plant.example", "localhost:1", "[::1]:8000", "under_score"):
        made = (await web.post("/files", {"name": "a.zip"}, headers={"host": host})).json()
        assert made["uploadUrl"].startswith(f"http://{host}/api/v1/files/upload/")


async def test_links_begin_with_the_public_url_when_there_is_one(webs: Callable[..., Any]) -> None:
    async with webs(public_url="https://functions.plant.example/kvern/") as web:
        made = (await web.post("/files", {"name": "a.zip"})).json()
    assert made["uploadUrl"].startswith("https://functions.plant.example/kvern/api/v1/files/upload/")


@quietly
@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "évil", 'a"b', "a:123456", "a?b"])
async def test_a_host_that_is_none_makes_no_link(quiet: Web, host: str) -> None:
    answer = await quiet.post("/files", {"name": "a.zip"}, headers={"host": host.encode()})
    assert "Host" in error_of(answer, 400)["message"]
    assert (await quiet.get("/files")).json() == {"items": []}


async def test_links_need_no_token_and_bear_one(web: Web) -> None:
    made = (await web.post("/files", {"name": "a.txt", "mimeType": "text/plain"})).json()
    assert (await web.http.put(made["uploadUrl"], content=b"one")).status_code == 200
    for headers in ({}, {"authorization": f"Bearer {web.token}"}, {"authorization": "Bearer nonsense"}):
        assert (await web.http.put(made["uploadUrl"], content=b"two", headers=headers)).status_code == 200
        link = (await web.post("/files/downloadlink", {"items": [{"id": made["id"]}]})).json()["items"][0][
            "downloadUrl"
        ]
        answer = await web.http.get(link, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"two")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "attachment" in answer.headers["content-disposition"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@quietly
async def test_a_link_that_was_made_up_is_403(quiet: Web) -> None:
    for path in ("upload/abc.def", "upload/nonsense", "upload/é"):
        error_of(await quiet.http.put(f"/api/v1/files/{path}", content=b"x"), 403)
    error_of(await quiet.http.get("/api/v1/files/download/abc.def"), 403)


# The query


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "ten", "", "１", "9" * 20, "1e3"])
async def test_a_limit_that_is_none_is_refused(web: Web, limit: str) -> None:
    function = await web.p.function()
    for path in ("/functions", "/functions/schedules", f"/functions/{function.record.id}/calls", "/sessions", "/files"):
        assert "`limit`" in error_of(await web.get(path, params={"limit": limit}), 400)["message"]


async def test_a_limit_that_is_too_large_is_clamped(web: Web) -> None:
    await web.p.create()
    for limit in ("10000", "999999999"):
        answer = await web.get("/functions", params={"limit": limit})
        assert (answer.status_code, len(answer.json()["items"])) == (200, 1)


@pytest.mark.parametrize(
    ("overwrite", "good"), [("true", True), ("True", True), ("false", True), ("1", False), ("", False)]
)
async def test_flags_are_true_or_false(web: Web, overwrite: str, good: bool) -> None:
    answer = await web.post("/files", {"name": "a.zip"}, params={"overwrite": overwrite})
    if good:
        assert answer.status_code == 201
    else:
        assert "`overwrite`" in error_of(answer, 400)["message"]


@pytest.mark.parametrize("cursor", ["x", "", "é", "x" * 5000, "AAAA"])
async def test_a_cursor_that_was_made_up_is_refused(web: Web, cursor: str) -> None:
    function = await web.p.function()
    for path in (f"/functions/{function.record.id}/calls", "/sessions", "/files"):
        error_of(await web.get(path, params={"cursor": cursor}), 400)


@quietly
async def test_what_needs_no_token(quiet: Web) -> None:
    quiet.token = "nonsense"
    health = await quiet.get("//health")
    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert (await quiet.get("//openapi.json")).status_code == 200
    error_of(await quiet.get(f"//api/v1/projects/{PROJECT}"), 401)
