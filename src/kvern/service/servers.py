"""This server among those that share its database: alive by a lease, dead without one.

what happens                         | this server                                  | the others
-------------------------------------|----------------------------------------------|------------------------------------
it renews its lease in time          | goes on                                      | leave what is its alone
it dies                              |                                              | take over when the lease runs out
it cannot renew (database away,      | cuts itself off before the lease runs out:   | take over when the lease runs out
machine frozen and thawed)           | kills its workers, begins nothing            |
it finds that it was taken for dead  | cuts itself off                              | have taken over
it can write again                   | joins anew, under a new id                   | take what its old id had
it stops in order                    | gives its lease up                           | take what waits at once

That nothing is done twice does not rest on clocks: every transaction of a server fails once its row is gone
(`store.servers`). The clock only makes a server stop before others take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

import kvern
from kvern.settings import Settings
from kvern.store import FencedError, Store, StoreFault, servers
from kvern.store.servers import ServerRecord

SCHEDULES = "schedules"
"""The lease of the server that fires schedules."""

_CLAIM_MOST = 100
"""Calls that one server takes over at a time, so that several share them."""

_GRACE_MOST = 60.0
"""Seconds: schedules that nobody fired for longer than that were not taken over but down."""

_NAME = "server"
"""In the data folder: under which id the service that used it last had joined."""

_log = logging.getLogger(__name__)


class Life(Protocol):
    """What a server does when its place among the others changes. Nothing of it may raise."""

    async def cut_off(self) -> None:
        """Kill what runs and forget what waits: it is, or will be, somebody else's."""
        ...

    async def rejoined(self) -> None:
        """Read anew what others may have changed, and be ready to run calls."""
        ...

    async def take_calls(self, lost: dict[int, str | None]) -> None:
        """End or run calls that are this server's now; by id, whose each was."""
        ...

    async def take_deployments(self, functions: list[int]) -> None:
        """Deploy functions whose deployment is this server's now."""
        ...

    async def lead(self, unled: Callable[[], float]) -> None:
        """Begin to fire schedules; those of the last seconds too for which, at that time, nobody has done so."""
        ...

    async def follow(self) -> None:
        """Stop firing schedules."""
        ...


class Servers:
    """Joins, renews, cuts off, takes over. Where the store is not shared, it does nothing and is always alive.

    Args:
        folder: the data folder, which is this service's alone.
    """

    def __init__(self, store: Store, settings: Settings, folder: Path) -> None:
        self._store = store
        self._lease = settings.lease_seconds
        self._lease_ms = int(self._lease * 1000)
        self._every = settings.heartbeat_seconds
        self._note = folder / _NAME
        self._life: Life | None = None
        self._until = 0.0
        self._turning = asyncio.Lock()
        self._joined = asyncio.Event()
        self._takes_over = False
        self._leads = False
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs: set[asyncio.Task[None]] = set()
        self.id: str | None = None
        """Under which this server writes; None where the store is not shared, and while it is cut off."""

        self.address = ""
        """The URL under which this server listens."""

        self.elsewhere: dict[tuple[str, int], int] = {}
        """How many calls other servers ran at the last heartbeat, by project and function."""

    @property
    def shared(self) -> bool:
        return self._store.shared

    @property
    def alive(self) -> bool:
        """Whether this server may begin anything."""
        return not self.shared or (self.id is not None and _clock() < self._until - self._every)

    @property
    def leads(self) -> bool:
        """Whether this server fires schedules."""
        return not self.shared or self._leads

    async def join(self, life: Life) -> None:
        """Begin to live; before anything else is written. Raises `StoreFault`."""
        if not self.shared:
            return
        self._life = life
        # The folder's lock was free: whoever had written its id there has ended.
        with contextlib.suppress(OSError):
            before = self._note.read_text().strip()
            await self._store.apart(lambda connection: servers.bury_one(connection, before, self._lease_ms))
        await self._join()
        self._tasks = [
            asyncio.create_task(self._beat(), name="heartbeat"),
            asyncio.create_task(self._watch(), name="lease"),
        ]

    async def begin(self, address: str) -> None:
        """Take over from now on what others leave, and lead when nobody else does."""
        if self.shared:
            self.address = address
            self._takes_over = True
            await self._sweep()

    async def step_down(self) -> None:
        """Leave the lead to others, and take nothing over any more."""
        self._takes_over = False
        if self.id is not None and self._leads:
            me, self._leads = self.id, False
            with contextlib.suppress(StoreFault):
                await self._store.apart(lambda connection: servers.give_up_leases(connection, me))

    async def leave(self) -> None:
        """End to live; what is left of this server is for others. Nothing is written after it."""
        for task in (*self._tasks, *self._jobs):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._jobs, return_exceptions=True)
        if self.id is not None:
            gone, self.id = self.id, None
            self._leads = False
            with contextlib.suppress(StoreFault):
                await self._store.apart(lambda connection: servers.leave(connection, gone, self._lease_ms))
            self._note.unlink(missing_ok=True)

    async def everyone(self) -> tuple[list[ServerRecord], str | None]:
        """All servers that live, oldest first, and the id of the one that leads."""
        return await self._store.read(
            lambda connection: (servers.everything(connection), servers.holder(connection, SCHEDULES))
        )

    async def _join(self) -> None:
        began = _clock()
        name = f"{socket.gethostname()[:24]}-{secrets.token_hex(4)}"
        milliseconds = self._lease_ms
        await self._store.apart(
            lambda connection: servers.join(connection, name, self.address, kvern.__version__, milliseconds)
        )
        self._note.write_text(name)
        self._store.fence(lambda connection: servers.hold(connection, name, milliseconds))
        self.id, self._until = name, began + self._lease
        self._joined.set()
        _log.info("joined as %s", name)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                if self.id is None:
                    await self._rejoin()
                elif await self._renew(self.id):
                    if self._takes_over:
                        await self._sweep()
                else:
                    await self._cut_off("it was taken for dead by others")
            except (StoreFault, TimeoutError) as error:
                _log.warning("a heartbeat failed: %s", str(error) or type(error).__name__)

    async def _renew(self, me: str) -> bool:
        began = _clock()
        milliseconds = self._lease_ms
        renewal = self._store.apart(lambda connection: servers.renew(connection, me, self.address, milliseconds))
        async with asyncio.timeout(self._lease):
            renewed = await renewal
        if renewed and self.id == me:
            self._until = began + self._lease
        return renewed

    async def _watch(self) -> None:
        """Cut this server off one heartbeat before its lease runs out."""
        while True:
            await self._joined.wait()
            left = self._until - self._every - _clock()
            if left > 0:
                await asyncio.sleep(min(left, self._every))
            else:
                await self._cut_off("its lease could not be renewed in time")

    async def _cut_off(self, why: str) -> None:
        async with self._turning:
            if self.id is None or self._life is None:
                return
            lost, self.id = self.id, None
            self._joined.clear()
            self._leads = False
            self._store.fence(_refuse)
            _log.error("server %s is cut off: %s; its workers are killed, and it joins anew", lost, why)
            for job in self._jobs:
                job.cancel()
            await self._life.cut_off()
            await self._life.follow()

    async def _rejoin(self) -> None:
        async with self._turning:
            if self.id is not None or self._life is None:
                return
            with contextlib.suppress(StoreFault):  # when it returns, all that was written before has been refused
                await self._store.transact(lambda _: None)
            before = self._note.read_text().strip()
            await self._store.apart(lambda connection: servers.bury_one(connection, before, self._lease_ms))
            await self._join()
            await self._life.rejoined()

    async def _sweep(self) -> None:
        """Take over what has lost its server, and the lead when nobody has it."""
        me = self.id
        if me is None or self._life is None:
            return
        lease = self._lease_ms

        def work(connection: Connection) -> _Found:
            servers.hold(connection, me, lease)
            return _Found(
                servers.bury(connection, lease),
                servers.take_lease(connection, SCHEDULES, me, lease),
                servers.claim_calls(connection, me, _CLAIM_MOST),
                servers.claim_functions(connection, me),
                servers.running_elsewhere(connection, me),
            )

        asked = _clock()
        found = await self._store.apart(work)
        for server in found.buried:
            _log.warning("server %s is dead: its lease ran out", server)
        if self.id != me:  # cut off meanwhile: the next to look takes it all over
            return
        self.elsewhere = found.elsewhere
        if found.calls:
            _log.warning("taking over %d calls", len(found.calls))
            self._do(self._life.take_calls(found.calls))
        if found.functions:
            _log.warning("taking over %d deployments", len(found.functions))
            self._do(self._life.take_deployments(found.functions))
        await self._turn(found.unled, asked)

    async def _turn(self, unled: int | None, asked: float) -> None:
        life = self._life
        if life is None:
            return
        if unled is not None and not self._leads:
            self._leads = True
            grace = unled / 1000
            _log.info("fires schedules from now on; nobody is known to have done so for %.1f s", grace)
            # On a busy machine it takes a while until it does.
            self._do(life.lead(lambda: grace + _clock() - asked if grace <= _GRACE_MOST else 0.0))
        elif unled is None and self._leads:
            self._leads = False
            await life.follow()

    def _do(self, job: Coroutine[Any, Any, None]) -> None:
        """In the background, so that the next heartbeat is in time."""
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)


@dataclass(frozen=True, slots=True)
class _Found:
    buried: list[str]
    unled: int | None
    calls: dict[int, str | None]
    functions: list[int]
    elsewhere: dict[tuple[str, int], int]


def _refuse(_: Connection) -> None:
    raise FencedError("this server is cut off from the others and may not write now")


def _clock() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
