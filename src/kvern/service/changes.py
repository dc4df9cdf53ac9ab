"""What other servers change of that which this one holds in memory; read from the feed, soon after it was committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sqlalchemy import Connection

from kvern.service.servers import Servers
from kvern.store import Store, StoreFault, changes
from kvern.store.changes import Change

POLL = 0.5
"""Seconds between two looks when nothing is heard."""

_SETTLE_MS = 60_000
"""Nobody's transaction takes longer; a number that is still missing then was rolled back."""

_KEEP_MS = 600_000
_MISSING_MOST = 2000

Reload: TypeAlias = Callable[[set[str] | None], Awaitable[None]]
"""Reads rows anew: those with these keys, or all of the noun when there is None."""

_log = logging.getLogger(__name__)


class Changes:
    """Follows the feed. Where the store is not shared, there is none, and nothing is asked.

    Args:
        servers: tells who this server is: what it changed itself is not read anew.
    """

    def __init__(self, store: Store, servers: Servers) -> None:
        self._store = store
        self._servers = servers
        self._reloads: dict[str, Reload] = {}
        self._last = 0
        self._missing: dict[int, int] = {}
        """Numbers that were passed over, each with the time (the database's, in ms) at which that was seen."""
        self._looked = 0.0
        self._busy = asyncio.Lock()
        self._asked = self._answered = 0
        self._heard = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self.taken_up = 0
        """Grows whenever changes of others were taken up."""

    def on(self, noun: str, reload: Reload) -> None:
        """Have `reload` awaited for changes of a table."""
        self._reloads[noun] = reload

    async def start(self) -> None:
        """Note where the feed stands; before anything is read that it tells of."""
        if self._store.shared:
            self._last = await self._store.read(lambda connection: changes.settled(connection, _SETTLE_MS))
            self._looked = _now()

    def follow(self) -> None:
        """Look from now on whenever something is heard, and every `POLL` seconds."""
        if self._store.shared:
            self._store.listen(self._heard.set)
            self._follower = asyncio.create_task(self._follow(), name="changes")

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def catch_up(self) -> None:
        """Take up all that was committed before this was asked. Raises `StoreFault`."""
        if not self._store.shared:
            return
        self._asked += 1
        mine = self._asked
        async with self._busy:
            if self._answered < mine:  # no look has begun since this was asked
                asked = self._asked
                await self._look()
                self._answered = asked

    async def reload_all(self) -> None:
        """Read anew whatever is held in memory."""
        for reload in self._reloads.values():
            await reload(None)

    async def _follow(self) -> None:
        pruned = _now()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._heard.wait()
            self._heard.clear()
            try:
                await self.catch_up()
                if self._servers.leads and _now() - pruned > _SETTLE_MS / 1000:
                    pruned = _now()
                    await self._store.transact(lambda connection: changes.forget_before(connection, _KEEP_MS))
            except StoreFault as error:
                _log.warning("changes of other servers cannot be read now: %s", error)
                await asyncio.sleep(POLL)
            except Exception:
                _log.exception("changes of other servers met a fault")
                await asyncio.sleep(POLL)

    async def _look(self) -> None:
        began = _now()
        behind = began - self._looked > _KEEP_MS / 2000
        last, missing = self._last, list(self._missing)

        def work(connection: Connection) -> list[Change]:
            return changes.after(connection, last, missing)

        found = await self._store.read(work)
        if behind:
            self._last = max([last, *(change.number for change in found)])
            self._missing.clear()
            await self.reload_all()
        else:
            self._note(found)
            await self._take_up([change for change in found if change.server != (self._servers.id or "-")])
        self.taken_up += behind or bool(found)
        self._looked = began

    def _note(self, found: list[Change]) -> None:
        for change in found:
            self._missing.pop(change.number, None)
            if change.number > self._last:
                passed = range(max(self._last + 1, change.number - _MISSING_MOST), change.number)
                self._missing.update(dict.fromkeys(passed, change.time))
                self._last = change.number
        if found:
            newest = found[-1].time
            for number in [number for number, time in self._missing.items() if newest - time > _SETTLE_MS]:
                del self._missing[number]

    async def _take_up(self, found: list[Change]) -> None:
        keys: dict[str, set[str]] = {}
        for change in found:
            keys.setdefault(change.noun, set()).add(change.key)
        # Who may do what comes first: what follows may ask for it.
        for noun in sorted(keys, key=lambda noun: list(self._reloads).index(noun) if noun in self._reloads else -1):
            if noun in self._reloads:
                await self._reloads[noun](keys[noun])


def _now() -> float:
    return asyncio.get_running_loop().time()
