"""Retention: calls with their logs, and the ledger of ticks, are kept for a time and up to a size.

Whatever there is to delete, it goes in steps that take the journal some milliseconds, and between two of them is
six times as long for everybody else: calls wait for a step at most, never for the whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sqlalchemy import Connection

from kvern.service.clock import Clock
from kvern.service.metrics import Metrics
from kvern.settings import Settings
from kvern.store import Store, ticks, upkeep

STEP_ROWS = 500
STEP_SECONDS = 0.005
_STEP_PAGES = 256
_REST_LEAST, _REST_TIMES = 0.02, 6

_DAY_MS = 24 * 3_600_000

_log = logging.getLogger(__name__)


class Retention:
    """Deletes what need not be kept any more, and gives the space back.

    Args:
        settings: `retention_days`, `retention_gb`.
        metrics: is told of every step.
    """

    def __init__(self, store: Store, clock: Clock, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._told = False

    async def sweep(self, now: int | None = None) -> None:
        """Delete what is too old or too much.

        Args:
            now: ms since the epoch; None takes the clock's.

        Raises:
            StoreFault: the database refused; what was deleted by then stays deleted.
        """
        before = (self._clock.now() if now is None else now) - int(self._settings.retention_days * _DAY_MS)
        while await self._step("calls", lambda c: upkeep.forget_calls(c, before, STEP_ROWS, STEP_SECONDS)):
            pass
        while await self._step("ticks", lambda c: ticks.forget_before(c, before, STEP_ROWS)):
            pass
        await self._keep_to_size()
        while await self._step("", lambda c: int(upkeep.give_back(c, _STEP_PAGES))):
            pass

    async def _keep_to_size(self) -> None:
        used = await self._used()
        most = int(self._settings.retention_gb * 1_000_000_000)
        if not most:
            return
        if used is None:
            if not self._told:
                _log.warning("retention-gb has no effect: this database does not tell what it holds")
            self._told = True
            return
        count = 0
        while used is not None and used > most:
            gone = await self._step("calls", lambda c: upkeep.forget_calls(c, None, STEP_ROWS, STEP_SECONDS))
            if not gone:
                break
            count += gone
            used = await self._used()
        if count:
            _log.info("forgot the %d oldest calls: the database held more than %g GB", count, most / 1e9)

    async def _used(self) -> int | None:
        used = await self._store.read(upkeep.used_bytes)
        if used is not None:
            self._metrics.stored.set(used)
        return used

    async def _step(self, what: str, work: Callable[[Connection], int]) -> int:
        """Do a part of the work, then let others go first; how many rows it was."""

        def timed(connection: Connection) -> tuple[int, float]:
            began = time.perf_counter()
            return work(connection), time.perf_counter() - began

        count, took = await self._store.transact(timed)
        if not count:
            return 0
        if what:
            self._metrics.forgotten(what, count, took)
        await asyncio.sleep(max(_REST_LEAST, _REST_TIMES * took))
        return count
