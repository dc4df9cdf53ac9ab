"""The clocks: the machine's own, and the one that tests turn."""

from __future__ import annotations

import asyncio
import time

import pytest

from kvern.service.clock import FakeClock, RealClock


async def test_the_real_clock_tells_the_time() -> None:
    assert abs(RealClock().now() - time.time() * 1000) < 1000


async def test_the_real_clock_sleeps_until_the_moment_and_not_before_it() -> None:
    clock = RealClock()
    moment = clock.now() + 20
    await clock.sleep_until(moment)
    assert clock.now() >= moment
    await asyncio.wait_for(clock.sleep_until(moment - 60_000), 1)


async def test_the_real_clock_looks_again_so_that_a_jump_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set forward by an hour while somebody sleeps, as after a laptop's lid was opened."""
    clock = RealClock()
    monkeypatch.setattr(RealClock, "_LONGEST", 0.001)
    now, jumped = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: now() + jumped)
    sleeping = asyncio.create_task(clock.sleep_until(clock.now() + 3_600_000))
    await asyncio.sleep(0)
    assert not sleeping.done()
    jumped = 3_700_000_000_000
    await asyncio.wait_for(sleeping, 5)


async def test_the_fake_clock_stands_still_until_it_is_turned() -> None:
    clock = FakeClock(1000)
    sleeping = asyncio.create_task(clock.sleep_until(1500))
    await clock.advance(499)
    assert (clock.now(), sleeping.done()) == (1499, False)
    await clock.advance(1)
    assert (clock.now(), sleeping.done()) == (1500, True)


async def test_the_fake_clock_stops_at_every_moment_that_somebody_sleeps_for() -> None:
    clock = FakeClock(0)
    seen: list[int] = []

    async def every(milliseconds: int) -> None:
        while True:
            await clock.sleep_until(clock.now() + milliseconds)
            seen.append(clock.now())

    tasks = [asyncio.create_task(every(300)), asyncio.create_task(every(400))]
    await asyncio.sleep(0)
    await clock.advance(1000)
    assert seen == [300, 400, 600, 800, 900]
    assert clock.now() == 1000
    for task in tasks:
        task.cancel()
