"""What is known of calls: lists page by page, filters, several at once, responses."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.unit.fakes import PROJECT, Plant, returned

from kvern.engine import Outcome, Verdict
from kvern.service.ranges import in_range
from kvern.store.calls import CallRecord
from kvern.wire.base import TimeRange
from kvern.wire.calls import CallFilter, CallQuery
from kvern.wire.errors import InvalidError, NotFoundError, UnknownItemsError


async def pages(p: Plant, function_id: int, query: CallQuery) -> list[list[CallRecord]]:
    """All pages, as a client reads them."""
    found: list[list[CallRecord]] = []
    while True:
        records, cursor = await p.service.history.page(PROJECT, function_id, query)
        found.append(records)
        if cursor is None:
            return found
        query = CallQuery(filter=query.filter, limit=query.limit, cursor=cursor)


async def chosen(p: Plant, function_id: int, wanted: CallFilter) -> list[int]:
    records, _ = await p.service.history.page(PROJECT, function_id, CallQuery(filter=wanted))
    return [record.id for record in records]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_hold_every_call_once_newest_first(p: Plant, limit: int) -> None:
    function, other = await p.function(), await p.function()
    ids: list[int] = []
    for number in range(7):
        ids.append((await p.ended(function)).id)
        await p.ended(other)
        if number % 3 == 0:  # several calls of one millisecond
            await p.clock.advance(1)
    found = await pages(p, function.record.id, CallQuery(limit=limit))
    assert [record.id for page in found for record in page] == ids[::-1]
    assert all(len(page) <= limit for page in found)
    assert len(found) == -(-7 // limit)


async def test_a_list_without_calls(p: Plant) -> None:
    function = await p.function()
    assert await p.service.history.page(PROJECT, function.record.id, CallQuery()) == ([], None)


async def test_calls_made_while_a_client_reads_do_not_shift_its_pages(p: Plant) -> None:
    function = await p.function()
    old = [(await p.ended(function)).id for _ in range(4)]
    first, cursor = await p.service.history.page(PROJECT, function.record.id, CallQuery(limit=2))
    await p.clock.advance(1)
    await p.ended(function)
    second, end = await p.service.history.page(PROJECT, function.record.id, CallQuery(limit=2, cursor=cursor))
    assert [record.id for record in [*first, *second]] == old[::-1]
    assert end is None


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "MTIz", "é", "MSwyLDM", "LTEsMg"])
async def test_a_cursor_that_was_not_made_here(p: Plant, cursor: str) -> None:
    function = await p.function()
    with pytest.raises(InvalidError, match="cursor"):
        await p.service.history.page(PROJECT, function.record.id, CallQuery(cursor=cursor))


async def test_filters(p: Plant) -> None:
    function = await p.function()
    p.engine.endings.extend([returned(), Outcome(Verdict.RAISED), Outcome(Verdict.TIMED_OUT)])
    completed = (await p.ended(function)).id
    await p.clock.advance(10)
    failed = (await p.ended(function)).id
    await p.clock.advance(10)
    timed_out = (await p.ended(function)).id
    await p.clock.advance(10)
    p.engine.holding = True
    running = (await p.call(function)).record.id
    begin = p.clock.now() - 30

    def span(low: int | None = None, high: int | None = None) -> TimeRange:
        return TimeRange(min=None if low is None else begin + low, max=None if high is None else begin + high)

    everything = [running, timed_out, failed, completed]
    for wanted, ids in [
        (CallFilter(), everything),
        (CallFilter(status="Running"), [running]),
        (CallFilter(status="Completed"), [completed]),
        (CallFilter(status="Failed"), [failed]),
        (CallFilter(status="Timeout"), [timed_out]),
        (CallFilter(schedule_id=1), []),
        (CallFilter(start_time=span(10)), [running, timed_out, failed]),
        (CallFilter(start_time=span(None, 10)), [failed, completed]),
        (CallFilter(start_time=span(10, 20)), [timed_out, failed]),
        (CallFilter(start_time=span(20, 10)), []),
        (CallFilter(start_time=span()), everything),
        (CallFilter(end_time=span()), [timed_out, failed, completed]),  # no end, no match
        (CallFilter(end_time=span(10, 10)), [failed]),
        (CallFilter(status="Failed", start_time=span(None, 5)), []),
    ]:
        assert await chosen(p, function.record.id, wanted) == ids, wanted


async def test_the_filter_holds_on_every_page(p: Plant) -> None:
    function = await p.function()
    for number in range(9):
        p.engine.endings.append(returned() if number % 3 else Outcome(Verdict.RAISED))
        await p.ended(function)
    found = await pages(p, function.record.id, CallQuery(filter=CallFilter(status="Failed"), limit=2))
    assert [len(page) for page in found] == [2, 1]
    assert {record.status for page in found for record in page} == {"Failed"}


async def test_several_come_in_the_order_asked_for_running_or_not(p: Plant) -> None:
    function = await p.function()
    first = (await p.ended(function)).id
    p.engine.holding = True
    running = (await p.call(function)).record.id
    found = await p.service.history.several(PROJECT, function.record.id, [running, first], ignore_unknown=False)
    assert [(record.id, record.status) for record in found] == [(running, "Running"), (first, "Completed")]


async def test_more_calls_than_one_statement_takes(p: Plant) -> None:
    function = await p.function()
    ids = [(await p.ended(function)).id for _ in range(3)]
    asked = [*range(1_000_000, 1_001_200), *ids]
    found = await p.service.history.several(PROJECT, function.record.id, asked, ignore_unknown=True)
    assert [record.id for record in found] == ids


async def test_unknown_calls(p: Plant) -> None:
    function = await p.function()
    known = (await p.ended(function)).id
    with pytest.raises(UnknownItemsError) as caught:
        await p.service.history.several(PROJECT, function.record.id, [known, 7000, 8000], ignore_unknown=False)
    assert caught.value.missing == [{"id": 7000}, {"id": 8000}]


async def test_a_call_of_another_function_or_project_does_not_exist(p: Plant) -> None:
    function, other = await p.function(), await p.function()
    ended = (await p.ended(function)).id
    p.engine.holding = True
    running = (await p.call(function)).record.id
    history = p.service.history
    for call_id in (ended, running):
        for place in ((PROJECT, other.record.id), ("other", function.record.id)):
            for look in (history.get, history.response, history.log):
                with pytest.raises(NotFoundError):
                    await look(*place, call_id)
        assert await history.several(PROJECT, other.record.id, [call_id], ignore_unknown=True) == []
    with pytest.raises(NotFoundError):
        await history.page("other", function.record.id, CallQuery())


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        (returned(b"null"), b"null"),
        (returned(b"false"), b"false"),
        (returned(b'{"Key": 1.50, "a_b": "\\u00e6"}'), b'{"Key": 1.50, "a_b": "\\u00e6"}'),
        (Outcome(Verdict.RAISED, message="no"), None),
        (Outcome(Verdict.TIMED_OUT, message="no"), None),
    ],
)
async def test_a_response_is_there_only_when_the_call_completed(p: Plant, ending: Outcome, shown: bytes | None) -> None:
    function = await p.function()
    p.engine.endings.append(ending)
    call_id = (await p.ended(function)).id
    answer = await p.service.history.response(PROJECT, function.record.id, call_id)
    assert (answer.function_id, answer.call_id) == (function.record.id, call_id)
    assert (None if answer.response is msgspec.UNSET else bytes(answer.response)) == shown


async def test_a_running_call_has_no_response(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    live = await p.call(function)
    answer = await p.service.history.response(PROJECT, function.record.id, live.record.id)
    assert answer.response is msgspec.UNSET
    p.engine.end_all()
    await asyncio.wait_for(live.ended, 5)


_moments = st.one_of(st.none(), st.integers(0, 100))


@given(low=_moments, high=_moments, value=_moments)
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_range_is_inclusive_and_open_where_nothing_is_said(
    low: int | None, high: int | None, value: int | None
) -> None:
    inside = value is not None and value in range(low or 0, (100 if high is None else high) + 1)
    assert in_range(TimeRange(min=low, max=high), value) == inside
    assert in_range(None, value)
