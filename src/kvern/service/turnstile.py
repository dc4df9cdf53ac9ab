"""A turnstile before the service's own work: a function that is flooded does not make the others' calls wait in line.

Whatever the service does for a call, from its row to its answer, it does on one event loop and one writer. Were all
calls of a flood let in as they come, every step of another function's call would come after a step of each of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

AT_ONCE = 8
"""Calls of one function that are let in together: as many as keep the loop and the writer busy."""

PATIENCE = 0.02
"""Seconds after which a call that was let in counts no more: one that runs, or waits for a worker, is no work here."""

MEMORY = 1.0
"""Seconds for which a call of one function is remembered when another is called."""


class Place:
    """A call that was let in. `leave` it when it has ended; harmless when done twice, and too late."""

    __slots__ = ("_function_id", "_timer", "_turnstile")

    def __init__(self, turnstile: Turnstile, function_id: int) -> None:
        self._turnstile = turnstile
        self._function_id = function_id
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(PATIENCE, self.leave)

    def leave(self, _ended: object = None) -> None:
        """Let in the next call of the function."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._turnstile.pass_on(self._function_id)


class Turnstile:
    """Lets calls in, function by function, first come, first served. All methods are called on one event loop."""

    def __init__(self) -> None:
        self._inside: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        self._last: int | None = None
        self._changed = -MEMORY

    def is_crowded(self, function_id: int) -> bool:
        """Whether the call of a function that comes now has to `enter`: others are called as well, at the time."""
        now = asyncio.get_running_loop().time()
        if self._last != function_id:
            if self._last is not None:
                self._changed = now
            self._last = function_id
        return now - self._changed < MEMORY

    def waiting(self, function_id: int) -> int:
        """How many calls of a function wait."""
        return len(self._waiting.get(function_id, ()))

    async def enter(self, function_id: int) -> Place:
        """Wait until a call of a function is let in."""
        if self._inside[function_id] >= AT_ONCE:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(function_id, deque()).append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():  # it was let in, and cancelled at the same time
                    self.pass_on(function_id)
                raise
        else:
            self._inside[function_id] += 1
        return Place(self, function_id)

    def pass_on(self, function_id: int) -> None:
        """Give the place of a call to the next that waits, or to nobody."""
        waiting = self._waiting.get(function_id)
        while waiting:
            waiter = waiting.popleft()
            if not waiting:
                del self._waiting[function_id]
            if not waiter.done():
                waiter.set_result(None)
                return
        self._inside[function_id] -= 1
        if not self._inside[function_id]:
            del self._inside[function_id]
