"""Waiting for the end of a call: held answers where the server gives them, polling elsewhere; following logs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from kvern.client import AsyncCogniteClient, CogniteClient, exceptions, global_config, waiting
from kvern.client.data_classes.functions import Function, FunctionCall
from tests.unit.client.stub import Seen, Stub, error, held


def call(status: str = "Running", **more: Any) -> dict[str, Any]:
    return {"id": 5, "functionId": 1, "status": status, "startTime": 1, **more}


ENDED = call("Completed", endTime=2)
CALL, ONE, BY_IDS, LOGS = (
    "POST /functions/1/call",
    "GET /functions/1/calls/5",
    "POST /functions/1/calls/byids",
    "GET /functions/1/calls/5/logs",
)


def test_a_kvern_server_answers_a_call_when_it_ends(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(CALL, held(ENDED, 201))
    made = client.functions.call(id=1, data={"a": 1})
    assert (made.status, made.end_time) == ("Completed", 2)
    assert stub.paths() == ["POST /sessions", CALL]
    assert stub.seen[1].headers["prefer"] == "wait=25"
    assert stub.seen[1].json == {"data": {"a": 1}, "nonce": "once"}
    assert pauses == []


def test_a_long_call_is_waited_for_without_pauses(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(CALL, held(call(), 201))
    stub.on(ONE, held(call()), held(call()), held(ENDED))
    assert client.functions.call(id=1).status == "Completed"
    assert stub.paths() == ["POST /sessions", CALL, ONE, ONE, ONE]
    assert pauses == []


def test_another_server_is_asked_again_and_again(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(CALL, httpx2.Response(201, json=call()))
    stub.on(BY_IDS, *[{"items": [call()]}] * 7, {"items": [ENDED]})
    assert client.functions.call(id=1).status == "Completed"
    assert stub.paths()[2:] == [BY_IDS] * 8
    assert pauses == [0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 10.0]


def test_it_is_remembered_which_kind_of_server_it_is(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(CALL, httpx2.Response(201, json=ENDED))
    client.functions.call(id=1)
    client.functions.call(id=1)
    assert [seen.headers.get("prefer") for seen in stub.seen if repr(seen) == CALL] == ["wait=25", None]


def test_a_call_that_need_not_be_waited_for_is_not_held(client: CogniteClient, stub: Stub) -> None:
    stub.on(CALL, httpx2.Response(201, json=call()))
    assert client.functions.call(id=1, wait=False).status == "Running"
    assert "prefer" not in stub.seen[1].headers


def test_any_end_ends_the_wait(client: CogniteClient, stub: Stub) -> None:
    for status in ("Failed", "Timeout", "SomethingNew"):
        stub.on(CALL, held(call(status, error={"message": "m", "trace": "t"}), 201))
        made = client.functions.call(id=1)
        assert (made.status, made.error) == (status, {"message": "m", "trace": "t"})


REFUSED = httpx2.ConnectError("refused")


def test_a_wait_outlives_a_server_that_is_started_again(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(CALL, held(call(), 201))
    stub.on(ONE, httpx2.ReadError("the server was stopped"), *[REFUSED] * 11, held(ENDED))
    assert client.functions.call(id=1).status == "Completed"
    assert stub.paths().count(ONE) == 13


def test_a_wait_bears_the_absence_of_a_server_for_a_minute(
    client: CogniteClient, stub: Stub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def monotonic() -> float:
        now[0] += 10
        return now[0]

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=monotonic))
    stub.on(CALL, held(call(), 201))
    stub.on(ONE, REFUSED)
    with pytest.raises(exceptions.CogniteConnectionRefused):
        client.functions.call(id=1)
    assert now == [70]


def test_a_call_that_is_gone_cannot_be_waited_for(client: CogniteClient, stub: Stub) -> None:
    stub.on(CALL, held(call(), 201))
    stub.on(ONE, error(404, "gone", missing=[{"id": 5}]))
    with pytest.raises(RuntimeError, match="does not exist any more"):
        client.functions.call(id=1)


async def test_more_calls_than_can_be_held_begin_all_the_same(
    async_client: AsyncCogniteClient, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = global_config.concurrency_settings.waiting
    monkeypatch.setitem(vars(limits)["_limits"], "calls", 2)
    running, end = 0, asyncio.Event()
    all_begun = asyncio.Event()

    async def begin(seen: Seen) -> httpx2.Response:
        nonlocal running
        running += 1
        if running == 6:
            all_begun.set()
        if "prefer" not in seen.headers:
            return httpx2.Response(201, json=call())
        await end.wait()
        return held(ENDED, 201)

    async def wait(seen: Seen) -> httpx2.Response:
        await end.wait()
        return held(ENDED)

    stub.on(CALL, begin)
    stub.on(ONE, wait)
    calls = [asyncio.create_task(async_client.functions.call(id=1)) for _ in range(6)]
    await asyncio.wait_for(all_begun.wait(), 10)
    held_now = [seen for seen in stub.seen if repr(seen) == CALL and "prefer" in seen.headers]
    assert len(held_now) == 2
    end.set()
    assert {made.status for made in await asyncio.gather(*calls)} == {"Completed"}


async def test_a_thousand_calls_at_once(async_client: AsyncCogniteClient, stub: Stub) -> None:
    stub.on(CALL, lambda seen: held({**ENDED, "id": seen.json["data"]["n"] + 1}, 201))
    made = await asyncio.gather(*(async_client.functions.call(id=1, data={"n": n}) for n in range(1000)))
    assert [one.id for one in made] == list(range(1, 1001))


async def test_a_cancelled_wait_gives_its_place_back(async_client: AsyncCogniteClient, stub: Stub) -> None:
    asked = asyncio.Event()

    async def for_ever(seen: Seen) -> httpx2.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("cannot be reached")

    stub.on(CALL, for_ever)
    waiting = asyncio.create_task(async_client.functions.call(id=1))
    await asyncio.wait_for(asked.wait(), 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    stub.on(CALL, held(ENDED, 201))
    assert (await async_client.functions.call(id=1)).status == "Completed"


def entries(*messages: str) -> dict[str, Any]:
    return {"items": [{"message": message, "timestamp": 1} for message in messages]}


def test_logs_of_a_kvern_server_come_as_they_are_printed(
    client: CogniteClient, stub: Stub, pauses: list[float]
) -> None:
    stub.on(BY_IDS, {"items": [call()]}, {"items": [call()]}, {"items": [ENDED]})
    stub.on(LOGS, held(entries("one", "two")), held(entries("three")), entries("four"), entries())
    followed = client.functions.calls.get_logs(5, function_id=1, follow=True)
    assert [entry.message for entry in followed] == ["one", "two", "three", "four"]
    asked = [seen for seen in stub.seen if repr(seen) == LOGS]
    assert [seen.query["after"] for seen in asked] == ["0", "2", "3", "4"]
    assert ["prefer" in seen.headers for seen in asked] == [True, True, False, False]
    assert pauses == []


def test_logs_of_another_server_are_polled_for(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on(BY_IDS, {"items": [call()]}, {"items": [call()]}, {"items": [call()]}, {"items": [ENDED]})
    stub.on(LOGS, entries("one"), entries("one"), entries("one", "two"), entries("one", "two", "three"))
    made = FunctionCall.load(call()).set_client_ref(client)
    assert [entry.message for entry in made.stream_logs()] == ["one", "two", "three"]
    assert pauses == [0.3]


def test_logs_of_an_ended_call_come_at_once(client: CogniteClient, stub: Stub) -> None:
    stub.on(BY_IDS, {"items": [ENDED]})
    stub.on(LOGS, entries("one"))
    assert [entry.message for entry in client.functions.calls.stream_logs(5, function_id=1)] == ["one"]


async def test_logs_can_be_followed_asynchronously(async_client: AsyncCogniteClient, stub: Stub) -> None:
    stub.on(BY_IDS, {"items": [ENDED]})
    stub.on(LOGS, entries("one"))
    followed = await async_client.functions.calls.get_logs(5, 1, follow=True)
    assert [entry.message async for entry in followed] == ["one"]
    made = FunctionCall.load(call()).set_client_ref(async_client)
    assert [entry.message async for entry in made.stream_logs_async()] == ["one"]


def test_logs_of_an_unknown_call(client: CogniteClient, stub: Stub) -> None:
    stub.on(BY_IDS, error(400, "unknown", missing=[{"id": 5}]))
    with pytest.raises(exceptions.CogniteNotFoundError):
        list(client.functions.calls.stream_logs(5, function_id=1))


def deployment(status: str) -> dict[str, Any]:
    return {"items": [{"id": 1, "createdTime": 1, "name": "n", "status": status, "fileId": 2}]}


def test_a_deployment_is_waited_for(client: CogniteClient, stub: Stub, pauses: list[float]) -> None:
    stub.on("POST /functions/byids", *map(deployment, ["Queued", "Deploying", "Deploying", "Ready"]))
    function = Function.load(deployment("Queued")["items"][0]).set_client_ref(client)
    function.wait()
    assert function.status == "Ready"
    assert pauses == [0.05, 0.1, 0.2, 0.3]


def test_a_deployment_is_waited_for_no_longer_than_wanted(client: CogniteClient, stub: Stub) -> None:
    stub.on("POST /functions/byids", deployment("Deploying"))
    function = Function.load(deployment("Queued")["items"][0]).set_client_ref(client)
    with pytest.raises(TimeoutError, match=r"still Deploying after 0\.01 s"):
        function.wait(timeout=0.01)


def test_a_deployment_that_was_deleted_is_not_waited_for(
    client: CogniteClient, stub: Stub, pauses: list[float]
) -> None:
    stub.on("POST /functions/byids", error(400, "unknown", missing=[{"id": 1}]))
    function = Function.load(deployment("Queued")["items"][0]).set_client_ref(client)
    with pytest.raises(exceptions.CogniteNotFoundError):
        function.wait()
