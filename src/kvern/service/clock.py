"""The clock: what the service asks for the time, so that tests can turn it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time. `sleep_until` returns at the moment, or soon after the clock was set past it; never before it."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    async def sleep_until(self, moment: int) -> None:
        """Wait until `now()` is at least `moment`, in ms since the epoch."""
        ...


class RealClock:
    """The machine's clock. Long waits are cut into short ones, so that a clock that jumps is noticed."""

    _LONGEST = 1.0

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep_until(self, moment: int) -> None:
        while (left := moment - self.now()) > 0:
            await asyncio.sleep(min(left / 1000, self._LONGEST))


class FakeClock:
    """A clock that stands still until `advance` turns it."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._now = now
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, moment: int) -> None:
        if moment > self._now:
            sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((moment, sleeper))
            await sleeper

    async def advance(self, milliseconds: int) -> None:
        """Turn the clock, stopping at every moment that someone sleeps for, in order."""
        end = self._now + milliseconds
        await _others()
        while due := sorted(entry for entry in self._sleepers if entry[0] <= end and not entry[1].done()):
            moment, sleeper = due[0]
            self._now = max(self._now, moment)
            self._sleepers.remove(due[0])
            sleeper.set_result(None)
            await _others()
        self._now = end

    def jump(self, milliseconds: int) -> None:
        """Set the clock, as an operator does: who sleeps is not woken by the moments that lie between."""
        self._now += milliseconds


async def _others() -> None:
    """Let what is awake run until it sleeps."""
    for _ in range(20):
        await asyncio.sleep(0)
