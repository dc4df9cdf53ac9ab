"""Schedules: their rules, their due times, the calls that they make, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fakes import PROJECT, Plant, plant, returned, until

from kvern.service.calls import Calls
from kvern.service.cron import check_cron, describe, next_due
from kvern.service.functions import LiveFunction
from kvern.service.shots import Due
from kvern.store import StoreFault
from kvern.store.calls import CallRecord
from kvern.wire import schedules as wire
from kvern.wire.base import TimeRange
from kvern.wire.errors import InvalidError, NotFoundError, UnknownItemsError
from kvern.wire.sessions import SessionWrite

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def due_times(expression: str, after: str, count: int) -> list[str]:
    moment, found = at(after), list[str]()
    for _ in range(count):
        due = next_due(expression, moment)
        assert due is not None
        moment = due
        found.append(datetime.fromtimestamp(due / 1000, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


async def turned(p: Plant, milliseconds: int) -> None:
    """Turn the clock, and wait until every call that came due has ended."""
    await p.clock.advance(milliseconds)
    await until(lambda: not p.service.schedules.busy)
    await until(lambda: all(function.running == 0 for function in p.service.functions.everything()))


def ticks(records: list[CallRecord]) -> list[int | None]:
    return [record.scheduled_time for record in records]


# The rule


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("* * * * *", "2026-01-01 00:00:30", ["2026-01-01 00:01", "2026-01-01 00:02"]),
        ("* * * * *", "2026-01-01 00:00:00", ["2026-01-01 00:01"]),
        ("0 8 * * *", "2026-03-29 00:00", ["2026-03-29 08:00", "2026-03-30 08:00"]),
        ("*/20 * * * *", "2026-01-01 00:01", ["2026-01-01 00:20", "2026-01-01 00:40", "2026-01-01 01:00"]),
        ("5/20 * * * *", "2026-01-01 00:06", ["2026-01-01 00:25", "2026-01-01 00:45", "2026-01-01 01:05"]),
        ("36 2 13 5 *", "2026-06-01 00:00", ["2027-05-13 02:36", "2028-05-13 02:36"]),
        ("0 0 * * MON-FRI", "2026-01-02 12:00", ["2026-01-05 00:00", "2026-01-06 00:00"]),
        ("0 0 * * 7", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * sun", "2026-01-01 00:00", ["2026-01-04 00:00"]),
        ("0 0 1 jan,Jul *", "2026-01-01 00:00", ["2026-07-01 00:00", "2027-01-01 00:00"]),
        ("0 0 13 * 5", "2026-02-01 00:00", ["2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("15,45 8-9 * * *", "2026-01-01 08:20", ["2026-01-01 08:45", "2026-01-01 09:15", "2026-01-01 09:45"]),
    ],
)
def test_due_times_are_those_of_standard_cron_in_utc(expression: str, after: str, due: list[str]) -> None:
    check_cron(expression)
    assert due_times(expression, after, len(due)) == due


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "*",
        "* * * *",
        "* * * * * *",
        "0 0 12 * * ?",  # Quartz
        "0 0 12 1/1 * ? *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "* * * * FRI-MON",
        "* * L * *",
        "* * 15W * *",
        "* * * * 5L",
        "* * * * MON#1",
        "* * ? * *",
        "H * * * *",
        "a * * * *",
        "JAN * * * *",
        "* * * MON *",
        "1,,2 * * * *",
        "1-2-3 * * * *",
        "*/5/2 * * * *",
        "*-5 * * * *",
        "1.5 * * * *",
        "١ * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
    ],
)
def test_what_is_no_good_rule_is_refused_with_a_reason(expression: str) -> None:
    with pytest.raises(InvalidError, match=r"^Expected .* given ") as caught:
        check_cron(expression)
    assert len(caught.value.message) < 400


def test_a_rule_of_great_length_is_refused_at_once() -> None:
    with pytest.raises(InvalidError):
        check_cron("* " * 500)
    with pytest.raises(InvalidError):
        check_cron(",".join(["60"] * 300) + " * * * *")


_fields = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 7)]


@st.composite
def rules(draw: st.DrawFn) -> str:
    def one(least: int, most: int) -> str:
        low = draw(st.integers(least, most))
        high = draw(st.integers(low, most))
        step = draw(st.integers(1, 30))
        return draw(
            st.sampled_from(["*", str(low), f"{low}-{high}", f"*/{step}", f"{low}-{high}/{step}", f"{low},{high}"])
        )

    return " ".join(one(least, most) for least, most in _fields)


@given(rules(), st.integers(0, 4_000_000_000_000))
@settings(max_examples=50, deadline=None)
def test_every_good_rule_comes_due_later_on_a_whole_minute_and_has_words(rule: str, moment: int) -> None:
    check_cron(rule)
    due = next_due(rule, moment)
    assert due is not None
    assert due > moment
    assert due % MINUTE == 0
    assert describe(rule)


@pytest.mark.parametrize(
    ("expression", "when"),
    [
        ("0 8 * * *", "At 08:00"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("0 * * * *", "Every hour"),
        ("* * * * *", "Every minute"),
        ("30 17 * * 1-5", "At 17:30, Monday through Friday"),
        ("36 2 13 5 *", "At 02:36, on day 13 of the month, only in May"),
    ],
)
def test_when_says_the_rule_in_english(expression: str, when: str) -> None:
    assert describe(expression) == when


# Creating


async def test_a_new_schedule_is_shown_without_its_data_and_nonce(p: Plant) -> None:
    function = await p.function(external_id="fx")
    session = await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))
    shown = await p.schedule(
        function,
        "0 8 * * *",
        name="daily",
        description="d",
        data=msgspec.Raw(b'{"B": 1,  "a": 2}'),
        nonce=session.nonce,
    )
    assert shown == wire.Schedule(
        id=shown.id,
        name="daily",
        created_time=p.clock.now(),
        cron_expression="0 8 * * *",
        when="At 08:00",
        function_id=function.record.id,
        session_id=session.id,
        description="d",
    )
    assert p.service.sessions.get(session.id) is not None


@pytest.mark.parametrize("data", [None, b"{}", b'{"B": 1,  "a": [ 2.50 ]}', b'"text"', b"0", b"[]"])
async def test_input_data_comes_back_to_the_letter(p: Plant, data: bytes | None) -> None:
    function = await p.function()
    shown = await p.schedule(function, **({} if data is None else {"data": msgspec.Raw(data)}))
    for _ in range(2):
        answer = p.service.schedules.input_data(PROJECT, shown.id)
        assert answer.id == shown.id
        assert (None if answer.data is msgspec.UNSET else bytes(answer.data)) == data
        await p.restart()


async def test_a_function_may_be_named_by_its_external_id(p: Plant) -> None:
    function = await p.function(external_id="fx")
    wanted = wire.ScheduleWrite(name="s", cron_expression="* * * * *", function_external_id="fx")
    shown = await p.service.schedules.create(p.who, wanted)
    assert (shown.function_id, shown.function_external_id) == (function.record.id, "fx")
    assert (await p.schedule(function)).function_external_id is None


async def test_an_unknown_function_is_named(p: Plant) -> None:
    for named, missing in (({"function_id": 7}, {"id": 7}), ({"function_external_id": "x"}, {"externalId": "x"})):
        with pytest.raises(InvalidError) as caught:
            await p.service.schedules.create(p.who, wire.ScheduleWrite(name="s", cron_expression="* * * * *", **named))
        assert caught.value.missing == [missing]


async def test_a_function_of_another_project_is_unknown(p: Plant) -> None:
    function = await p.function()
    with pytest.raises(InvalidError, match="existing function"):
        await p.schedule(function, who=p.principal(project="other"))


async def test_a_nonce_that_cannot_be_bound_makes_no_schedule(p: Plant) -> None:
    function = await p.function()
    with pytest.raises(InvalidError, match="Failed to bind session"):
        await p.schedule(function, nonce="made-up")
    assert everything(p) == []


async def test_a_bad_rule_does_not_use_up_the_nonce(p: Plant) -> None:
    function = await p.function()
    session = await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))
    with pytest.raises(InvalidError, match="five fields"):
        await p.schedule(function, "@daily", nonce=session.nonce)
    await p.schedule(function, nonce=session.nonce)


async def test_the_limits_on_schedules(tmp_path: Path) -> None:
    async with plant(tmp_path, max_schedules=3, max_function_schedules=2) as p:
        first, second = await p.function(), await p.function()
        made = [await p.schedule(first), await p.schedule(first)]
        with pytest.raises(InvalidError, match="at most 2 schedules of a function"):
            await p.schedule(first)
        await p.schedule(second)
        with pytest.raises(InvalidError, match="at most 3 schedules in a project"):
            await p.schedule(second)
        await p.service.schedules.delete(PROJECT, [made[0].id])
        await p.schedule(second)


async def test_the_limit_holds_for_many_at_once(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_schedules=2) as p:
        function = await p.function()
        results = await asyncio.gather(*(p.schedule(function) for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(result, wire.Schedule) for result in results) == 2
        assert len(everything(p)) == 2


async def test_a_schedule_that_cannot_be_kept_is_not_there(p: Plant) -> None:
    function = await p.function()
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await p.schedule(function)
    p.store.refusing = False
    assert everything(p) == []


@pytest.mark.parametrize("named", [True, False])
async def test_the_session_of_a_schedule_that_cannot_be_kept_does_not_act(p: Plant, named: bool) -> None:
    function = await p.function()
    nonce = (await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))).nonce if named else None
    with p.store.closed(rows_pass=True):
        waiting = asyncio.create_task(p.schedule(function, nonce=nonce))
        await until(lambda: p.store.waiting == 1)
        p.store.refusing = True
    with pytest.raises(StoreFault):
        await waiting
    p.store.refusing = False
    assert everything(p) == []
    assert p.service.sessions.count() == {}


async def test_a_schedule_without_a_nonce_acts_as_who_made_it(p: Plant) -> None:
    shown = await p.schedule(await p.function(), "0 0 * * *", nonce=None)
    session = p.service.sessions.get(shown.session_id)
    assert session is not None
    assert session.subject == p.who.subject
    await p.clock.advance(7 * DAY)
    assert p.service.sessions.is_alive(shown.session_id)


# Finding


def everything(p: Plant) -> list[wire.Schedule]:
    return p.service.schedules.select(PROJECT, wire.ScheduleFilter(), None)


async def test_filters(p: Plant) -> None:
    first, second = await p.function(external_id="fa"), await p.function()
    begin = p.clock.now()
    a = await p.schedule(first, "0 1 1 1 *", name="x")
    await p.clock.advance(10)
    wanted = wire.ScheduleWrite(name="y", cron_expression="0 1 1 1 *", function_external_id="fa")
    b = await p.service.schedules.create(p.who, wanted)
    await p.clock.advance(10)
    c = await p.schedule(second, "0  1 1 1 *", name="x")
    names = {a.id: "a", b.id: "b", c.id: "c"}
    for looked_for, found in [
        (wire.ScheduleFilter(), "abc"),
        (wire.ScheduleFilter(name="x"), "ac"),
        (wire.ScheduleFilter(name="X"), ""),
        (wire.ScheduleFilter(function_id=first.record.id), "ab"),
        (wire.ScheduleFilter(function_external_id="fa"), "ab"),
        (wire.ScheduleFilter(function_external_id="unknown"), ""),
        (wire.ScheduleFilter(old_function_id=second.record.id), "c"),
        (wire.ScheduleFilter(old_function_external_id="fa"), "ab"),
        (wire.ScheduleFilter(cron_expression="0 1 1 1 *"), "ab"),
        (wire.ScheduleFilter(cron_expression="0  1 1 1 *"), "c"),
        (wire.ScheduleFilter(created_time=TimeRange(min=begin + 10)), "bc"),
        (wire.ScheduleFilter(created_time=TimeRange(max=begin + 10), name="x"), "a"),
    ]:
        chosen = p.service.schedules.select(PROJECT, looked_for, 100)
        assert "".join(names[shown.id] for shown in chosen) == found, looked_for
    assert [shown.id for shown in p.service.schedules.select(PROJECT, wire.ScheduleFilter(), 2)] == [a.id, b.id]
    assert p.service.schedules.select("other", wire.ScheduleFilter(), 100) == []


async def test_several_and_unknown_ones(p: Plant) -> None:
    function = await p.function()
    a, b = await p.schedule(function), await p.schedule(function)
    found = p.service.schedules.several(PROJECT, [b.id, 7000, a.id], ignore_unknown=True)
    assert [shown.id for shown in found] == [b.id, a.id]
    with pytest.raises(UnknownItemsError) as caught:
        p.service.schedules.several(PROJECT, [b.id, 7000], ignore_unknown=False)
    assert caught.value.missing == [{"id": 7000}]
    for look in (p.service.schedules.get, p.service.schedules.input_data):
        with pytest.raises(NotFoundError):
            look(PROJECT, 7000)
        with pytest.raises(NotFoundError):
            look("other", a.id)


# Firing


@pytest.fixture
async def function(p: Plant) -> LiveFunction:
    """A function, at a quarter past twelve."""
    p.clock._now = at("2026-01-01 12:15")
    return await p.function()


async def test_each_due_time_makes_one_call_with_the_stored_data(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, "0 * * * *", data=msgspec.Raw(b'{"a": 1}'))
    await turned(p, 3 * HOUR)
    records = await p.calls_of(function)
    assert ticks(records) == [at(f"2026-01-01 {hour}:00") for hour in (13, 14, 15)]
    assert [record.start_time for record in records] == ticks(records)
    assert {record.schedule_id for record in records} == {shown.id}
    assert {record.status for record in records} == {"Completed"}
    assert [order.data for order in p.engine.orders] == [b'{"a": 1}'] * 3
    assert {order.schedule_id for order in p.engine.orders} == {shown.id}
    assert [order.scheduled_time for order in p.engine.orders] == ticks(records)


async def test_without_data_the_call_gets_an_empty_object(p: Plant, function: LiveFunction) -> None:
    await p.schedule(function, "0 * * * *")
    await turned(p, HOUR)
    assert [order.data for order in p.engine.orders] == [b"{}"]


async def test_nothing_is_due_before_its_time(p: Plant, function: LiveFunction) -> None:
    await p.schedule(function, "0 * * * *")
    await turned(p, 45 * MINUTE - 1)
    assert await p.calls_of(function) == []
    await turned(p, 1)
    assert len(await p.calls_of(function)) == 1


async def test_a_schedule_that_is_due_sooner_than_those_before_it(p: Plant, function: LiveFunction) -> None:
    await p.schedule(function, "0 0 1 1 *")
    await turned(p, MINUTE)
    await p.schedule(function, "20 * * * *")
    await turned(p, 5 * MINUTE)
    assert ticks(await p.calls_of(function)) == [at("2026-01-01 12:20")]


async def test_schedules_of_one_function_may_be_due_at_the_same_time(p: Plant, function: LiveFunction) -> None:
    ids = {(await p.schedule(function, "0 * * * *")).id for _ in range(3)}
    await turned(p, HOUR)
    assert {record.schedule_id for record in await p.calls_of(function)} == ids


async def test_a_call_may_still_run_when_the_next_is_due(p: Plant, function: LiveFunction) -> None:
    p.engine.holding = True
    await p.schedule(function, "* * * * *")
    await p.clock.advance(3 * MINUTE)
    await until(lambda: len(p.engine.orders) == 3)
    assert function.running == 3


async def test_a_function_that_is_not_ready_is_skipped(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    p.clock._now = at("2026-01-01 12:15")
    await p.schedule(function, "0 * * * *")
    await turned(p, HOUR)
    p.builder.holding = False
    await until(lambda: function.record.status == "Ready")
    await turned(p, HOUR)
    assert ticks(await p.calls_of(function)) == [at("2026-01-01 14:00")]


async def test_due_times_that_passed_while_the_service_was_down_are_not_made_up_for(
    p: Plant, function: LiveFunction
) -> None:
    await p.schedule(function, "0 * * * *")
    await p.service.stop(drain=0)
    p.clock._now += 10 * HOUR
    await p._anew()
    await turned(p, HOUR)
    assert ticks(await p.calls_of(function)) == [at("2026-01-01 23:00")]


async def test_of_a_clock_that_jumps_one_due_time_is_made_up_for_at_most(p: Plant, function: LiveFunction) -> None:
    await p.schedule(function, "0 * * * *")
    await turned(p, HOUR)
    p.clock._now += 10 * HOUR + 20 * MINUTE
    await turned(p, HOUR)
    late = ticks(await p.calls_of(function))
    assert late[-1] == at("2026-01-02 00:00")
    assert len(late) <= 3


async def test_a_due_time_makes_its_call_once_however_often_it_is_fired(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, "0 0 1 1 *")
    record = p.service.schedules.get(PROJECT, shown.id)
    due = at("2027-01-01 00:00")
    for _ in range(5):
        p.service.schedules._firing.fire([Due(record, due)], None)
    await until(lambda: not p.service.schedules.busy and function.running == 0)
    assert ticks(await p.calls_of(function)) == [due]
    assert len(p.engine.orders) == 1


async def test_a_call_that_cannot_run_is_kept_as_failed_with_the_reason(tmp_path: Path) -> None:
    async with plant(tmp_path, max_function_calls=1) as p:
        p.clock._now = at("2026-01-01 12:15")
        function = await p.function()
        p.engine.holding = True
        await p.call(function)
        shown = await p.schedule(function, "0 * * * *")
        await p.clock.advance(HOUR)
        await until(lambda: not p.service.schedules.busy)
        *_, record = await p.calls_of(function)
        assert (record.status, record.schedule_id) == ("Failed", shown.id)
        assert record.scheduled_time == record.end_time == at("2026-01-01 13:00")
        assert "Too many running calls" in (record.error_message or "")
        assert function.running == 1
        p.engine.end_all()
        await until(lambda: function.running == 0)
        await turned(p, HOUR)
        assert [record.status for record in await p.calls_of(function)][-1] == "Completed"


@pytest.mark.parametrize("how", ["revoked", "one-shot, an hour ago"])
async def test_without_its_session_a_schedule_makes_failed_calls(p: Plant, function: LiveFunction, how: str) -> None:
    one_shot = how != "revoked"
    kind = SessionWrite(oneshot_token_exchange=True) if one_shot else SessionWrite(token_exchange=True)
    session = await p.service.sessions.create(p.who, kind)
    await p.schedule(function, "0 * * * *", nonce=session.nonce)
    await turned(p, HOUR)
    if not one_shot:
        await p.service.sessions.revoke(p.who, [session.id])
    await turned(p, HOUR)
    first, second = await p.calls_of(function)
    assert (first.status, second.status) == ("Completed", "Failed")
    assert "create the schedule anew" in (second.error_message or "")
    assert len(p.engine.orders) == 1


async def test_the_session_of_a_schedule_outlives_its_calls_for_weeks(p: Plant, function: LiveFunction) -> None:
    session = await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))
    await p.schedule(function, "0 0 * * *", nonce=session.nonce)
    acting: list[str | None] = []

    def act(order: Any) -> Any:
        order.access()
        who = p.service.sessions.principal(session.id, 2**52)
        acting.append(who and who.subject)
        return returned()

    p.engine.endings.extend([act] * 40)
    await turned(p, 40 * DAY)
    assert [record.status for record in await p.calls_of(function)] == ["Completed"] * 40
    assert acting == [p.who.subject] * 40


async def test_schedules_are_there_after_a_crash(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, "0 * * * *", description="d")
    await p.crash()
    assert everything(p) == [shown]
    await turned(p, HOUR)
    assert ticks(await p.calls_of(p.service.functions.get(PROJECT, function.record.id))) == [at("2026-01-01 13:00")]


async def test_a_store_that_refuses_one_firing_does_not_stop_the_next(
    p: Plant, function: LiveFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvern.service.missed._RETRY", 0.001)
    shown = await p.schedule(function, "0 * * * *")
    p.store.refusing = True
    await p.clock.advance(HOUR)
    await until(lambda: p.store.refused > 2)
    p.store.refusing = False
    await turned(p, HOUR)
    assert ticks(await p.calls_of(function)) == [at("2026-01-01 14:00")]
    found, _ = await p.service.ledger.page(PROJECT, shown.id, None, 100, None)
    assert [(one.due_time, one.outcome) for one in found] == [
        (at("2026-01-01 14:00"), "ran"),
        (at("2026-01-01 13:00"), "skipped"),
    ]
    assert "disk is full" in (found[1].reason or "")


async def test_a_fault_while_firing_does_not_stop_the_others(
    p: Plant, function: LiveFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    await p.schedule(function, "0 * * * *")
    admit: Callable[..., Any] = Calls.admit

    def faulty(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Calls, "admit", faulty)
    await p.clock.advance(HOUR)
    await until(lambda: not p.service.schedules.busy)
    monkeypatch.setattr(Calls, "admit", admit)
    await turned(p, HOUR)
    assert ticks(await p.calls_of(function)) == [at("2026-01-01 14:00")]


# Deleting


async def test_a_deleted_schedule_fires_no_more_and_its_session_ends(p: Plant, function: LiveFunction) -> None:
    session = await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))
    shown = await p.schedule(function, "0 * * * *", nonce=session.nonce)
    await turned(p, HOUR)
    await p.service.schedules.delete(PROJECT, [shown.id])
    await turned(p, 2 * HOUR)
    (past,) = await p.calls_of(function)
    assert past.schedule_id == shown.id
    (ended,) = await p.service.sessions.by_ids(PROJECT, [session.id])
    assert ended.status == "CANCELLED"
    await p.restart()
    assert everything(p) == []


async def test_one_unknown_schedule_and_nothing_is_deleted(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    with pytest.raises(UnknownItemsError) as caught:
        await p.service.schedules.delete(PROJECT, [shown.id, 7000])
    assert caught.value.missing == [{"id": 7000}]
    with pytest.raises(UnknownItemsError):
        await p.service.schedules.delete("other", [shown.id])
    assert len(everything(p)) == 1


async def test_the_same_schedule_in_two_deletes_at_once(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    results = await asyncio.gather(
        *(p.service.schedules.delete(PROJECT, [shown.id]) for _ in range(3)), return_exceptions=True
    )
    assert None in results
    assert all(result is None or isinstance(result, UnknownItemsError) for result in results), results


async def test_a_call_that_runs_goes_on_when_its_schedule_is_deleted(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, "0 * * * *")
    p.engine.holding = True
    await p.clock.advance(HOUR)
    await until(lambda: p.engine.orders)
    await p.service.schedules.delete(PROJECT, [shown.id])
    p.engine.end_all()
    await until(lambda: function.running == 0)
    assert [record.status for record in await p.calls_of(function)] == ["Completed"]


async def test_a_delete_that_the_store_refuses_leaves_the_schedule(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, "0 * * * *")
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await p.service.schedules.delete(PROJECT, [shown.id])
    p.store.refusing = False
    await turned(p, HOUR)
    assert len(await p.calls_of(function)) == 1


async def test_the_session_of_a_schedule_that_was_revoked_stays_revoked(p: Plant, function: LiveFunction) -> None:
    session = await p.service.sessions.create(p.who, SessionWrite(token_exchange=True))
    shown = await p.schedule(function, nonce=session.nonce)
    await p.service.sessions.revoke(p.who, [session.id])
    await p.service.schedules.delete(PROJECT, [shown.id])
    (ended,) = await p.service.sessions.by_ids(PROJECT, [session.id])
    assert ended.status == "REVOKED"


def test_a_year_of_days_has_as_many_due_times() -> None:
    moment, count = at("2027-12-31 23:59"), 0
    while (due := next_due("30 6 * * *", moment)) is not None and due < at("2029-01-01 00:00"):
        moment, count = due, count + 1
    assert count == 366
