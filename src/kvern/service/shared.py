"""What a server does with all that it holds in memory when others change it, when one dies, and when it is cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kvern.engine import Engine
from kvern.service.calls import Calls
from kvern.service.changes import Changes
from kvern.service.clients import Clients
from kvern.service.deployments import Deployments
from kvern.service.functions import Functions
from kvern.service.groups import Groups
from kvern.service.schedules import Schedules
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.store import StoreFault

_AGAIN = 1.0
"""Seconds after which something is tried again that the database refused."""

_log = logging.getLogger(__name__)


class Shared:
    """Has each noun follow the feed; a `Life`."""

    def __init__(
        self,
        servers: Servers,
        changes: Changes,
        clients: Clients,
        groups: Groups,
        sessions: Sessions,
        functions: Functions,
        schedules: Schedules,
        calls: Calls,
        deployments: Deployments,
        engine: Engine,
    ) -> None:
        self._servers = servers
        self._changes = changes
        self._functions = functions
        self._schedules = schedules
        self._calls = calls
        self._deployments = deployments
        self._engine = engine
        # In this order: what comes later asks for what came before.
        changes.on("clients", clients.reload)
        changes.on("groups", groups.reload)
        changes.on("sessions", sessions.reload)
        changes.on("functions", self._reload_functions)
        changes.on("schedules", self._reload_schedules)
        changes.on("calls", calls.reload)

    async def _reload_functions(self, ids: set[str] | None) -> None:
        self._deployments.prefetch(await self._functions.reload(ids))

    async def _reload_schedules(self, ids: set[str] | None) -> None:
        await (self._schedules.load() if ids is None else self._schedules.reload([int(number) for number in ids]))

    async def cut_off(self) -> None:
        """Kill what runs and forget what waits: it is, or will be, somebody else's."""
        self._calls.cut_off()
        await self._engine.stop()
        await self._deployments.let_go()

    async def rejoined(self) -> None:
        """Read anew what others may have changed, and be ready to run calls."""
        await self._engine.start()
        await self._changes.reload_all()

    async def take_calls(self, lost: dict[int, str | None]) -> None:
        """End or run calls that are this server's now; by id, whose each was."""

        async def take() -> None:
            await self._changes.catch_up()
            await self._calls.take_over(lost)

        await self._until_done(take)

    async def take_deployments(self, functions: list[int]) -> None:
        """Deploy functions whose deployment is this server's now."""

        async def take() -> None:
            await self._changes.catch_up()
            wanted = set(functions)
            for function in self._functions.everything():
                if function.record.id in wanted and function.record.status in ("Queued", "Deploying"):
                    self._deployments.deploy(function)

        await self._until_done(take)

    async def lead(self, unled: Callable[[], float]) -> None:
        """Begin to fire schedules; those of the last seconds too for which, at that time, nobody has done so."""
        await self._until_done(lambda: self._schedules.lead(unled))

    async def follow(self) -> None:
        """Stop firing schedules."""
        await self._schedules.follow()

    async def _until_done(self, job: Callable[[], Awaitable[None]]) -> None:
        """Again and again while the database refuses, as long as this server is the one that it was."""
        me = self._servers.id
        while self._servers.id == me:
            try:
                await job()
                return
            except StoreFault as error:
                _log.error("taking over did not work, trying again: %s", error)
                await asyncio.sleep(_AGAIN)
