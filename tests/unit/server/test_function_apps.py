"""Calls of Function Apps: what is answered for each end, and to whom it is answered when (contract 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from tests.unit.fakes import Outcome, Verdict, raised, returned, until
from tests.unit.server.conftest import Web, error_of

PATH = "/function-apps/app/calls"


@pytest.fixture
async def function_id(web: Web) -> int:
    return (await web.p.function(external_id="app")).record.id


@pytest.mark.parametrize(
    ("outcome", "status", "shown"),
    [
        (returned(b'{"statusCode":200}'), "Completed", {"response": {"statusCode": 200}}),
        (returned(b"null"), "Completed", {"response": None}),
        (raised("ValueError: no"), "Failed", {"error": {"code": 500, "message": "ValueError: no"}}),
        (
            Outcome(Verdict.TIMED_OUT, message="too long"),
            "Timeout",
            {"error": {"code": 504, "message": "too long"}},
        ),
    ],
    ids=["value", "nothing", "raised", "too long"],
)
async def test_every_end_has_its_answer(
    web: Web, function_id: int, outcome: Outcome, status: str, shown: dict[str, object]
) -> None:
    web.p.engine.endings.append(outcome)
    answer = await web.post(PATH, {"data": {"path": "/", "method": "GET"}})
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("callId") == web.p.engine.orders[-1].call_id
    assert body == {"functionId": function_id, "runtimeStatus": status, **shown}
    assert web.p.engine.orders[-1].data == b'{"path":"/","method":"GET"}'


async def test_the_answer_waits_for_the_end(web: Web, function_id: int) -> None:
    web.p.engine.holding = True
    asking = asyncio.ensure_future(web.post(PATH, {}))
    await until(lambda: web.p.engine.orders)
    assert not asking.done()
    web.p.engine.end(web.p.engine.orders[0].call_id, returned(b"1"))
    assert (await asking).json()["response"] == 1


async def test_past_the_time_limit_the_answer_says_where_to_look(
    webs: Callable[..., AbstractAsyncContextManager[Web]],
) -> None:
    async with webs(timeout_minutes=0.001) as web:
        await web.p.function(external_id="app")
        web.p.engine.holding = True
        answer = await web.post(PATH, {})
        assert [answer.status_code, answer.json()["runtimeStatus"]] == [202, "Running"]
        assert "preference-applied" not in answer.headers
        running = await web.get(f"//{answer.headers['location'].lstrip('/')}")
        assert running.json()["status"] == "Running"


async def test_a_client_that_goes_away_does_not_stop_its_call(web: Web, function_id: int) -> None:
    web.p.engine.holding = True
    asking = asyncio.ensure_future(web.post(PATH, {}))
    await until(lambda: web.p.engine.orders)
    asking.cancel()
    web.p.engine.end_all()
    path = f"/functions/{function_id}/calls/{web.p.engine.orders[0].call_id}"

    async def status() -> str:
        return str((await web.get(path, headers={"prefer": "wait=5"})).json()["status"])

    assert await status() == "Completed"


async def test_who_may_run_may_call_and_who_may_read_may_look(web: Web, function_id: int) -> None:
    web.token = await web.as_client("functionsAcl:READ")
    assert "functionsAcl:RUN" in error_of(await web.post(PATH, {}), 403)["message"]
    assert (await web.get(PATH)).json() == {"items": []}
    web.token = await web.as_client("functionsAcl:RUN")
    assert (await web.post(PATH, {})).status_code == 200
    error_of(await web.get(PATH), 403)


async def test_only_functions_with_an_external_id_are_listed(web: Web, function_id: int) -> None:
    await web.p.function()
    assert [app["id"] for app in (await web.get("/function-apps")).json()["items"]] == [function_id]
