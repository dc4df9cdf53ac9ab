"""Ticks that wait: for the call before them, or to be made up for. Each schedule's go one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping

from kvern.service.calls import Calls
from kvern.service.firing import Firing
from kvern.service.live_calls import LiveCall
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord

_AGAIN = 1.0
"""Seconds until a store that refused, or a call that runs on another server, is looked at again."""

_log = logging.getLogger(__name__)


class Queued:
    """The ticks that wait, in memory as in the ledger; a task for each schedule that has some.

    `firing` is set before the first tick comes.
    """

    firing: Firing

    def __init__(self, calls: Calls, records: Mapping[int, ScheduleRecord]) -> None:
        self._calls = calls
        self._records = records
        self._queues: dict[int, deque[TickRecord]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def waiting(self, schedule_id: int) -> int:
        """How many ticks of a schedule wait."""
        return len(self._queues.get(schedule_id, ()))

    def add(self, tick: TickRecord) -> None:
        """Have a tick fired, after those of its schedule that wait already."""
        schedule_id = tick.schedule_id
        self._queues.setdefault(schedule_id, deque()).append(tick)
        if schedule_id not in self._tasks:
            self._tasks[schedule_id] = asyncio.create_task(self._work(schedule_id), name=f"queued-{schedule_id}")

    def drop(self, schedule_id: int) -> None:
        """Forget what waits of a schedule; the ledger says already how it ended."""
        if schedule_id in self._queues:
            self._queues[schedule_id].clear()

    async def stop(self) -> None:
        """Break off; the ticks still wait in the ledger."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, schedule_id: int) -> None:
        try:
            await self._work_off(schedule_id, self._queues[schedule_id])
        finally:
            del self._tasks[schedule_id]
            del self._queues[schedule_id]

    async def _work_off(self, schedule_id: int, queue: deque[TickRecord]) -> None:
        made_up: LiveCall | None = None
        while queue and (record := self._records.get(schedule_id)) is not None:
            try:
                await self._turn(record, made_up)
                if not queue:
                    return
                tick = queue[0]
                made_up = await self._fire(record, tick)
            except Exception as error:
                _log.error("a tick of schedule %s that waits cannot be fired now: %s", schedule_id, error)
                await asyncio.sleep(_AGAIN)
                continue
            if queue and queue[0] is tick:
                queue.popleft()

    async def _fire(self, record: ScheduleRecord, tick: TickRecord) -> LiveCall | None:
        """Not to be broken off: what is kept must run."""
        firing = asyncio.ensure_future(self.firing.fire_queued(record, tick))
        try:
            return await asyncio.shield(firing)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await firing
            raise

    async def _turn(self, record: ScheduleRecord, made_up: LiveCall | None) -> None:
        if made_up is not None:
            await asyncio.wait((made_up.ended,))
        while record.overlap in ("skip", "queue"):
            here = self._calls.of_schedule(record.id)
            if here:
                await asyncio.wait([call.ended for call in here])
            elif await self.firing.running([record]):
                await asyncio.sleep(_AGAIN)
            else:
                return
