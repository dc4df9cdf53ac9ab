"""Calls over HTTP: when the answer comes, how errors are shown and to whom, responses and logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.fakes import raised, returned, until
from tests.unit.server.conftest import Web, error_of

from kvern.engine import LogLine, Outcome, Verdict
from kvern.server import ask
from kvern.service.functions import LiveFunction


@pytest.fixture
async def function(web: Web) -> LiveFunction:
    return await web.p.function()


async def held(web: Web, function: LiveFunction, **more: Any) -> asyncio.Task[Any]:
    """A call under way that the engine holds."""
    web.p.engine.holding = True
    asking = asyncio.create_task(web.call(function, **more))
    await until(lambda: web.p.engine.orders)
    return asking


def end(web: Web, outcome: Outcome | None = None) -> None:
    web.p.engine.end(web.p.engine.orders[-1].call_id, outcome)


# When the answer comes


async def test_a_call_that_ends_within_the_grace_is_answered_with_its_end(web: Web, function: LiveFunction) -> None:
    figures = {"queue_seconds": 0.0012345678, "run_seconds": 0.5, "cpu_seconds": 0.25, "peak_memory": 10_000_000}
    web.p.engine.endings.append(Outcome(Verdict.RETURNED, b"1", cold=True, worker="6f1c09d2/3", **figures))
    answer = await web.call(function, headers={"prefer": None})
    assert answer.status_code == 201
    call = answer.json()
    assert call == {
        "id": call["id"],
        "functionId": function.record.id,
        "status": "Completed",
        "startTime": web.p.clock.now(),
        "endTime": web.p.clock.now(),
        "outcome": {
            "verdict": "returned",
            "queueSeconds": 0.001235,
            "runSeconds": 0.5,
            "cpuSeconds": 0.25,
            "peakMemory": 10_000_000,
            "cold": True,
            "worker": "6f1c09d2/3",
            "attempt": 1,
        },
    }
    again = await web.get(f"/functions/{function.record.id}/calls/{call['id']}")
    assert again.json() == call, "what is kept is what was answered"
    assert "preference-applied" not in answer.headers


async def test_a_call_that_takes_longer_than_the_grace_is_answered_as_running(
    webs: Callable[..., Any],
) -> None:
    async with webs(call_grace_ms=1) as web:
        web.p.engine.holding = True
        answer = await web.call(await web.p.function())
        assert answer.status_code == 201
        assert answer.json()["status"] == "Running"
        assert "endTime" not in answer.json()


async def test_without_a_grace_the_answer_comes_when_the_call_is_kept(webs: Callable[..., Any]) -> None:
    async with webs(call_grace_ms=0) as web:
        web.p.engine.holding = True
        answer = await web.call(await web.p.function())
        assert answer.json()["status"] == "Running"


async def test_a_function_whose_calls_outlive_the_grace_is_not_waited_for_again(webs: Callable[..., Any]) -> None:
    async with webs(call_grace_ms=10) as web:
        function = await web.p.function()
        web.p.engine.holding = True
        await web.call(function)
        assert web.p.service.calls.grace(function) == 0


async def test_a_client_may_prefer_to_wait_for_the_end(web: Web, function: LiveFunction) -> None:
    asking = await held(web, function, headers={"prefer": "wait=30"})
    end(web, returned(b"7"))
    answer = await asking
    assert (answer.status_code, answer.json()["status"]) == (201, "Completed")
    assert answer.headers["preference-applied"] == "wait=30"


async def test_a_wait_that_is_over_answers_with_a_running_call(
    web: Web, function: LiveFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.p.engine.holding = True
    with monkeypatch.context() as impatient:
        impatient.setattr(ask, "WAIT_MOST", 0.02)
        answer = await web.call(function, headers={"prefer": "wait=30"})
    assert answer.json()["status"] == "Running"
    call = f"/functions/{function.record.id}/calls/{answer.json()['id']}"
    waiting = asyncio.create_task(web.get(call, headers={"prefer": "respond-async, wait=30"}))
    await asyncio.sleep(0)
    end(web)
    again = await waiting
    assert (again.status_code, again.json()["status"]) == (200, "Completed")
    assert again.headers["preference-applied"] == "wait=30"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5),
        ("Wait = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ("handling=lenient; wait=5", 5),
        ("wait=0", 0),
        ("wait=86400", 60),
        ("wait=-5", 0),
        ("wait=soon", 0),
        ("await=5", 0),
        ("", 0),
    ],
)
async def test_how_long_a_client_prefers_to_wait(web: Web, function: LiveFunction, prefer: str, seconds: int) -> None:
    ended = await web.call(function)
    call = f"/functions/{function.record.id}/calls/{ended.json()['id']}"
    answer = await web.get(call, headers={"prefer": prefer})
    assert answer.headers.get("preference-applied") == (f"wait={seconds}" if seconds else None)


# Refusals


async def test_refusals_of_a_call(webs: Callable[..., Any]) -> None:
    async with webs(max_function_calls=1, data_limit_mb=0.001, call_grace_ms=0) as web:
        function = await web.p.function()
        large = error_of(await web.call(function, {"data": "x" * 2000}), 413)
        assert "at most 1000 bytes of data" in large["message"]
        bad = error_of(await web.call(function, {"nonce": "made-up"}), 400)
        assert bad["message"].startswith("Failed to bind session")
        unknown = error_of(await web.post("/functions/4711/call", {}), 404)
        assert unknown["missing"] == [{"id": 4711}]
        web.p.engine.holding = True
        assert (await web.call(function)).status_code == 201
        busy = error_of(await web.call(function), 429)
        assert "(1)" in busy["message"]


async def test_a_function_that_is_not_ready_is_400(web: Web) -> None:
    web.p.builder.holding = True
    made = (await web.post("/functions", {"items": [{"name": "f", "fileId": await web.p.upload()}]})).json()["items"][0]
    assert made["status"] == "Queued"
    refused = error_of(await web.post(f"/functions/{made['id']}/call", {}), 400)
    assert "Ready" in refused["message"]
    web.p.builder.holding = False


async def test_run_or_write_may_call_read_may_not(web: Web, function: LiveFunction) -> None:
    for capability, status in (("RUN", 201), ("WRITE", 201), ("READ", 403)):
        web.token = await web.as_client(f"functionsAcl:{capability}")
        assert (await web.call(function)).status_code == status


# How an error is shown


CLIENTS = {"sdk": "CognitePythonSDK:8.22.0", "toolkit": "CogniteToolkit:0.9.28", "none": ""}


@pytest.mark.parametrize(
    ("style", "client", "shown"),
    [
        ("auto", "sdk", "object"),
        ("auto", "none", "object"),
        ("auto", "toolkit", "string"),
        ("object", "toolkit", "object"),
        ("string", "sdk", "string"),
    ],
)
async def test_an_error_is_an_object_and_a_string_to_the_toolkit(
    webs: Callable[..., Any], style: str, client: str, shown: str
) -> None:
    async with webs(call_error=style) as web:
        function = await web.p.function()
        web.p.engine.endings.append(raised("ValueError: no", "Traceback"))
        headers = {"x-cdp-sdk": CLIENTS[client]}
        error = "ValueError: no" if shown == "string" else {"message": "ValueError: no", "trace": "Traceback"}
        made = (await web.call(function, headers=headers)).json()
        assert (made["status"], made["error"]) == ("Failed", error)
        calls = f"/functions/{function.record.id}/calls"
        for answer in (
            (await web.get(f"{calls}/{made['id']}", headers=headers)).json(),
            (await web.get(calls, headers=headers)).json()["items"][0],
            (await web.post(f"{calls}/list", {}, headers=headers)).json()["items"][0],
            (await web.post(f"{calls}/byids", {"items": [{"id": made["id"]}]}, headers=headers)).json()["items"][0],
        ):
            assert answer == made


async def test_an_error_without_a_trace_has_an_empty_one(web: Web, function: LiveFunction) -> None:
    web.p.engine.endings.append(Outcome(Verdict.TIMED_OUT, message="too long"))
    call = (await web.call(function)).json()
    assert (call["status"], call["error"]) == ("Timeout", {"message": "too long", "trace": ""})


# Lists, responses, logs


async def test_calls_are_listed_page_by_page(web: Web, function: LiveFunction) -> None:
    ids = [(await web.call(function)).json()["id"] for _ in range(3)]
    calls = f"/functions/{function.record.id}/calls"
    first = (await web.get(calls, params={"limit": 2})).json()
    second = (await web.get(calls, params={"limit": 2, "cursor": first["nextCursor"]})).json()
    assert [call["id"] for call in first["items"] + second["items"]] == ids[::-1]
    assert "nextCursor" not in second
    posted = (await web.post(f"{calls}/list", {"limit": 2, "filter": {"status": "Completed"}})).json()
    assert posted["items"] == first["items"]
    assert (await web.post(f"{calls}/list", {"filter": {"status": "Failed"}})).json() == {"items": []}


async def test_unknown_calls_in_a_body_are_named(web: Web, function: LiveFunction) -> None:
    calls = f"/functions/{function.record.id}/calls/byids"
    known = (await web.call(function)).json()
    body: dict[str, Any] = {"items": [{"id": 4711}, {"id": known["id"]}]}
    assert error_of(await web.post(calls, body), 400)["missing"] == [{"id": 4711}]
    assert (await web.post(calls, {**body, "ignoreUnknownIds": True})).json() == {"items": [known]}


@pytest.mark.parametrize("response", [b"null", b'{"Key": 1.50, "a_b": [null]}', b'"text"', b"false"])
async def test_a_response_comes_back_to_the_letter(web: Web, function: LiveFunction, response: bytes) -> None:
    web.p.engine.endings.append(returned(response))
    call = (await web.call(function)).json()
    answer = await web.get(f"/functions/{function.record.id}/calls/{call['id']}/response")
    assert answer.headers["content-type"] == "application/json"
    head = f'{{"functionId":{function.record.id},"callId":{call["id"]},"response":'.encode()
    assert answer.content == head + response + b"}"


async def test_without_a_response_the_key_is_absent(web: Web, function: LiveFunction) -> None:
    web.p.engine.endings.append(raised())
    failed = (await web.call(function)).json()["id"]
    web.p.engine.holding = True
    running = (await web.call(function)).json()["id"]
    for call_id in (failed, running):
        answer = await web.get(f"/functions/{function.record.id}/calls/{call_id}/response")
        assert (answer.status_code, answer.json()) == (200, {"functionId": function.record.id, "callId": call_id})


async def test_logs_while_a_call_runs_and_after(web: Web, function: LiveFunction) -> None:
    asking = await held(web, function, headers={"prefer": "wait=30"})
    order = web.p.engine.orders[-1]
    logs = f"/functions/{function.record.id}/calls/{order.call_id}/logs"
    assert (await web.get(logs)).json() == {"items": []}
    following = asyncio.create_task(web.get(logs, headers={"prefer": "wait=30"}))
    await asyncio.sleep(0)
    order.on_log([LogLine(5, 'one "quoted" \u2028 \u00e6')])
    entries = [{"timestamp": 5, "message": 'one "quoted" \u2028 \u00e6'}]
    assert (await following).json() == {"items": entries}
    order.on_log([LogLine(6, "")])
    end(web)
    await asking
    assert (await web.get(logs)).json() == {"items": [*entries, {"timestamp": 6, "message": ""}]}
    assert (await web.get(logs, params={"after": 1})).json() == {"items": [{"timestamp": 6, "message": ""}]}
    assert (await web.get(logs, params={"after": 0})).json() == {"items": [*entries, {"timestamp": 6, "message": ""}]}
    error_of(await web.get(logs, params={"after": "-1"}), 400)


async def test_a_call_of_another_function_is_unknown(web: Web, function: LiveFunction) -> None:
    other = await web.p.function()
    call = (await web.call(function)).json()["id"]
    for rest in ("", "/response", "/logs"):
        answer = await web.get(f"/functions/{other.record.id}/calls/{call}{rest}")
        assert error_of(answer, 404)["missing"] == [{"id": call}]


# Beyond the contract


async def test_an_idempotency_key_makes_one_call(web: Web, function: LiveFunction) -> None:
    headers = {"idempotency-key": "today"}
    first = await web.call(function, {"data": {"a": 1}}, headers=headers)
    again = await web.call(function, {"data": {"a": 1}}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    error_of(await web.call(function, {"data": {"a": 2}}, headers=headers), 422)
    for bad in ("", "x" * 256, "a b"):
        assert "Idempotency-Key" in error_of(await web.call(function, headers={"idempotency-key": bad}), 400)["message"]
    assert len(web.p.engine.orders) == 1


async def test_a_running_call_is_cancelled(web: Web, function: LiveFunction) -> None:
    asking = await held(web, function, headers={"prefer": "wait=30"})
    call = f"/functions/{function.record.id}/calls/{web.p.engine.orders[-1].call_id}"
    answer = await web.post(f"{call}/cancel")
    assert (answer.status_code, answer.json()["outcome"]["verdict"]) == (200, "cancelled")
    assert (await asking).json() == (await web.post(f"{call}/cancel")).json() == answer.json()
    web.p.engine.holding = False
    other = (await web.call(function)).json()["id"]
    error_of(await web.post(f"/functions/{function.record.id}/calls/{other}/cancel"), 409)


async def test_attempts_dead_calls_and_running_again(web: Web) -> None:
    retries = {"attempts": 1, "on": ["raised"]}
    body = {"name": "f", "fileId": await web.p.upload(), "retries": retries, "softDeadlineSeconds": 5}
    made = (await web.post("/functions", {"items": [body]})).json()["items"][0]
    assert made["retries"] == {**retries, "delaySeconds": 1.0, "factor": 2.0, "maxDelaySeconds": 300.0, "jitter": 0.5}
    assert made["softDeadlineSeconds"] == 5
    function = web.p.service.functions.get(web.p.who.project, made["id"])
    await until(lambda: function.record.status == "Ready")
    web.p.engine.endings.append(raised("ValueError: no", "where"))
    failed = (await web.call(function)).json()
    calls = f"/functions/{made['id']}/calls"
    (attempt,) = (await web.get(f"{calls}/{failed['id']}/attempts")).json()["items"]
    assert attempt == {
        "attempt": 1,
        "startTime": failed["startTime"],
        "endTime": failed["endTime"],
        "error": {"message": "ValueError: no", "trace": "where"},
        "outcome": failed["outcome"],
    }
    assert (await web.get(f"{calls}/dead")).json()["items"] == [{**failed, "deadTime": failed["endTime"]}]
    redriven = await web.post(f"{calls}/redrive", {"items": [{"id": failed["id"]}]})
    assert (redriven.status_code, redriven.json()["items"][0]["rerunOf"]) == (201, failed["id"])
    assert (await web.get(f"{calls}/dead")).json() == {"items": []}
    error_of(await web.post(f"{calls}/redrive", {"items": [{"id": failed["id"]}]}), 409)
    again = await web.post(f"{calls}/{failed['id']}/rerun")
    assert (again.status_code, again.json()["rerunOf"], again.json()["status"]) == (201, failed["id"], "Completed")
    error_of(await web.get(f"{calls}/{failed['id']}/logs", params={"attempt": 2}), 404)
    error_of(await web.get(f"{calls}/{failed['id']}/logs", params={"attempt": 0}), 400)


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": {}},
        {"retries": {"attempts": 0}},
        {"retries": {"attempts": 2, "on": ["returned"]}},
        {"retries": {"attempts": 2, "on": []}},
        {"retries": {"attempts": 2, "jitter": 2}},
        {"softDeadlineSeconds": 0},
        {"softDeadlineSeconds": 86_400},
    ],
)
async def test_options_that_make_no_sense_are_refused(web: Web, wrong: dict[str, Any]) -> None:
    body = {"name": "f", "fileId": await web.p.upload(), **wrong}
    error_of(await web.post("/functions", {"items": [body]}), 400)
