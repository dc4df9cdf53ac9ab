"""Calls that are asked for twice, cancelled, tried again, run again: what is added to the contract's calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, raised, returned, until

from kvern.engine import LogLine, Order, Outcome, Verdict
from kvern.service.backoff import delay
from kvern.service.functions import LiveFunction
from kvern.store import StoreFault, calls
from kvern.store.calls import CallRecord
from kvern.wire.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    NotFoundError,
    UnknownItemsError,
    UnprocessableError,
)
from kvern.wire.functions import Retries

TWICE = Retries(attempts=2, delay_seconds=10, jitter=0)


def says(*lines: str, then: Outcome | None = None) -> Any:
    """An ending of a call that prints before it."""

    def end(order: Order) -> Outcome:
        order.on_log([LogLine(number, line) for number, line in enumerate(lines)])
        return then or raised()

    return end


async def log(p: Plant, record: CallRecord, attempt: int | None = None, after: int = 0) -> list[str]:
    entries = await p.service.history.log(PROJECT, record.function_id, record.id, after, 0, attempt)
    return [entry["message"] for entry in json.loads(b"[" + entries + b"]")]


async def seen(p: Plant, record: CallRecord) -> CallRecord:
    return await p.service.history.get(PROJECT, record.function_id, record.id)


async def rests(p: Plant, record: CallRecord) -> None:
    """Wait until an attempt is put off."""
    await until(lambda: record.next_attempt_time is not None)
    await until(lambda: p.clock._sleepers)


async def dead(p: Plant, function: LiveFunction, limit: int = 10, cursor: str | None = None) -> Any:
    found, more = await p.service.history.dead(PROJECT, function.record.id, limit, cursor)
    return [record.id for record, _ in found], more


# The same call twice


async def keyed(p: Plant, function: LiveFunction, data: bytes = b"{}", key: str = "k", nonce: str | None = None) -> Any:
    return await p.service.calls.call(p.who, function.record.id, data, nonce, key)


async def test_the_same_key_is_the_same_call_while_it_runs_and_after(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    first = await keyed(p, function)
    assert await keyed(p, function) is first
    p.engine.end(first.record.id, returned(b"7"))
    await asyncio.wait_for(first.ended, 5)
    again = await keyed(p, function)
    assert (again.record.id, again.record.status, again.response) == (first.record.id, "Completed", b"7")
    assert again.ended.done()
    assert len(p.engine.orders) == 1
    other = await keyed(p, function, key="another")
    assert other.record.id != first.record.id


async def test_many_at_once_with_the_same_key_are_one_call(p: Plant) -> None:
    function = await p.function()
    made = await asyncio.gather(*(keyed(p, function) for _ in range(20)))
    assert len({live.record.id for live in made}) == 1
    await until(lambda: function.running == 0)
    assert len(p.engine.orders) == 1


async def test_the_same_key_with_other_data_is_refused(p: Plant) -> None:
    function = await p.function()
    first = await keyed(p, function, b'{"a":1}')
    with pytest.raises(UnprocessableError, match=f"call {first.record.id} has the key 'k'"):
        await keyed(p, function, b'{"a":2}')
    assert len(await p.calls_of(function)) == 1


async def test_a_key_is_known_after_a_crash_and_belongs_to_one_function(p: Plant) -> None:
    function, other = await p.function(), await p.function()
    first = await keyed(p, function)
    await asyncio.wait_for(first.ended, 5)
    await p.crash()
    assert (await keyed(p, function)).record.id == first.record.id
    assert (await keyed(p, other)).record.id != first.record.id


async def test_the_key_of_a_call_that_could_not_be_kept_is_free(p: Plant) -> None:
    function = await p.function()
    p.store.refuses = calls.ACCEPT_MARKED
    with pytest.raises(StoreFault):
        await keyed(p, function)
    p.store.refuses = None
    assert (await keyed(p, function)).record.status in ("Running", "Completed")


async def test_another_service_that_was_quicker_with_a_key(p: Plant) -> None:
    function = await p.function()
    first = await keyed(p, function)
    await asyncio.wait_for(first.ended, 5)
    known, asked = p.service.calls._known, 0

    async def late(function: LiveFunction, key: Any) -> Any:
        nonlocal asked
        asked += 1
        return None if asked == 1 else await known(function, key)

    p.service.calls._known = late  # type: ignore[method-assign]
    assert (await keyed(p, function)).record.id == first.record.id
    assert (asked, len(p.engine.orders)) == (2, 1)


# Cancelling


async def cancel(p: Plant, record: CallRecord) -> CallRecord:
    return await p.service.calls.cancel(PROJECT, record.function_id, record.id)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_call_is_cancelled_and_that_again_changes_nothing(p: Plant, begun: bool) -> None:
    function = await p.function()
    p.engine.holding, p.engine.room = True, begun
    live = await p.call(function)
    await until(lambda: p.engine.running)
    for _ in range(2):
        record = await cancel(p, live.record)
        assert (record.status, record.verdict) == ("Failed", "cancelled")
    assert function.running == 0


async def test_a_call_that_has_ended_cannot_be_cancelled(p: Plant) -> None:
    function = await p.function()
    record = await p.ended(function)
    with pytest.raises(ConflictError, match=r"is Completed \(returned\)"):
        await cancel(p, record)
    with pytest.raises(NotFoundError):
        await p.service.calls.cancel(PROJECT, function.record.id, 4711)


async def test_a_call_that_was_to_be_cancelled_does_not_begin_after_a_crash(p: Plant) -> None:
    function = await p.function()
    p.engine.room = False
    live = await p.call(function)
    await p.store.write(calls.CANCEL, {"call": live.record.id, "moment": p.clock.now()})
    await p.crash()
    assert (await seen(p, live.record)).verdict == "cancelled"
    assert p.engine.orders == []


async def test_a_call_that_waits_for_its_next_attempt_can_be_cancelled(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.append(raised())
    live = await p.call(function)
    await rests(p, live.record)
    assert (await cancel(p, live.record)).verdict == "cancelled"
    assert len(p.engine.orders) == 1
    assert await dead(p, function) == ([], None)


# Trying again


async def test_without_retries_nothing_is_run_twice(p: Plant) -> None:
    function = await p.function()
    p.engine.endings.append(raised())
    assert (await p.ended(function)).status == "Failed"
    assert len(p.engine.orders) == 1
    assert await dead(p, function) == ([], None)


async def test_an_attempt_that_fails_is_followed_by_another_after_the_delay(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.extend([says("one", "two"), says("three", then=returned(b"7"))])
    live = await p.call(function)
    await rests(p, live.record)
    began = p.clock.now()
    running = await seen(p, live.record)
    assert (running.status, running.next_attempt_time) == ("Running", began + 10_000)
    assert [one.verdict for one in await p.service.history.attempts(PROJECT, function.record.id, running.id)] == [
        "raised"
    ]
    await p.clock.advance(9_999)
    assert len(p.engine.orders) == 1
    await p.clock.advance(1)
    await asyncio.wait_for(live.ended, 5)
    record = await seen(p, live.record)
    assert (record.status, record.verdict, record.attempt) == ("Completed", "returned", 2)
    attempts = await p.service.history.attempts(PROJECT, function.record.id, record.id)
    assert [(one.attempt, one.verdict, one.start_time - began) for one in attempts] == [
        (1, "raised", 0),
        (2, "returned", 10_000),
    ]
    assert attempts[0].error_message == "ValueError: no"
    assert await log(p, record) == ["one", "two", "three"]
    assert await log(p, record, 1) == ["one", "two"]
    assert await log(p, record, 1, after=1) == ["two"]
    assert await log(p, record, 2) == ["three"]
    with pytest.raises(NotFoundError, match="no attempt 3"):
        await log(p, record, 3)


async def test_the_log_of_the_attempt_that_runs(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.append(says("one"))
    live = await p.call(function)
    await rests(p, live.record)
    p.engine.holding = True
    await p.clock.advance(10_000)
    await until(lambda: len(p.engine.orders) == 2)
    p.engine.orders[1].on_log([LogLine(1, "two")])
    assert [await log(p, live.record, attempt) for attempt in (None, 1, 2)] == [["one", "two"], ["one"], ["two"]]
    running = (await p.service.history.attempts(PROJECT, function.record.id, live.record.id))[1]
    assert (running.attempt, running.verdict, running.end_time) == (2, None, None)
    p.engine.end_all()


async def test_only_declared_verdicts_are_tried_again(p: Plant) -> None:
    function = await p.function(retries=Retries(attempts=5, on=["crashed"]))
    p.engine.endings.append(raised())
    assert (await p.ended(function)).verdict == "raised"
    assert len(p.engine.orders) == 1


async def test_waiting_for_an_attempt_survives_a_crash(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.extend([says("one"), says("two", then=returned())])
    live = await p.call(function)
    await rests(p, live.record)
    await p.crash()
    assert (await seen(p, live.record)).status == "Running"
    assert len(p.engine.orders) == 1
    await p.clock.advance(10_000)
    await until(lambda: p.service.calls.live(live.record.id) is None)
    record = await seen(p, live.record)
    assert (record.status, record.attempt, len(p.engine.orders)) == ("Completed", 2, 2)
    assert [await log(p, record, attempt) for attempt in (None, 1, 2)] == [["one", "two"], ["one"], ["two"]]


async def spans(p: Plant, record: CallRecord, since: int) -> list[tuple[int, int | None]]:
    """When each attempt started and ended, in ms after `since`."""
    found = await p.service.history.attempts(PROJECT, record.function_id, record.id)
    return [(one.start_time - since, None if one.end_time is None else one.end_time - since) for one in found]


async def test_the_start_of_an_attempt_is_when_it_started_not_when_it_was_due(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.append(raised())
    live = await p.call(function)
    await rests(p, live.record)
    began = p.clock.now()
    await asyncio.wait_for(p.service.stop(drain=30), 5)
    await p.clock.advance(25_000)
    p.engine.holding = True
    await p._anew()
    await until(lambda: len(p.engine.orders) == 2)
    await p.clock.advance(400)
    assert await spans(p, live.record, began) == [(0, 0), (25_000, None)]
    await p.crash()
    assert (await seen(p, live.record)).verdict == "interrupted"
    assert await spans(p, live.record, began) == [(0, 0), (25_000, 25_400)]


async def test_an_attempt_that_is_cancelled_before_it_is_due_starts_no_later_than_it_ends(p: Plant) -> None:
    function = await p.function(retries=TWICE)
    p.engine.endings.append(raised())
    live = await p.call(function)
    await rests(p, live.record)
    began = p.clock.now()
    await p.clock.advance(3_000)
    await cancel(p, live.record)
    assert await spans(p, live.record, began) == [(0, 0), (3_000, 3_000)]


async def test_a_stop_does_not_wait_for_the_next_attempt(p: Plant) -> None:
    function = await p.function(retries=Retries(attempts=2, delay_seconds=3600, jitter=0))
    p.engine.endings.append(raised())
    live = await p.call(function)
    await rests(p, live.record)
    await asyncio.wait_for(p.service.stop(drain=30), 5)
    await p._anew()
    await p.clock.advance(3_600_000)
    await until(lambda: len(p.engine.orders) == 2)
    await until(lambda: p.service.calls.live(live.record.id) is None)
    assert (await seen(p, live.record)).status == "Completed"


@pytest.mark.parametrize(("on", "runs"), [(["interrupted"], 2), (["raised"], 1)])
async def test_a_call_that_was_interrupted_runs_again_only_when_declared(p: Plant, on: Any, runs: int) -> None:
    function = await p.function(retries=Retries(attempts=2, delay_seconds=10, jitter=0, on=on))
    p.engine.holding = True
    live = await p.call(function)
    await p.began(live)
    await p.crash()
    p.engine.holding = False
    await p.clock.advance(10_000)
    await until(lambda: p.service.calls.live(live.record.id) is None)
    record = await seen(p, live.record)
    assert (record.status, record.attempt) == ("Completed" if runs == 2 else "Failed", runs)
    assert len(p.engine.orders) == runs


async def test_an_attempt_that_cannot_be_kept_is_kept_later(p: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    from kvern.service import ends

    monkeypatch.setattr(ends, "_RETRY", 0.001)
    function = await p.function(retries=TWICE)
    p.engine.holding = True
    live = await p.call(function)
    await p.began(live)
    p.store.refusing = True
    p.engine.end(live.record.id, raised())
    await until(lambda: p.store.refused > 2)
    p.engine.holding = p.store.refusing = False
    await rests(p, live.record)
    await p.clock.advance(10_000)
    await asyncio.wait_for(live.ended, 5)
    assert live.record.status == "Completed"


def test_delays_grow_up_to_a_bound_and_are_shortened_at_random() -> None:
    plain = Retries(attempts=9, delay_seconds=1, factor=3, max_delay_seconds=20, jitter=0)
    assert [delay(plain, attempt) for attempt in (1, 2, 3, 4, 100)] == [1, 3, 9, 20, 20]
    shaky = Retries(attempts=9, delay_seconds=8, factor=1, jitter=0.25)
    found = {delay(shaky, 1) for _ in range(50)}
    assert len(found) > 1
    assert all(6 <= one <= 8 for one in found)


async def test_a_soft_deadline_lies_before_the_time_limit(p: Plant) -> None:
    limit = p.settings.timeout_minutes * 60
    with pytest.raises(InvalidError, match="softDeadlineSeconds below the time limit"):
        await p.create(soft_deadline_seconds=limit)
    function = await p.function(soft_deadline_seconds=20)
    await p.ended(function)
    assert p.engine.orders[0].soft_timeout == limit - 20
    await p.ended(await p.function())
    assert p.engine.orders[1].soft_timeout is None


# Running again


async def test_a_past_call_runs_again_with_its_data(p: Plant) -> None:
    function = await p.function()
    record = await p.ended(function, b'{"a":1}')
    live = await p.service.calls.rerun(p.who, function.record.id, record.id)
    await asyncio.wait_for(live.ended, 5)
    again = await seen(p, live.record)
    assert (again.rerun_of, again.status) == (record.id, "Completed")
    assert [order.data for order in p.engine.orders] == [b'{"a":1}', b'{"a":1}']
    with pytest.raises(NotFoundError):
        await p.service.calls.rerun(p.who, function.record.id, 4711)
    p.engine.holding = True
    running = await p.call(function)
    with pytest.raises(ConflictError, match="has not"):
        await p.service.calls.rerun(p.who, function.record.id, running.record.id)


async def test_calls_whose_attempts_are_used_up_are_listed_and_redriven_once(p: Plant) -> None:
    function = await p.function(retries=Retries(attempts=1))
    p.engine.endings.extend([raised()] * 3)
    ids = []
    for _ in range(3):
        ids.append((await p.ended(function)).id)
        await p.clock.advance(1)
    first, cursor = await dead(p, function, limit=2)
    assert (first, (await dead(p, function, 2, cursor))[0]) == ([ids[2], ids[1]], [ids[0]])
    redrive = p.service.calls.redrive
    both = await asyncio.gather(
        *(redrive(p.who, function.record.id, [ids[0]]) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["ConflictError", "list"]
    await until(lambda: function.running == 0)
    assert (await dead(p, function))[0] == [ids[2], ids[1]]
    assert len(p.engine.orders) == 4
    with pytest.raises(ConflictError, match="are not such"):
        await redrive(p.who, function.record.id, [ids[1], ids[0]])
    with pytest.raises(UnknownItemsError):
        await redrive(p.who, function.record.id, [ids[1], 4711])
    assert (await dead(p, function))[0] == [ids[2], ids[1]]


async def test_of_two_who_redrive_some_of_the_same_calls_at_once_one_gets_all_and_the_other_none(p: Plant) -> None:
    function = await p.function(retries=Retries(attempts=1))
    p.engine.endings.extend([raised()] * 3)
    first, shared, last = [(await p.ended(function)).id for _ in range(3)]
    redrive = p.service.calls.redrive
    made, refused = await asyncio.gather(
        redrive(p.who, function.record.id, [first, shared]),
        redrive(p.who, function.record.id, [last, shared]),
        return_exceptions=True,
    )
    assert isinstance(made, list)
    assert [live.record.rerun_of for live in made] == [first, shared]
    assert isinstance(refused, ConflictError)
    assert f"[{shared}] are not such any more" in str(refused)
    await until(lambda: function.running == 0)
    assert (await dead(p, function))[0] == [last]
    assert len(p.engine.orders) == 5
    assert len(await p.calls_of(function)) == 5


async def test_redriving_what_finds_no_room_for_one_of_them_runs_none(
    p: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = await p.function(retries=Retries(attempts=1))
    p.engine.endings.extend([raised()] * 3)
    ids = [(await p.ended(function)).id for _ in range(3)]
    checks = iter([None, None, None, BusyError("full")])  # for all at once, then for each; the last finds it full

    def check(*_: object) -> None:
        if (refusal := next(checks)) is not None:
            raise refusal

    monkeypatch.setattr(p.service.calls._admission, "check", check)
    with pytest.raises(BusyError):
        await p.service.calls.redrive(p.who, function.record.id, ids)
    await until(lambda: function.running == 0)
    assert sorted((await dead(p, function))[0]) == sorted(ids)
    assert len(p.engine.orders) == 3


async def test_attempts_go_with_their_function(p: Plant) -> None:
    from sqlalchemy import select

    from kvern.store.tables import attempts
    from kvern.wire.base import ByIdOrExternalId

    function = await p.function(retries=TWICE)
    p.engine.endings.append(raised())
    live = await p.call(function)
    await rests(p, live.record)
    await p.service.functions.delete(PROJECT, [ByIdOrExternalId(id=function.record.id)], ignore_unknown=False)
    assert await p.store.read(lambda connection: connection.execute(select(attempts)).all()) == []


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.RETURNED])
async def test_every_end_keeps_its_figures(p: Plant, verdict: Verdict) -> None:
    function = await p.function()
    figures = {"cpu_seconds": 0.5, "peak_memory": 7, "queue_seconds": 0.25, "run_seconds": 2.0}
    p.engine.endings.append(Outcome(verdict, message="m", cold=True, worker="h/1", **figures))
    record = await p.ended(function)
    assert {name: getattr(record, name) for name in figures} == figures
    assert (record.verdict, record.cold, record.worker, record.attempt) == (verdict.value, True, "h/1", 1)
