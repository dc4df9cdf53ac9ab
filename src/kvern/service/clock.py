"""The clock: what the service asks for the time, so that tests can turn it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, and whether it was set: forward, as after a laptop's lid was opened, or back."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    async def sleep_until(self, moment: int) -> None:
        """Wait until `now()` is at least `moment` (ms since the epoch), or until soon after the clock was set."""
        ...

    def was_set(self) -> int:
        """By how many ms the clock was set since this was asked last; 0 when it was not. Less than a second counts as
        running, for clocks are kept right in small steps."""
        ...


class RealClock:
    """The machine's clock. Long waits are cut into short ones, so that a clock that was set is noticed."""

    _LONGEST = 0.5
    _LEAST_JUMP = 1000

    def __init__(self) -> None:
        self._ahead = self._ahead_now()
        self._jumped = 0
        self._jumps = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep_until(self, moment: int) -> None:
        self._notice()
        jumps = self._jumps
        while (left := moment - self.now()) > 0 and jumps == self._jumps:
            await asyncio.sleep(min(left / 1000, self._LONGEST))
            self._notice()

    def was_set(self) -> int:
        self._notice()
        jumped, self._jumped = self._jumped, 0
        return jumped

    def _ahead_now(self) -> int:
        return self.now() - time.monotonic_ns() // 1_000_000

    def _notice(self) -> None:
        ahead = self._ahead_now()
        by, self._ahead = ahead - self._ahead, ahead
        if abs(by) >= self._LEAST_JUMP:
            self._jumped += by
            self._jumps += 1


class FakeClock:
    """A clock that stands still until `advance` turns it, or `jump` sets it."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._now = now
        self._jumped = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, moment: int) -> None:
        if moment > self._now:
            sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((moment, sleeper))
            await sleeper

    def was_set(self) -> int:
        jumped, self._jumped = self._jumped, 0
        return jumped

    async def advance(self, milliseconds: int) -> None:
        """Turn the clock, stopping at every moment that someone sleeps for, in order."""
        end = self._now + milliseconds
        await _others()
        while due := sorted(
            (entry for entry in self._sleepers if entry[0] <= end and not entry[1].done()), key=lambda entry: entry[0]
        ):
            moment, sleeper = due[0]
            self._now = max(self._now, moment)
            self._sleepers.remove(due[0])
            sleeper.set_result(None)
            await _others()
        self._now = end

    def jump(self, milliseconds: int) -> None:
        """Set the clock forward or back, as an operator does: who sleeps is woken once, whatever lies between."""
        self._now += milliseconds
        self._jumped += milliseconds
        sleepers, self._sleepers = self._sleepers, []
        for _, sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)


async def _others() -> None:
    """Let what is awake run until it sleeps."""
    for _ in range(20):
        await asyncio.sleep(0)
