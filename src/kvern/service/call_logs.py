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
        self._unkept: list[tuple[int, dict[str, object]]] = []
        """Rows that are to be written, each with its function."""
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name="call-logs")

    def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()

    def forget(self, functions: set[int]) -> None:
        """The functions with these ids are deleted, and their calls with them."""
        self._unkept = [(number, row) for number, row in self._unkept if number not in functions]

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOG_EVERY)
            for call in list(self._live()):
                row = call.unkept_log()
                if row is not None:
                    self._unkept.append((call.record.function_id, row))
            while self._unkept:
                _, row = first = self._unkept[0]
                try:
                    await self._store.write(calls.LOG, row)
                except StoreFault as error:
                    _log.error("log lines of call %s cannot be kept now: %s", row["call_id"], error)
                    break
                if self._unkept and self._unkept[0] is first:
                    self._unkept.pop(0)
