"""Logs of calls that run: written every moment, so that they survive a crash of the service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from kvern.service.live_calls import LiveCall
from kvern.store import Store, StoreFault, calls

_LOG_EVERY = 2.0
"""Seconds between two looks for lines that are not kept yet."""

_log = logging.getLogger(__name__)


class CallLogs:
    """Keeps the lines of `live` calls; the last ones of a call are written with its end."""

    def __init__(self, store: Store, live: Callable[[], Iterable[LiveCall]]) -> None:
        self._store = store
        self._live = live
        self._unkept: list[dict[str, object]] = []
        """Rows that are to be written; the first of them may just be on its way."""
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name="call-logs")

    def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()

    def take(self, call_id: int) -> list[dict[str, object]]:
        """The rows of a call that are not known to be kept: who ends the call writes them with its end."""
        if not self._unkept:
            return []
        taken = [row for row in self._unkept if row["call_id"] == call_id]
        self._unkept = [row for row in self._unkept if row["call_id"] != call_id]
        return taken

    def forget(self) -> None:
        """The calls are other servers' now, and their lines with them."""
        self._unkept.clear()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOG_EVERY)
            for call in list(self._live()):
                row = None if call.lost else call.unkept_log()
                if row is not None:
                    self._unkept.append(row)
            while self._unkept:
                row = self._unkept[0]
                try:
                    await self._store.write(calls.LOG, row)
                except StoreFault as error:
                    _log.error("log lines of call %s cannot be kept now: %s", row["call_id"], error)
                    break
                if self._unkept and self._unkept[0] is row:
                    self._unkept.pop(0)
