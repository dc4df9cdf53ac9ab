"""The ledger of schedules: what becomes of each due time, by the policies, whatever happens to clock and service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.unit.fakes import PROJECT, Plant, plant, until

from kvern.service.functions import LiveFunction
from kvern.store.tables import ticks as table
from kvern.wire import schedules as wire
from kvern.wire.base import ByIdOrExternalId

MINUTE = 60_000
NOON = 1_767_268_800_000


@pytest.fixture
async def p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    monkeypatch.setattr("kvern.service.queued._AGAIN", 0.001)
    monkeypatch.setattr("kvern.service.missed._RETRY", 0.001)
    async with plant(tmp_path / "data") as made:
        made.clock._now = NOON + 1
        yield made


async def quiet(p: Plant) -> None:
    """Return when the ledger goes up to now."""
    await p.clock.advance(0)
    await until(lambda: not p.service.schedules.busy)


async def turned(p: Plant, milliseconds: int) -> None:
    """Turn the clock, at most to the next due time at once."""
    end = p.clock.now() + milliseconds
    while (now := p.clock.now()) < end:
        await p.clock.advance(min(end, (now // MINUTE + 1) * MINUTE) - now)
        await quiet(p)


async def jumped(p: Plant, milliseconds: int) -> None:
    p.clock.jump(milliseconds)
    await quiet(p)


async def down(p: Plant, milliseconds: int) -> None:
    """The service is killed, and is back after a while."""
    await p.crash(down=milliseconds)
    await quiet(p)


async def ledger(p: Plant, schedule: int) -> list[wire.Tick]:
    """Oldest first, when nothing in it waits that could go on."""
    return (await p.service.ledger.page(PROJECT, schedule, None, 1000, None))[0][::-1]


async def outcomes(p: Plant, schedule: int) -> str:
    """The minutes of the ledger after noon, each with the first letter of its outcome."""
    return " ".join(f"{(tick.due_time - NOON) // MINUTE}{tick.outcome[0]}" for tick in await ledger(p, schedule))


async def settles(p: Plant, schedule: int, wanted: str) -> None:
    """The ledger comes to be this."""
    for _ in range(1000):
        if await outcomes(p, schedule) == wanted:
            return
        await quiet(p)
    assert await outcomes(p, schedule) == wanted


async def reasons(p: Plant, schedule: int) -> dict[int, str | None]:
    return {(tick.due_time - NOON) // MINUTE: tick.reason for tick in await ledger(p, schedule)}


def accounted(p: Plant, schedule: int) -> int:
    """The minute after noon up to which all is accounted for."""
    until_then = p.service.schedules.get(PROJECT, schedule).accounted_until
    assert until_then is not None
    return (until_then - NOON) // MINUTE


async def due_times_of_calls(p: Plant) -> list[int]:
    """Minutes after noon, in the order in which the calls began."""
    return [(order.scheduled_time - NOON) // MINUTE for order in p.engine.orders if order.scheduled_time is not None]


@pytest.fixture
async def function(p: Plant) -> LiveFunction:
    return await p.function()


# Missed


@pytest.mark.parametrize(
    ("policy", "wanted", "called"),
    [
        ({}, "1r 2s 3s 4s 5s 6r", [1, 6]),
        ({"missed": "skip"}, "1r 2s 3s 4s 5s 6r", [1, 6]),
        ({"missed": "last"}, "1r 2s 3s 4s 5l 6r", [1, 5, 6]),
        ({"missed": "all"}, "1r 2l 3l 4l 5l 6r", [1, 2, 3, 4, 5, 6]),
        ({"missed": "all", "missed_window": 100}, "1r 2s 3s 4l 5l 6r", [1, 4, 5, 6]),
        ({"missed": "last", "missed_window": 20}, "1r 2s 3s 4s 5s 6r", [1, 6]),
    ],
)
async def test_due_times_that_passed_while_the_service_was_down(
    p: Plant, function: LiveFunction, policy: dict[str, Any], wanted: str, called: list[int]
) -> None:
    shown = await p.schedule(function, **policy)
    await turned(p, MINUTE)
    await down(p, 4 * MINUTE + 30_000)
    before_six = wanted.rpartition(" ")[0]
    await settles(p, shown.id, before_six)
    assert accounted(p, shown.id) == 5
    await turned(p, MINUTE)
    await settles(p, shown.id, wanted)
    await until(lambda: len(p.engine.orders) == len(called))
    assert await due_times_of_calls(p) == called
    for minute, reason in (await reasons(p, shown.id)).items():
        assert (reason is None) if minute in (1, 6) else "missed while the service was down" in (reason or "")


async def test_what_is_made_up_for_goes_one_after_the_other(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, missed="all")
    p.engine.holding = True
    await down(p, 3 * MINUTE)
    for ended in range(3):
        await settles(p, shown.id, ("1l 2q 3q", "1l 2l 3q", "1l 2l 3l")[ended])
        await until(lambda ended=ended: len(p.engine.orders) == ended + 1)  # type: ignore[misc]
        p.engine.end(p.engine.running[0])


async def test_a_fault_of_the_store_while_missed_ones_are_written_is_waited_for(
    p: Plant, function: LiveFunction
) -> None:
    shown = await p.schedule(function)
    p.store.refusing = True
    p.clock.jump(10 * MINUTE)
    await p.clock.advance(0)
    await until(lambda: p.store.refused > 2)
    assert accounted(p, shown.id) == 0
    p.store.refusing = False
    await quiet(p)
    await settles(p, shown.id, "1s 2s 3s 4s 5s 6s 7s 8s 9s 10s")
    assert accounted(p, shown.id) == 10


# Overlap


async def test_calls_may_overlap_unless_the_schedule_says_otherwise(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    p.engine.holding = True
    await turned(p, 3 * MINUTE)
    assert await outcomes(p, shown.id) == "1r 2r 3r"
    await until(lambda: len(p.engine.running) == 3)


async def test_a_due_time_is_skipped_while_an_earlier_call_runs(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, overlap="skip")
    p.engine.holding = True
    await turned(p, 3 * MINUTE)
    assert await outcomes(p, shown.id) == "1r 2s 3s"
    assert f"call {p.engine.running[0]} still ran" in str((await reasons(p, shown.id))[2])
    p.engine.end_all()
    await until(lambda: function.running == 0)
    await turned(p, MINUTE)
    assert await outcomes(p, shown.id) == "1r 2s 3s 4r"


async def test_a_due_time_waits_for_an_earlier_call(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, overlap="queue")
    p.engine.holding = True
    await turned(p, 3 * MINUTE)
    assert await outcomes(p, shown.id) == "1r 2q 3q"
    p.engine.end(p.engine.running[0])
    await settles(p, shown.id, "1r 2l 3q")
    assert "still ran; fired 60.0 s late" in str((await reasons(p, shown.id))[2])
    await turned(p, MINUTE)
    await settles(p, shown.id, "1r 2l 3q 4q")
    p.engine.end_all()
    await settles(p, shown.id, "1r 2l 3l 4l")
    await until(lambda: len(p.engine.orders) == 4)
    assert await due_times_of_calls(p) == [1, 2, 3, 4]


async def test_what_waits_still_waits_after_a_crash(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, overlap="queue")
    p.engine.holding = True
    await turned(p, 3 * MINUTE)
    p.engine.holding = False
    await down(p, 0)
    await settles(p, shown.id, "1r 2l 3l")
    await until(lambda: len(p.engine.orders) == 3)
    assert await due_times_of_calls(p) == [1, 2, 3]


async def test_only_so_many_wait(p: Plant, function: LiveFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvern.service.firing.QUEUE_MOST", 2)
    shown = await p.schedule(function, overlap="queue")
    p.engine.holding = True
    await turned(p, 4 * MINUTE)
    assert await outcomes(p, shown.id) == "1r 2q 3q 4s"
    assert (await reasons(p, shown.id))[4] == "2 earlier due times wait"


# Pause


async def test_due_times_of_a_paused_schedule_pass(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, missed="all")
    await turned(p, MINUTE)
    await p.service.schedules.pause(PROJECT, [shown.id])
    await turned(p, MINUTE)
    await down(p, MINUTE)
    await turned(p, MINUTE)
    await p.service.schedules.resume(PROJECT, [shown.id])
    await turned(p, MINUTE)
    assert await outcomes(p, shown.id) == "1r 2s 3s 4s 5r"
    assert {reason for reason in (await reasons(p, shown.id)).values() if reason} == {"the schedule is paused"}


async def test_what_would_be_made_up_for_is_given_up_by_a_pause(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, missed="all")
    p.store.refusing = True
    await p.clock.advance(2 * MINUTE)
    p.store.refusing = False
    await p.service.schedules.pause(PROJECT, [shown.id])
    await turned(p, MINUTE)
    await settles(p, shown.id, "1s 2s 3s")
    assert p.engine.orders == []


async def test_a_pause_gives_up_what_waits(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, overlap="queue")
    p.engine.holding = True
    await turned(p, 3 * MINUTE)
    await p.service.schedules.pause(PROJECT, [shown.id])
    assert await outcomes(p, shown.id) == "1r 2s 3s"
    p.engine.end_all()
    await until(lambda: function.running == 0)
    await p.service.schedules.resume(PROJECT, [shown.id])
    await turned(p, MINUTE)
    await settles(p, shown.id, "1r 2s 3s 4r")
    assert await due_times_of_calls(p) == [1, 4]


# The clock


async def test_a_clock_that_is_set_forward_a_little_makes_calls_late(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    await jumped(p, MINUTE + 30_000)
    assert await outcomes(p, shown.id) == "1l"
    assert (await reasons(p, shown.id))[1] == "fired 30.0 s late: the clock was set forward by 90.0 s"
    (call,) = await p.calls_of(function)
    assert (call.scheduled_time, call.start_time) == (NOON + MINUTE, NOON + MINUTE + 30_001)


@pytest.mark.parametrize(("policy", "wanted"), [({}, "1s 2s 3s 4s 5l"), ({"missed": "all"}, "1l 2l 3l 4l 5l")])
async def test_a_clock_that_is_set_forward_a_lot_misses_due_times(
    p: Plant, function: LiveFunction, policy: dict[str, Any], wanted: str
) -> None:
    shown = await p.schedule(function, **policy)
    await jumped(p, 5 * MINUTE + 30_000)
    await settles(p, shown.id, wanted)
    assert "the clock was set forward by 5.5 min" in str((await reasons(p, shown.id))[2])
    await turned(p, MINUTE)
    await settles(p, shown.id, f"{wanted} 6r")
    assert accounted(p, shown.id) == 6


async def test_due_times_that_come_again_are_not_called_again(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    await turned(p, 3 * MINUTE)
    before = await ledger(p, shown.id)
    await jumped(p, -2 * MINUTE)
    await turned(p, 2 * MINUTE)
    assert await ledger(p, shown.id) == before
    assert accounted(p, shown.id) == 3
    await turned(p, MINUTE)
    assert await outcomes(p, shown.id) == "1r 2r 3r 4r"
    assert await due_times_of_calls(p) == [1, 2, 3, 4]


async def test_due_times_that_were_skipped_are_called_when_they_come_again(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function)
    await jumped(p, 5 * MINUTE)
    await settles(p, shown.id, "1s 2s 3s 4s 5r")
    await jumped(p, -3 * MINUTE)
    await turned(p, MINUTE)
    await settles(p, shown.id, "1s 2s 3r 4s 5r")
    await turned(p, 3 * MINUTE)
    await settles(p, shown.id, "1s 2s 3r 4r 5r 6r")
    await until(lambda: len(p.engine.orders) == 4)
    assert accounted(p, shown.id) == 6


# Crashes


async def test_a_crash_before_the_commit_leaves_a_due_time_that_was_missed(p: Plant, function: LiveFunction) -> None:
    shown = await p.schedule(function, missed="last")
    with p.store.closed():
        await p.clock.advance(MINUTE)
        await until(lambda: p.store.waiting)
        await p._die()
    assert p.engine.orders == []
    await p._anew()
    await settles(p, shown.id, "1l")
    await until(lambda: len(p.engine.orders) == 1)
    assert len(await p.calls_of(p.service.functions.get(PROJECT, function.record.id))) == 1


async def test_a_crash_while_its_call_runs_leaves_the_tick_and_makes_no_second_call(
    p: Plant, function: LiveFunction
) -> None:
    shown = await p.schedule(function, missed="all")
    p.engine.holding = True
    await turned(p, MINUTE)
    await until(lambda: p.engine.orders)
    await down(p, 0)
    assert await outcomes(p, shown.id) == "1r"
    (call,) = await p.calls_of(p.service.functions.get(PROJECT, function.record.id))
    assert (call.status, call.verdict) == ("Failed", "interrupted")
    assert len(p.engine.orders) == 1


async def test_a_crash_while_missed_ones_are_written_leaves_the_rest_to_the_next_start(
    p: Plant, function: LiveFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvern.service.missed._PORTION", 2)
    shown = await p.schedule(function)
    await p._die()
    p.clock._now += 5 * MINUTE
    p.store.refusing = True
    await p._anew()
    await until(lambda: p.store.refused)
    await p._die()
    p.store.refusing = False
    await p._anew()
    await settles(p, shown.id, "1s 2s 3s 4s 5s")
    assert accounted(p, shown.id) == 5


async def test_a_server_that_takes_over_fires_what_is_due_since_the_other_died(
    p: Plant, function: LiveFunction
) -> None:
    shown = await p.schedule(function, missed="skip")
    await p.service.schedules.follow()
    p.clock._now += 2 * MINUTE + 5_000
    await p.service.schedules.lead(lambda: 15)
    await quiet(p)
    await settles(p, shown.id, "1s 2l")


@pytest.mark.parametrize("deleted", ["schedule", "function"])
async def test_the_ledger_of_a_schedule_goes_with_it(p: Plant, deleted: str) -> None:
    function, other = await p.function(), await p.function()
    shown, stays = await p.schedule(function, "* * * * *"), await p.schedule(other, "* * * * *")
    await turned(p, 2 * MINUTE)
    assert await outcomes(p, shown.id) == "1r 2r"
    if deleted == "schedule":
        await p.service.schedules.delete(PROJECT, [shown.id])
    else:
        await p.service.functions.delete(PROJECT, [ByIdOrExternalId(id=function.record.id)], ignore_unknown=False)
    rows = await p.store.read(lambda connection: connection.execute(select(table.c.schedule_id)).scalars().all())
    assert set(rows) == {stays.id}
