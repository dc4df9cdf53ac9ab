"""Calls that are run again together: all are accepted in one transaction, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from kvern.store import Row, Store, calls
from kvern.wire.errors import ConflictError


class Redrive:
    """Some calls whose attempts are used up, each of which another one runs again.

    Args:
        count: how many they are.
    """

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._count = count
        self._rows: list[Mapping[str, object]] = []
        self._sessions: list[Row] = []
        self._kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def keep(self, row: Mapping[str, object], session: Sequence[Row]) -> None:
        """Accept the call of a row of `store.calls.ACCEPT_MARKED`, when all of them have come.

        Args:
            session: the rows of the session that is its alone.

        Raises:
            ConflictError: some of those that they run again were not, or no longer, such calls.
            StoreFault: they could not be kept.
        """
        self._rows.append(row)
        self._sessions += session
        if len(self._rows) == self._count and not self._kept.done():
            self._task = asyncio.create_task(self._keep_all(), name="redrive")
        await asyncio.shield(self._kept)

    def give_up(self, error: BaseException) -> None:
        """One of the calls does not come: none is accepted. Too late, and harmless, when all have."""
        if self._task is None and not self._kept.done():
            self._kept.set_exception(error)
            self._kept.exception()

    def _accepted(self, connection: Connection) -> list[int]:
        others = calls.redrive(connection, self._rows)
        for statement, row in self._sessions if not others else ():
            connection.execute(statement, [row])
        return others

    async def _keep_all(self) -> None:
        try:
            others = await self._store.transact(self._accepted)
            if others:
                raise ConflictError(f"Expected calls whose attempts are used up, and {others} are not such any more")
        except BaseException as error:
            self._kept.set_exception(error)
            self._kept.exception()  # whoever waits is told
        else:
            self._kept.set_result(None)
