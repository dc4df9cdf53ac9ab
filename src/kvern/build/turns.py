"""Turns: how many builds go on at the same time, and which project's is next when that is not enough."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncGenerator


class Turns:
    """Lets a number of builds go on; when more would, projects take turns, whichever has how many waiting.

    A build cannot be interrupted, so a project that has none going on does not wait for those of others: for such ones
    there are as many turns again.

    Args:
        most: builds that go on at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._going = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by project, the one whose turn is next first

    @contextlib.asynccontextmanager
    async def turn(self, project: str) -> AsyncGenerator[None, None]:
        """Wait for a turn of `project` and hold it. Cancelling gives up the wait."""
        if self._is_free(project):
            self._going[project] += 1
        else:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(project, deque()).append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._give(project)
                raise
        try:
            yield
        finally:
            self._give(project)

    def _is_free(self, project: str) -> bool:
        total = self._going.total()
        return total < self._most or (self._going[project] == 0 and total < 2 * self._most)

    def _give(self, project: str) -> None:
        self._going[project] -= 1
        self._going += Counter()  # leaves out those that have none
        for waiting in sorted(self._waiting, key=lambda name: self._going[name]):  # of equals, whose turn is next
            queue = self._waiting.pop(waiting)
            while queue and queue[0].done():
                queue.popleft()
            if queue and self._is_free(waiting):
                self._going[waiting] += 1
                queue.popleft().set_result(None)
            if queue:
                self._waiting[waiting] = queue  # the others first
