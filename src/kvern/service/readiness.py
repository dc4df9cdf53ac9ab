"""Whether the service is alive, and whether it is of use: `/health` and `/ready`.

    alive | the event loop turns, or nothing could answer; the journal's thread turns
    ready | started and not draining; the engine is up; the database takes a write in time; the disk has room

Probes of the database are shared by all who ask within a second, so that asking often costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from kvern.store import Store, StoreFault, probe

ALIVE_SECONDS = 5.0
"""So long the journal may take to take up an empty transaction, behind all that waits there."""

WRITE_SECONDS = 2.0
"""So long a write may take in a database that is of use."""

_AGAIN = 1.0


class Readiness:
    """What a load balancer and a process supervisor ask.

    Args:
        store: is written to.
        folder: on whose disk there must be room.
        least_free: bytes.
    """

    def __init__(self, store: Store, folder: Path, least_free: int) -> None:
        self._folder = folder
        self._least_free = least_free
        self.state: Literal["starting", "running", "draining"] = "starting"
        self._checks: dict[str, Callable[[], str | None]] = {"service": self._phase, "disk": self._disk}
        self._turns = _Shared(lambda: store.transact(probe.nothing))
        self._writes = _Shared(lambda: store.transact(probe.write))

    def check(self, name: str, look: Callable[[], str | None]) -> None:
        """Have `look` say what is wrong with a part of the service, in words; it must not block."""
        self._checks[name] = look

    async def trouble(self) -> str | None:
        """Why the service must be started anew; None when it is alive."""
        with contextlib.suppress(StoreFault):  # the thread turns, and the database is another matter
            if not await self._turns.within(ALIVE_SECONDS):
                return f"the journal's thread did not turn within {ALIVE_SECONDS:g} s"
        return None

    async def reasons(self) -> dict[str, str]:
        """Why nothing should be sent here now, by part; empty when the service is ready."""
        reasons = {name: said for name, look in self._checks.items() if (said := look()) is not None}
        try:
            if not await self._writes.within(WRITE_SECONDS):
                reasons["database"] = f"a write took longer than {WRITE_SECONDS:g} s"
        except StoreFault:  # the log says which; how the database puts it is nothing for strangers
            reasons["database"] = "it refuses writes"
        return reasons

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self._folder).free

    def _phase(self) -> str | None:
        return None if self.state == "running" else f"it is {self.state}"

    def _disk(self) -> str | None:
        free = self.free()
        if free >= self._least_free:
            return None
        return f"{free // 1_000_000} MB are free, and {self._least_free // 1_000_000} MB are expected"


class _Shared:
    """One probe for all who ask at the same time or shortly after."""

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._task: asyncio.Future[None] | None = None
        self._ended = 0.0

    async def within(self, seconds: float) -> bool:
        """Whether it is over in time. Raises what it raises."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or (task.done() and loop.time() - self._ended >= _AGAIN):
            task = self._task = asyncio.ensure_future(self._probe())
            task.add_done_callback(self._over)
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            return False
        task.result()
        return True

    def _over(self, task: asyncio.Future[None]) -> None:
        self._ended = asyncio.get_running_loop().time()
        if not task.cancelled():
            task.exception()
