"""Due times that passed and that nobody fired: each gets its tick, and is made up for if its schedule says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from kvern.service.clock import Clock
from kvern.service.cron import due_times
from kvern.service.firing import Firing
from kvern.service.shots import PAUSED, span
from kvern.store import Store, StoreFault, ticks
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord

DOWN = "missed while the service was down"

_DAY = 86_400_000
_PORTION = 500
"""Ticks of one transaction: calls in flight go between them."""

_RETRY = 1.0
"""Seconds until a store that refused is asked again."""

_log = logging.getLogger(__name__)


class Missed:
    """Accounts for what was missed, in portions, while the service goes on.

    Args:
        retention: ms for which ticks are kept; what was due before that needs none.
        enqueue: told of each tick that is to be made up for.
    """

    def __init__(
        self, store: Store, clock: Clock, firing: Firing, retention: int, enqueue: Callable[[TickRecord], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._firing = firing
        self._retention = retention
        self._enqueue = enqueue
        self._last: dict[int, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._last)

    def account(self, record: ScheduleRecord, after: int, until: int, cause: str) -> None:
        """See that each due time after one moment and up to another (ms) has its tick."""
        self._firing.unsettled[record.id] += 1
        task = asyncio.create_task(
            self._in_turn(self._last.get(record.id), record, after, until, cause), name=f"missed-{record.id}"
        )
        self._last[record.id] = task
        task.add_done_callback(lambda done: self._done(record.id, done))

    def _done(self, schedule_id: int, task: asyncio.Task[None]) -> None:
        if self._last.get(schedule_id) is task:
            del self._last[schedule_id]
        self._firing.unsettled[schedule_id] -= 1
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("accounting for missed due times met a fault", exc_info=fault)

    async def stop(self) -> None:
        """Break off; the next who leads goes on where this ended."""
        tasks = list(self._last.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(
        self, before: asyncio.Task[None] | None, record: ScheduleRecord, after: int, until: int, cause: str
    ) -> None:
        if before is not None:
            await asyncio.wait((before,))
        after = max(after, self._clock.now() - self._retention)
        earliest = max(after, until - _window(record) - 1)
        made_up = await self._made_up(record, earliest, until)
        portion: list[TickRecord] = []
        for due in due_times(record.cron_expression, after, record.time_zone):
            if due > until:
                break
            portion.append(_tick(record, due, cause, made_up, earliest))
            if len(portion) == _PORTION:
                await self._keep(record, portion, due)
                portion = []
        await self._keep(record, portion, until)

    async def _made_up(self, record: ScheduleRecord, earliest: int, until: int) -> range:
        """The span in which due times are made up for; it begins after `earliest`."""
        if record.missed == "all":
            return range(earliest + 1, until + 1)
        if record.missed != "last":
            return range(0)
        last = None
        for number, due in enumerate(due_times(record.cron_expression, earliest, record.time_zone)):
            if due > until or _is_paused(record, due):
                break
            last = due
            if number % 1000 == 999:
                await asyncio.sleep(0)
        return range(0) if last is None else range(last, last + 1)

    async def _keep(self, record: ScheduleRecord, portion: list[TickRecord], until: int) -> None:
        while portion:
            # Between what is missed and what is being fired there must be no gap when the service goes down now.
            accounts = until if self._firing.unsettled[record.id] == 1 else 0
            work = partial(ticks.keep_missed, records=portion, until=accounts)
            try:
                new = await self._store.transact(work)
            except StoreFault as error:
                _log.error("the missed due times of schedule %s cannot be kept now: %s", record.id, error)
                await asyncio.sleep(_RETRY)
                continue
            if accounts:
                record.accounted_until = max(record.accounted_until or 0, until)
            for tick in new:
                if tick.outcome == "queued":
                    self._enqueue(tick)
            return


def _window(record: ScheduleRecord) -> int:
    return _DAY if record.missed_window is None else record.missed_window


def _is_paused(record: ScheduleRecord, due: int) -> bool:
    return record.paused_time is not None and due > record.paused_time


def _tick(record: ScheduleRecord, due: int, cause: str, made_up: range, earliest: int) -> TickRecord:
    tick = TickRecord(schedule_id=record.id, due_time=due, outcome="skipped", reason=cause)
    if _is_paused(record, due):
        tick.reason = PAUSED
    elif due in made_up:
        tick.outcome = "queued"
    elif record.missed in ("last", "all"):
        longer = f"longer ago than {span(_window(record))}"
        tick.reason = f"{cause}; {longer if due <= earliest else 'only the last one is made up for'}"
    return tick
