"""Calls: accepted for good, begun at most once, ended exactly once; quotas, sessions, logs, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.unit.fakes import BASE_URL, PROJECT, HandlerError, Plant, plant, raised, returned, until

from kvern.engine import LogLine, Order, Outcome, Verdict
from kvern.service import call_logs, ends, withdrawals
from kvern.service.outcomes import end_row
from kvern.store import Row, StoreFault, StoreGoneError, calls, sessions, tables
from kvern.wire.errors import ApiError, BusyError, InvalidError, NotFoundError, TooLargeError, UnauthenticatedError
from kvern.wire.sessions import SessionWrite


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service does every second or so is done at once."""
    monkeypatch.setattr(ends, "_RETRY", 0.001)
    monkeypatch.setattr(withdrawals, "_RETRY", 0.001)
    monkeypatch.setattr(call_logs, "_LOG_EVERY", 0.001)


async def row_of(p: Plant, call_id: int) -> dict[str, Any]:
    """A call as the store has it."""
    statement = select(tables.calls).where(tables.calls.c.id == call_id)
    return await p.store.read(lambda connection: dict(connection.execute(statement).mappings().one()))


async def session_status(p: Plant, session_id: int | None) -> str:
    statement = select(tables.sessions.c.status).where(tables.sessions.c.id == session_id)
    return await p.store.read(lambda connection: connection.execute(statement).scalar_one())


async def nonce(p: Plant, **kind: Any) -> tuple[int, str]:
    made = await p.service.sessions.create(p.who, SessionWrite(**(kind or {"token_exchange": True})))
    return made.id, made.nonce


async def logs(p: Plant, call: Any, after: int = 0, wait: float = 0.0) -> list[str]:
    record = call.record
    entries = await p.service.history.log(PROJECT, record.function_id, record.id, after, wait)
    return [entry["message"] for entry in json.loads(b"[" + entries + b"]")]


# From accepted to ended


async def test_a_call_returns_what_its_handler_returned(p: Plant) -> None:
    function = await p.function()
    p.engine.endings.append(lambda order: returned(b'{"given":' + order.data + b"}"))
    record = await p.ended(function, b'{"a": 1}')
    assert (record.status, record.error_message, record.error_trace) == ("Completed", None, None)
    answer = await p.service.history.response(PROJECT, function.record.id, record.id)
    assert bytes(answer.response) == b'{"given":{"a": 1}}'


async def test_a_call_is_answered_only_when_it_is_kept(p: Plant) -> None:
    function = await p.function()
    with p.store.closed():
        calling = asyncio.create_task(p.call(function))
        await until(lambda: p.store.waiting == 1)
        assert not calling.done()
        assert p.engine.orders == []
        assert await p.calls_of(function) == []
    live = await calling
    assert (await row_of(p, live.record.id))["data"] == b"{}"


async def test_a_call_that_is_only_being_kept_cannot_be_seen(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    with p.store.closed():
        calling = asyncio.create_task(p.call(function))
        await until(lambda: p.store.waiting == 1)
        call_id = next(iter(p.service.calls._running._live))
        with pytest.raises(NotFoundError):
            await p.service.history.get(PROJECT, function.record.id, call_id)
    await calling
    assert (await p.service.history.get(PROJECT, function.record.id, call_id)).status == "Running"


async def test_a_call_has_ended_only_when_its_end_is_kept(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    await p.clock.advance(250)
    with p.store.closed():
        p.engine.end(live.record.id, returned(b"7"))
        await until(lambda: p.store.waiting > 0)
        assert not live.ended.done()
        seen = await p.service.history.get(PROJECT, function.record.id, live.record.id)
        assert (seen.status, seen.end_time) == ("Running", None)
    await asyncio.wait_for(live.ended, 5)
    seen = await p.service.history.get(PROJECT, function.record.id, live.record.id)
    assert (seen.status, seen.end_time) == ("Completed", seen.start_time + 250)
    assert (await row_of(p, live.record.id))["response"] == b"7"


async def test_who_waits_for_the_end_sees_it_when_it_comes(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    waiting = [
        asyncio.create_task(p.service.history.get(PROJECT, function.record.id, live.record.id, wait=30))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    p.engine.end(live.record.id)
    assert [record.status for record in await asyncio.gather(*waiting)] == ["Completed"] * 3


async def test_a_wait_that_is_over_before_the_end_shows_a_running_call(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    record = await p.service.history.get(PROJECT, function.record.id, live.record.id, wait=0.001)
    assert record.status == "Running"


async def test_a_request_that_is_cancelled_does_not_stop_its_call(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    with p.store.closed():
        calling = asyncio.create_task(p.call(function))
        await until(lambda: p.store.waiting == 1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    await until(lambda: p.engine.orders)
    p.engine.end_all()
    await until(lambda: function.running == 0)
    assert [record.status for record in await p.calls_of(function)] == ["Completed"]


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(verdict, "Failed") for verdict in Verdict if verdict not in (Verdict.RETURNED, Verdict.TIMED_OUT)]
    + [(Verdict.TIMED_OUT, "Timeout")],
)
async def test_every_verdict_has_its_status(p: Plant, verdict: Verdict, status: str) -> None:
    function = await p.function()
    p.engine.endings.append(Outcome(verdict, message="what was wrong", trace="where"))
    record = await p.ended(function)
    assert (record.status, record.error_message, record.error_trace) == (status, "what was wrong", "where")
    kept = await row_of(p, record.id)
    assert (kept["status"], kept["verdict"], kept["error_message"]) == (status, verdict.value, "what was wrong")
    assert kept["response"] is None


@pytest.mark.parametrize("response", [b'"\\udc80"', b'{"\\ud800": "\\ud83d\\ude00"}', b"[" * 900 + b"]" * 900])
async def test_json_that_few_read_is_json_all_the_same(p: Plant, response: bytes) -> None:
    function = await p.function()
    p.engine.endings.append(returned(response))
    record = await p.ended(function)
    assert record.status == "Completed"
    answer = await p.service.history.response(PROJECT, function.record.id, record.id)
    assert bytes(answer.response) == response


@pytest.mark.parametrize(
    "response",
    [b"", b"{", b"NaN", b"-Infinity", b"1 2", b'{"a":}', b"'a'", b'"\xff"', b'"\\udc80', b"[" * 100_000, None],
)
async def test_a_response_that_is_no_json_fails_the_call(p: Plant, response: bytes | None) -> None:
    function = await p.function()
    p.engine.endings.append(Outcome(Verdict.RETURNED, response))
    record = await p.ended(function)
    assert record.status == "Failed"
    assert record.error_message is not None
    assert "JSON" in record.error_message


async def test_a_fault_of_the_engine_fails_the_call_and_nothing_else(p: Plant) -> None:
    function = await p.function()
    p.engine.endings.append(RuntimeError("a fault"))
    record = await p.ended(function)
    assert record.status == "Failed"
    assert "a fault" not in (record.error_message or "")
    assert (await p.ended(function)).status == "Completed"
    assert function.running == 0


async def test_an_order_says_what_the_settings_say(tmp_path: Path) -> None:
    async with plant(tmp_path, timeout_minutes=2.5, response_size_mb=0.5, log_limit_mb=2) as p:
        await p.ended(await p.function(), b"[1]")
        (order,) = p.engine.orders
    assert (order.timeout, order.response_limit, order.log_limit, order.data) == (150, 500_000, 2_000_000, b"[1]")
    assert (order.schedule_id, order.scheduled_time) == (None, None)


async def test_last_called_is_the_moment_of_the_call(p: Plant) -> None:
    function = await p.function()
    await p.clock.advance(1000)
    record = await p.ended(function)
    assert function.record.last_called == record.start_time == p.clock.now()


async def test_a_clock_that_goes_back_gives_no_end_before_the_start(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    p.clock._now -= 10_000
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)
    assert live.record.end_time == live.record.start_time


# Refusals, and what they leave


async def test_a_function_that_does_not_exist(p: Plant) -> None:
    with pytest.raises(NotFoundError) as caught:
        await p.service.calls.call(p.who, 4711, b"{}", None)
    assert caught.value.missing == [{"id": 4711}]


async def test_a_function_that_is_not_ready_says_why(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: function.record.status == "Deploying")
    with pytest.raises(InvalidError, match="is Deploying"):
        await p.call(function)
    p.engine.refuses_to_prepare = HandlerError("ImportError: no module named foo")
    p.builder.holding = False
    await until(lambda: function.record.status == "Failed")
    with pytest.raises(InvalidError, match="is Failed: ImportError: no module named foo"):
        await p.call(function)


async def test_data_up_to_the_limit(tmp_path: Path) -> None:
    async with plant(tmp_path, data_limit_mb=0.001) as p:
        function = await p.function()
        exact = b'"' + b"x" * 998 + b'"'
        assert (await p.ended(function, exact)).status == "Completed"
        with pytest.raises(TooLargeError, match="at most 1000 bytes of data, given 1001"):
            await p.call(function, exact + b" ")


async def test_the_limits_on_running_calls(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_calls=2, max_calls=3) as p:
        first, second = await p.function(), await p.function()
        p.engine.holding = True
        running = [await p.call(first), await p.call(first)]
        with pytest.raises(BusyError, match=r"for this function \(2\)"):
            await p.call(first)
        running.append(await p.call(second))
        with pytest.raises(BusyError, match=r"in this project \(3\)"):
            await p.call(second)
        p.engine.end(running[0].record.id)
        await asyncio.wait_for(running[0].ended, 5)
        running.append(await p.call(second))
        assert len(p.engine.running) == 3


async def test_the_limit_holds_for_many_calls_at_once(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_calls=5) as p:
        function = await p.function()
        p.engine.holding = True
        results = await asyncio.gather(*(p.call(function) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, BusyError) for result in results) == 15
        assert len(p.engine.running) == 5


async def test_calls_that_ended_in_any_way_make_room(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_calls=1) as p:
        function = await p.function()
        for ending in (returned(), raised(), RuntimeError("a fault"), Outcome(Verdict.TIMED_OUT)):
            p.engine.endings.append(ending)
            await p.ended(function)
        assert function.running == 0


async def test_a_refused_call_does_not_use_up_its_nonce(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_calls=1, data_limit_mb=0.001) as p:
        function = await p.function()
        _, word = await nonce(p)
        p.engine.holding = True
        await p.call(function)
        with pytest.raises(BusyError):
            await p.call(function, nonce=word)
        p.engine.end_all()
        await until(lambda: function.running == 0)
        with pytest.raises(TooLargeError):
            await p.call(function, b"x" * 2000, nonce=word)
        assert (await p.ended(function, nonce=word)).status == "Completed"


async def test_a_call_that_cannot_be_kept_does_not_run(p: Plant) -> None:
    function = await p.function()
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await p.call(function)
    p.store.refusing = False
    assert (function.running, p.engine.orders, await p.calls_of(function)) == (0, [], [])
    assert p.service.sessions.count() == {}
    assert function.record.last_called is None
    assert (await p.ended(function)).status == "Completed"


async def test_a_call_whose_session_cannot_be_kept_does_not_stay_running(p: Plant) -> None:
    function = await p.function()
    p.store.refuses = sessions.OPEN
    with pytest.raises(StoreFault):
        await p.call(function)
    p.store.refuses = None
    await until(lambda: function.running == 0)
    assert p.engine.orders == []
    assert [record.status for record in await p.calls_of(function)] in ([], ["Failed"])
    assert p.service.sessions.count() == {}


async def test_the_nonce_of_a_call_that_cannot_be_kept_can_be_used_again(p: Plant) -> None:
    function = await p.function()
    nonce = (await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))).nonce
    p.store.refuses = calls.ACCEPT
    with pytest.raises(StoreFault):
        await p.call(function, nonce=nonce)
    p.store.refuses = None
    assert p.service.sessions.count() == {}
    await p.call(function, nonce=nonce)
    with pytest.raises(InvalidError, match="Failed to bind session"):
        await p.call(function, nonce=nonce)


# Sessions


async def test_a_handler_that_was_seen_to_take_no_client_needs_no_session(p: Plant) -> None:
    function = await p.function()
    first, second = await p.ended(function), await p.ended(function)
    assert (await row_of(p, first.id))["session_id"] is not None
    assert (await row_of(p, second.id))["session_id"] is None


async def test_a_handler_that_takes_client_has_a_session_in_every_call(p: Plant) -> None:
    function = await p.function()
    tokens: list[str] = []
    for _ in range(2):
        p.engine.endings.append(lambda order: tokens.append(order.access().token) or returned(b"{}"))
        record = await p.ended(function)
        assert await session_status(p, (await row_of(p, record.id))["session_id"]) == "EXPIRED"
    assert len(set(tokens)) == 2


async def test_a_call_without_a_nonce_acts_as_its_caller(p: Plant) -> None:
    caller = await p.client("functionsAcl:READ")
    function = await p.function()
    p.engine.holding = True
    live = await p.service.calls.call(caller, function.record.id, b"{}", None)
    access = (await p.began(live)).access()
    assert (access.base_url, access.project) == (BASE_URL, PROJECT)
    acting = await p.known(access.token)
    assert (acting.subject, acting.session_id) == (caller.subject, live.session_id)
    assert acting.may("functionsAcl:READ")
    assert not acting.may("functionsAcl:WRITE")


async def test_a_call_with_a_nonce_acts_for_that_session(p: Plant) -> None:
    function = await p.function()
    session_id, word = await nonce(p)
    p.engine.holding = True
    caller = p.principal("functionsAcl:RUN", subject="caller")
    live = await p.service.calls.call(caller, function.record.id, b"{}", word)
    acting = await p.known((await p.began(live)).access().token)
    assert (acting.subject, acting.session_id) == (p.who.subject, session_id)
    assert await session_status(p, session_id) == "ACTIVE"


@pytest.mark.parametrize("with_nonce", [False, True])
async def test_the_session_ends_with_the_call(p: Plant, with_nonce: bool) -> None:
    function = await p.function()
    word = (await nonce(p))[1] if with_nonce else None
    p.engine.holding = True
    live = await p.call(function, nonce=word)
    token = (await p.began(live)).access().token
    await p.known(token)
    p.engine.end(live.record.id, raised())
    await asyncio.wait_for(live.ended, 5)
    with pytest.raises(UnauthenticatedError):
        await p.known(token)
    assert await session_status(p, live.session_id) == "EXPIRED"


async def test_a_call_whose_session_was_revoked_before_it_began_fails(p: Plant) -> None:
    function = await p.function()
    session_id, word = await nonce(p)
    p.engine.room = False
    live = await p.call(function, nonce=word)
    await p.service.sessions.revoke(p.who, [session_id])

    def begin(order: Any) -> Outcome:
        order.access()
        return returned()

    p.engine.endings.append(begin)
    p.engine.room = True
    await asyncio.wait_for(live.ended, 5)
    assert live.record.status == "Failed"
    assert "revoked" in (live.record.error_message or "")


async def test_a_session_that_was_revoked_stays_revoked_when_its_call_ends(p: Plant) -> None:
    function = await p.function()
    session_id, word = await nonce(p)
    p.engine.holding = True
    live = await p.call(function, nonce=word)
    await p.service.sessions.revoke(p.who, [session_id])
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)
    assert await session_status(p, session_id) == "REVOKED"


async def test_a_bad_nonce_makes_no_call(p: Plant) -> None:
    function = await p.function()
    with pytest.raises(InvalidError, match="Failed to bind session"):
        await p.call(function, nonce="made-up")
    assert (function.running, await p.calls_of(function)) == (0, [])


# Begun


async def test_a_call_that_finds_a_worker_begins_with_the_commit_that_accepts_it(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    assert (await p.began(live)).on_begin is None
    assert (await row_of(p, live.record.id))["begun"]


async def test_of_calls_that_come_at_once_as_many_are_kept_as_begun_as_workers_are_free(p: Plant) -> None:
    function = await p.function()
    p.engine.workers, p.engine.holding = 2, True
    lives = await asyncio.gather(*(p.call(function) for _ in range(4)))
    orders = [await p.began(live) for live in lives]
    assert [order.on_begin is None for order in orders] == [True, True, False, False]
    assert function.promised == 0
    p.store.refuses = calls.ACCEPT
    with pytest.raises(StoreFault):
        await p.call(function)
    assert function.promised == 0


async def test_a_call_that_waits_is_written_as_begun_just_before_it_begins(p: Plant) -> None:
    function = await p.function()
    p.engine.room = False
    p.engine.holding = True
    live = await p.call(function)
    await until(lambda: p.engine.running)
    assert not (await row_of(p, live.record.id))["begun"]
    with p.store.closed():
        p.engine.room = True
        await until(lambda: p.store.waiting)
        assert not p.engine.began(live.record.id)
    await until(lambda: p.engine.began(live.record.id))
    assert (await row_of(p, live.record.id))["begun"]


async def test_a_call_whose_beginning_cannot_be_written_is_not_run(p: Plant) -> None:
    function = await p.function()
    p.engine.room = False
    live = await p.call(function)
    p.store.refuses = calls.BEGIN
    p.engine.room = True
    await asyncio.wait_for(live.ended, 5)
    assert not p.engine.began(live.record.id)
    assert live.record.status == "Failed"


# Restarts


async def test_a_call_that_had_begun_ends_as_failed_after_a_crash_and_is_not_run_again(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    token = (await p.began(live)).access().token
    await p.clock.advance(5000)
    await p.crash()
    record = await p.service.history.get(PROJECT, function.record.id, live.record.id)
    assert (record.status, record.end_time) == ("Failed", record.start_time + 5000)
    assert "interrupted by a restart" in (record.error_message or "")
    assert (await row_of(p, record.id))["verdict"] == "interrupted"
    assert len(p.engine.orders) == 1
    with pytest.raises(UnauthenticatedError):
        await p.known(token)
    assert await session_status(p, live.session_id) == "EXPIRED"


async def test_calls_that_had_not_begun_run_after_a_crash_in_their_order(p: Plant) -> None:
    function = await p.function()
    session_id, word = await nonce(p)
    p.engine.room = False
    waiting = [await p.call(function, b"1", word), await p.call(function, b"2"), await p.call(function, b"3")]
    await p.clock.advance(60_000)
    p.engine.endings.append(lambda order: returned(order.access().token.encode().join([b'"', b'"'])))
    await p.crash()
    await until(lambda: len(p.engine.running) == 3)
    assert p.service.functions.get(PROJECT, function.record.id).running == 3
    p.engine.room = True
    await until(lambda: not p.engine.running)
    await until(lambda: p.service.functions.get(PROJECT, function.record.id).running == 0)
    assert [order.data for order in p.engine.orders] == [b"1", b"2", b"3"]
    records = await p.calls_of(function)
    assert [record.id for record in records] == [live.record.id for live in waiting]
    assert [record.status for record in records] == ["Completed"] * 3
    assert [record.start_time for record in records] == [live.record.start_time for live in waiting]
    assert await session_status(p, session_id) == "EXPIRED"


async def test_a_stop_ends_what_runs_and_keeps_what_waits_for_the_next_start(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    begun = await p.call(function)
    await until(lambda: p.engine.began(begun.record.id))
    p.engine.room = False
    waits = await p.call(function)
    await until(lambda: len(p.engine.running) == 2)
    await p.service.stop(drain=0)
    assert [record.status for record in await p.calls_of(function)] == ["Failed", "Running"]
    p.engine.room, p.engine.holding = True, False
    await p._anew()
    await until(lambda: p.engine.began(waits.record.id))
    await until(lambda: p.service.functions.get(PROJECT, function.record.id).running == 0)
    assert [record.status for record in await p.calls_of(function)] == ["Failed", "Completed"]
    assert [order.call_id for order in p.engine.orders] == [begun.record.id, waits.record.id]


async def test_a_call_that_comes_before_the_leftovers_are_taken_up_is_none_of_them(tmp_path: Path) -> None:
    """The HTTP server listens a moment before the service runs what an earlier run left."""
    async with plant(tmp_path, begin=False) as p:
        function = await p.function()
        p.engine.holding = True
        begun = await p.call(function)
        await until(lambda: p.engine.began(begun.record.id))
        p.engine.room = False
        waits = await p.call(function)
        await p.service.begin(BASE_URL)
        p.engine.room, p.engine.holding = True, False
        await until(lambda: p.engine.began(waits.record.id))
        assert (await row_of(p, begun.record.id))["status"] == "Running"
        p.engine.end_all()
        await until(lambda: function.running == 0)
        assert [record.status for record in await p.calls_of(function)] == ["Completed", "Completed"]
        assert len(p.engine.orders) == 2


async def test_a_service_that_drains_waits_for_running_calls_and_takes_no_new_ones(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    stopping = asyncio.create_task(p.service.stop(drain=30))
    await until(lambda: p.service.calls._admission.closed)
    with pytest.raises(BusyError, match="about to stop"):
        await p.call(function)
    p.engine.end(live.record.id)
    await asyncio.wait_for(stopping, 5)
    assert live.record.status == "Completed"


async def test_a_second_signal_ends_the_draining(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    stopping = asyncio.create_task(p.service.stop(drain=30))
    await until(lambda: p.service.calls._admission.closed)
    p.service.calls.hurry()
    await asyncio.wait_for(stopping, 5)
    assert live.record.status == "Failed"


# Faults while ending


async def test_an_end_that_cannot_be_kept_is_tried_again_until_it_is(at_once: None, p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    (await p.began(live)).on_log([LogLine(1, "one"), LogLine(2, "two")])
    await until(lambda: live._log_kept == 2)
    (await p.began(live)).on_log([LogLine(3, "three")])
    p.store.refusing = True
    p.engine.end(live.record.id, returned(b"[7]"))
    await until(lambda: p.store.refused > 6)
    seen = await p.service.history.get(PROJECT, function.record.id, live.record.id)
    assert (seen.status, seen.end_time, live.ended.done()) == ("Running", None, False)
    p.store.refusing = False
    await asyncio.wait_for(live.ended, 5)
    await until(lambda: not p.service.calls._running._logs._unkept)
    assert live.record.status == "Completed"
    answer = await p.service.history.response(PROJECT, function.record.id, live.record.id)
    assert bytes(answer.response) == b"[7]"
    assert await logs(p, live) == ["one", "two", "three"]
    assert await session_status(p, live.session_id) == "EXPIRED"
    assert function.running == 0


async def test_an_end_whatever_it_holds_leaves_no_call_running_for_ever(at_once: None, p: Plant) -> None:
    """A message that no database takes: such must not come out of an engine, but a call must end all the same."""
    function = await p.function()
    p.engine.endings.append(Outcome(Verdict.RAISED, message="lone \udc80 surrogate", trace="\udc80"))
    record = await p.ended(function)
    assert record.status == "Failed"
    assert function.running == 0


async def test_an_end_is_written_once(p: Plant) -> None:
    function = await p.function()
    record = await p.ended(function)
    late = end_row(record.id, Outcome(Verdict.INTERRUPTED), p.clock.now())
    await p.store.write(calls.END, late)
    assert (await row_of(p, record.id))["status"] == "Completed"


# Logs


async def test_lines_are_shown_while_the_call_runs_and_after_it(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    order = await p.began(live)
    assert await logs(p, live) == []
    order.on_log([LogLine(1, "one"), LogLine(2, 'two "quoted" \u00e6')])
    assert await logs(p, live) == ["one", 'two "quoted" \u00e6']
    order.on_log([LogLine(3, "")])
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)
    assert await logs(p, live) == ["one", 'two "quoted" \u00e6', ""]
    assert await logs(p, live, after=1) == ['two "quoted" \u00e6', ""]
    assert await logs(p, live, after=99) == []


async def test_a_call_that_prints_nothing_has_an_empty_log(p: Plant) -> None:
    function = await p.function()
    live = await p.call(function)
    await asyncio.wait_for(live.ended, 5)
    assert await logs(p, live) == []
    assert await logs(p, live, after=3) == []


async def test_who_follows_a_log_is_woken_by_a_new_line_and_by_the_end(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    following = asyncio.create_task(logs(p, live, after=0, wait=30))
    await asyncio.sleep(0)
    (await p.began(live)).on_log([LogLine(1, "one")])
    assert await following == ["one"]
    following = asyncio.create_task(logs(p, live, after=1, wait=30))
    await asyncio.sleep(0)
    p.engine.end(live.record.id)
    assert await following == []


async def test_lines_of_a_running_call_survive_a_crash(at_once: None, p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    for number in range(3):
        (await p.began(live)).on_log([LogLine(number, f"line {number}")])
        await until(lambda number=number: live._log_chunk == number + 1)
    statement = select(tables.call_logs.c.chunk)
    while len(await p.store.read(lambda connection: connection.execute(statement).all())) < 3:
        await asyncio.sleep(0)
    await p.crash()
    assert await logs(p, live) == ["line 0", "line 1", "line 2"]


async def test_an_end_is_seen_only_when_all_lines_are_kept(at_once: None, p: Plant) -> None:
    await p.restart()
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    order = await p.began(live)
    p.store.refuses = calls.LOG
    order.on_log([LogLine(1, "one"), LogLine(2, "two")])
    await until(lambda: p.store.refused > 0)
    order.on_log([LogLine(3, "three")])
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)
    rows = await p.store.read(lambda connection: calls.log_entries(connection, live.record.id))
    lines = [entry["message"] for row in rows for entry in json.loads(b"[" + row + b"]")]
    assert lines == ["one", "two", "three"]


async def test_lines_are_kept_once_the_store_takes_them_again(at_once: None, p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    p.store.refuses = calls.LOG
    (await p.began(live)).on_log([LogLine(1, "one")])
    await until(lambda: p.store.refused > 2)
    p.store.refuses = None
    await until(lambda: not p.service.calls._running._logs._unkept)
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)
    assert await logs(p, live) == ["one"]


# The grace


async def test_the_grace_is_for_functions_that_are_quick(tmp_path: Path) -> None:
    async with plant(tmp_path, call_grace_ms=100) as p:
        function = await p.function()
        grace = p.service.calls.grace
        assert grace(function) == 0.1  # nothing is known of it
        ends.note_duration(function, 0.05)
        assert grace(function) == 0.1
        ends.note_duration(function, 60)
        ends.note_duration(function, 60)
        assert grace(function) == 0
        for _ in range(8):
            ends.note_duration(function, 0.01)
        assert grace(function) == 0.1  # it has become quick


async def test_how_long_calls_take_is_noted(tmp_path: Path) -> None:
    async with plant(tmp_path) as p:
        function = await p.function()
        p.engine.holding = True
        live = await p.call(function)
        await p.clock.advance(5000)  # of which it waited for two
        p.engine.end(live.record.id, Outcome(Verdict.RETURNED, b"1", queue_seconds=2.0, run_seconds=3.0))
        await asyncio.wait_for(live.ended, 5)
        assert function.timings == [3.0]
        assert p.service.calls.grace(function) == 0


async def test_no_grace_when_the_setting_is_0(tmp_path: Path) -> None:
    async with plant(tmp_path, call_grace_ms=0) as p:
        assert p.service.calls.grace(await p.function()) == 0


async def test_many_calls_at_once_each_end_once(p: Plant) -> None:
    function = await p.function()
    p.engine.room = False
    calling = [asyncio.create_task(p.ended(function, str(number).encode())) for number in range(100)]
    await until(lambda: len(p.engine.running) == 100)
    p.engine.endings.extend([lambda order: returned(order.data)] * 100)
    p.engine.room = True
    records = await asyncio.gather(*calling)
    for number, record in enumerate(records):
        answer = await p.service.history.response(PROJECT, function.record.id, record.id)
        assert bytes(answer.response) == str(number).encode()
    assert len({order.call_id for order in p.engine.orders}) == len(p.engine.orders) == 100


def test_what_refuses_a_call_is_told_apart_by_its_code() -> None:
    codes: dict[type[ApiError], int] = {InvalidError: 400, NotFoundError: 404, TooLargeError: 413, BusyError: 429}
    assert {kind: kind.code for kind in codes} == codes


# Calls that find a worker


async def test_a_call_that_finds_a_worker_is_kept_as_begun_in_one_write(p: Plant) -> None:
    function = await p.function()
    await p.ended(function)  # the first one has a session
    live = await p.service.calls.call(p.who, function.record.id, b"{}", None, wait=5)
    assert live.ended.done()
    row = await row_of(p, live.record.id)
    assert (row["status"], row["verdict"], row["begun"]) == ("Completed", "returned", True)
    assert p.service.metrics.registry.get_sample_value("kvern_calls_accepted_total", {"project": PROJECT}) == 2
    assert p.engine.orders[-1].on_begin is None
    p.engine.room = False
    waits = await p.call(function)
    p.engine.room = True
    await asyncio.wait_for(waits.ended, 5)
    assert p.engine.orders[-1].on_begin is not None


async def test_the_log_of_a_call_is_kept_with_its_end(p: Plant) -> None:
    function = await p.function()
    await p.ended(function)

    def printing(order: Order) -> Outcome:
        order.on_log([LogLine(1, "one"), LogLine(2, "two")])
        return returned()

    p.engine.endings.append(printing)
    live = await p.call(function)
    await asyncio.wait_for(live.ended, 5)
    assert await logs(p, live) == ["one", "two"]


async def test_whoever_made_a_call_and_stops_waiting_stops_nothing(p: Plant) -> None:
    function = await p.function()
    await p.ended(function)
    p.engine.holding = True
    asking = asyncio.create_task(p.service.calls.call(p.who, function.record.id, b"{}", None, wait=60))
    await until(lambda: len(p.engine.running) == 1)
    [call_id] = p.engine.running
    live = p.service.calls.live(call_id)
    assert live is not None
    asking.cancel()
    await asyncio.wait((asking,))
    p.engine.end(call_id)
    await asyncio.wait_for(live.ended, 5)
    assert (await row_of(p, call_id))["status"] == "Completed"


async def test_a_wait_ends_before_the_call_does_and_the_function_is_known_as_slow(p: Plant) -> None:
    function = await p.function()
    await p.ended(function)
    p.engine.holding = True
    live = await p.service.calls.call(p.who, function.record.id, b"{}", None, wait=0.001)
    assert not live.ended.done()
    assert function.timings[-1] >= 0.001
    p.engine.room = False
    known = len(function.timings)
    waits = await p.service.calls.call(p.who, function.record.id, b"{}", None, wait=0.001)
    assert len(function.timings) == known, "one that waits for a worker does not run"
    await p.service.calls.cancel(PROJECT, function.record.id, waits.record.id)
    p.engine.end(live.record.id)
    await asyncio.wait_for(live.ended, 5)


async def test_an_end_that_cannot_be_kept_is_tried_again(p: Plant, at_once: None) -> None:
    function = await p.function()
    await p.ended(function)
    p.engine.holding = True
    live = await p.call(function)
    refused = StoreGoneError("the disk is full")
    write = p.service.calls._running._ends._store.write_rows
    tried: list[object] = []

    def refuses_once(rows: Sequence[Row], check: None = None) -> Any:
        ends = [row["call"] for statement, row in rows if statement is calls.END]
        if ends and not tried:
            tried.extend(ends)
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(refused)
            return failed
        return write(rows, check)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p.service.calls._running._ends._store, "write_rows", refuses_once)
        p.engine.end(live.record.id)
        await asyncio.wait_for(live.ended, 5)
    assert tried == [live.record.id]
    assert (await row_of(p, live.record.id))["status"] == "Completed"
