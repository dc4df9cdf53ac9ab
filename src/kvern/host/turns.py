"""Turns: how many calls run at the same time, and which function's is next when that is not enough."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Lets a number of calls run; when more would, functions take turns, whichever has how many calls waiting.

    Args:
        most: calls that run at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}  # by function, the one whose turn is next first

    def free(self) -> bool:
        """Whether a call could run at once."""
        return self._running < self._most

    def take(self, function_id: int) -> asyncio.Future[None] | None:
        """Take a turn, or wait for one: None when it is taken, else a future that is done when it is.

        A future that is done otherwise, by an exception or cancelled, gives up the wait.
        """
        if self._running < self._most:
            self._running += 1
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(function_id, deque()).append(waiter)
        return waiter

    def give(self) -> None:
        """Give a turn back: to the function whose turn is next, or to nobody."""
        while self._waiting:
            function_id, queue = next(iter(self._waiting.items()))
            del self._waiting[function_id]
            waiter = queue.popleft()
            if queue:
                self._waiting[function_id] = queue  # the others first
            if not waiter.done():
                waiter.set_result(None)
                return
        self._running -= 1
