"""Ticking: which schedules are due now, and which were due while nobody looked.

what happens to the clock                   | due times in between       | those after it
--------------------------------------------|----------------------------|-----------------------------
the service was busy for up to a minute     | are fired late             | as if nothing had happened
it was set forward, or the machine slept    | of the last minute: late;  | as if nothing had happened
                                            | before that: missed        |
it was set back                             | come again; those that     | fire when it shows them
                                            | have a call stay as is     |
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Mapping

from kvern.service.calls import Calls
from kvern.service.clock import Clock
from kvern.service.cron import next_due
from kvern.service.firing import Firing
from kvern.service.functions import Functions
from kvern.service.missed import DOWN, Missed
from kvern.service.shots import Due, ahead, span
from kvern.store import StoreFault
from kvern.store.schedules import ScheduleRecord
from kvern.wire.errors import NotFoundError

LATE_MOST = 60_000
"""Milliseconds after its due time until which a call is made late; what is longer ago was missed."""

_AHEAD = 2000
"""Milliseconds before a moment in which its calls are made ready."""

_AGAIN = 1.0
"""Seconds of rest after a fault."""

_AT_ONCE = 20
"""Calls that are made ready before others have their turn."""

_log = logging.getLogger(__name__)


class Ticker:
    """Waits for the next due time of all schedules, and hands it to `Firing`, or to `Missed`.

    Args:
        records: the schedules that are live; the caller keeps it.
    """

    def __init__(
        self,
        clock: Clock,
        functions: Functions,
        calls: Calls,
        firing: Firing,
        missed: Missed,
        records: Mapping[int, ScheduleRecord],
    ) -> None:
        self._clock = clock
        self._functions = functions
        self._calls = calls
        self._firing = firing
        self._missed = missed
        self._records = records
        self._due: list[tuple[int, int]] = []
        self._planned: dict[int, int] = {}
        self._ready_for = 0
        self._ready: dict[int, tuple[Due, int | None]] = {}
        self._set = (0, "")
        """When the clock was set forward last, and by how much in words."""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def ticks(self) -> bool:
        """Whether it has been started."""
        return self._task is not None

    def start(self, grace: int) -> None:
        """Begin with all schedules where the ledger ends.

        Args:
            grace: ms; what was due no longer ago is fired late, whatever the schedule says of missed due times.
        """
        self._clock.was_set()  # what was before is no news
        known = self._clock.now() - grace
        for record in self._records.values():
            accounted = record.accounted_until
            if accounted is None:  # of a version that kept no ledger
                accounted = record.accounted_until = self._clock.now()
            due = next_due(record.cron_expression, accounted, record.time_zone)
            if due is not None and due <= known:
                self._missed.account(record, accounted, known, DOWN)
                self.plan(record, known)
            else:
                self.plan(record, min(accounted, self._clock.now()))
        self._task = asyncio.create_task(self._run(), name="schedules")

    async def stop(self) -> None:
        """Stop; harmless when it was not started."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._due.clear()
        self._planned.clear()
        self._ready.clear()

    def plan(self, record: ScheduleRecord, after: int) -> None:
        """Have a schedule fired at its first due time after a moment (ms)."""
        self._enter(record.id, next_due(record.cron_expression, after, record.time_zone))

    def _enter(self, schedule_id: int, due: int | None) -> None:
        if due is None:
            self._planned.pop(schedule_id, None)
            return
        self._planned[schedule_id] = due
        heapq.heappush(self._due, (due, schedule_id))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Exception:  # whatever it is: an end of this task would be the end of all schedules
                _log.exception("ticking met a fault, and goes on")
                await asyncio.sleep(_AGAIN)

    async def _step(self) -> None:
        self._changed.clear()
        self._look_at_the_clock()
        if not self._due:
            await self._changed.wait()
            return
        moment = self._due[0][0]
        left = moment - self._clock.now()
        if left <= 0:
            self._reach(moment)
        elif left > _AHEAD:
            await self._until(moment - _AHEAD)
        elif self._ready_for != moment:
            await self._make_ready(moment)
        else:
            await self._until(moment)

    def _look_at_the_clock(self) -> None:
        jumped = self._clock.was_set()
        now = self._clock.now()
        if jumped > 0:
            self._set = (now, f"the clock was set forward by {span(jumped)}")
            _log.warning("the clock was set forward by %s", span(jumped))
        elif jumped < 0:
            _log.warning("the clock was set back by %s", span(-jumped))
            self._due.clear()
            self._ready_for = 0
            for record in self._records.values():
                self.plan(record, now)

    async def _until(self, moment: int) -> None:
        """Wait for a moment, or for a schedule that may be due before it."""
        sleep = asyncio.ensure_future(self._clock.sleep_until(moment))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleep, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            change.cancel()

    async def _make_ready(self, moment: int) -> None:
        """Do ahead what can be done ahead, a little at a time."""
        self._ready_for = moment
        self._ready.clear()
        ids = [schedule_id for due, schedule_id in self._due if due == moment]
        for number, schedule_id in enumerate(ids):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            record = self._records.get(schedule_id)
            if record is None or self._planned.get(schedule_id) != moment:
                continue
            due = Due(record, moment)
            try:
                function = self._functions.get(record.project, record.function_id)
                due.shot = ahead(self._calls, function, record, moment)
            except (NotFoundError, StoreFault):  # that is for when it is due
                pass
            self._ready[schedule_id] = due, next_due(record.cron_expression, moment, record.time_zone)

    def _reach(self, moment: int) -> None:
        dues: list[Due] = []
        following: list[tuple[int, int | None]] = []
        now = self._clock.now()
        missed = now - LATE_MOST
        noticed, why = self._set
        cause = why if moment <= noticed else None
        while self._due and self._due[0][0] == moment:
            _, schedule_id = heapq.heappop(self._due)
            record = self._records.get(schedule_id)
            if record is None or self._planned.get(schedule_id) != moment:
                continue
            if moment < missed:
                self._missed.account(record, moment - 1, missed, f"missed: {cause or 'the service was busy'}")
                following.append((schedule_id, next_due(record.cron_expression, missed, record.time_zone)))
                continue
            ready = self._ready.pop(schedule_id, None) if self._ready_for == moment else None
            if ready is None or ready[0].record is not record:
                ready = Due(record, moment), next_due(record.cron_expression, moment, record.time_zone)
            dues.append(ready[0])
            following.append((schedule_id, ready[1]))
        if dues:
            self._firing.fire(dues, cause)
        for schedule_id, due in following:
            self._enter(schedule_id, due)
