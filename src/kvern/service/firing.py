"""Firing: what becomes of a due time, kept in one transaction with the call that it makes.

what is met at the due time                      | call           | tick
-------------------------------------------------|----------------|---------------------------------
nothing stands against it                        | made           | ran, or late when it is late
the schedule is paused                           | none           | skipped
the function is not Ready                        | none           | skipped
an earlier call still runs, and overlap is skip  | none           | skipped
an earlier call still runs, and overlap is queue | when it ended  | queued, then late
too many calls run, or the session has ended     | made as Failed | skipped
the store refuses                                | none           | that of a missed due time, later
it has its tick already (the clock was set back) | none           | stays as it is
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kvern.service.calls import Calls
from kvern.service.clock import Clock
from kvern.service.functions import Functions, LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.sessions import Sessions
from kvern.service.shots import Due, Shot, skipped, span, standing_against, take
from kvern.store import Store, ticks
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord
from kvern.wire.errors import ConflictError, NotFoundError

QUEUE_MOST = 100
"""Due times of one schedule that may wait for the call before them."""

_log = logging.getLogger(__name__)


class Firing:
    """Makes the calls of due times.

    Args:
        enqueue: told of each tick that has to wait.
        waiting: how many ticks of a schedule wait.
        unkept: told of each due time that the store refused, with why.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        functions: Functions,
        calls: Calls,
        sessions: Sessions,
        *,
        enqueue: Callable[[TickRecord], None],
        waiting: Callable[[int], int],
        unkept: Callable[[ScheduleRecord, int, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._functions = functions
        self._calls = calls
        self._sessions = sessions
        self._enqueue = enqueue
        self._waiting = waiting
        self._unkept = unkept
        self._tasks: set[asyncio.Task[None]] = set()
        self.unsettled: Counter[int] = Counter()
        """Of each schedule, how many due times or runs of them have no tick yet: until then none after is accounted."""

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def settle(self) -> None:
        """Return when what was fired is kept, or was refused."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def fire(self, dues: Sequence[Due], cause: str | None) -> None:
        """Make the calls of one moment, in one transaction; those that need a look into the store follow on their own.

        Args:
            dues: all of one time.
            cause: why it is late, if it is.
        """
        at_once: list[Shot] = []
        looking: list[Due] = []
        accounted: list[int] = []
        functions: dict[int, LiveFunction | None] = {}
        for due in dues:
            record = due.record
            if record.function_id not in functions:
                functions[record.function_id] = self._function(record)
            function = functions[record.function_id]
            if function is None:
                continue
            skip = standing_against(record, function)
            again = record.accounted_until is not None and due.time <= record.accounted_until
            overlaps = record.overlap in ("skip", "queue")
            if again or (skip is None and (overlaps or self._sessions.get(record.session_id) is None)):
                looking.append(due)
            else:
                try:
                    shot = take(self._calls, due, function) if skip is None else skipped(record, due.time, skip)
                except Exception as error:
                    _log.error("schedule %s met a fault: %s", record.id, error)
                    self._unkept(record, due.time, str(error))
                    continue
                at_once.append(shot)
                if not self.unsettled.get(record.id):
                    accounted.append(record.id)
            self.unsettled[record.id] += 1
        moment = self._clock.now()
        for shot in at_once:
            shot.stamp(moment, cause)
        if at_once:
            self._spawn(self._keep_all(at_once, accounted))
        if looking:
            self._spawn(self._look(looking, cause))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name="fire")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("firing met a fault", exc_info=fault)

    def _function(self, record: ScheduleRecord) -> LiveFunction | None:
        """None when it is gone, and the schedule with it."""
        try:
            function = self._functions.get(record.project, record.function_id)
        except NotFoundError:
            return None
        return None if function.deleted else function

    async def _keep_all(self, shots: list[Shot], accounted: list[int]) -> None:
        """All of a moment; one by one when one of them was fired already."""
        records = [shot.tick for shot in shots]
        rows = [shot.row for shot in shots if shot.row is not None]
        until = records[0].due_time

        def work(connection: Connection) -> None:
            ticks.keep(connection, records, rows)
            ticks.account(connection, accounted, until)

        try:
            await self._store.transact(work)
        except IntegrityError:
            its = set(accounted)
            await asyncio.gather(*(self._keep(shot, accounts=shot.record.id in its) for shot in shots))
        except Exception as error:
            _log.error("the calls of %s that were due could not be kept: %s", len(shots), error)
            await asyncio.gather(*(self._lose(shot, error) for shot in shots))
        else:
            its = set(accounted)
            for shot in shots:
                self._settled(shot, accounts=shot.record.id in its)

    async def _keep(self, shot: Shot, *, accounts: bool) -> None:
        """One that may have its tick already."""
        tick, row = shot.tick, shot.row

        def work(connection: Connection) -> bool:
            new = ticks.settle(connection, tick, row)
            if accounts:
                ticks.account(connection, [tick.schedule_id], tick.due_time)
            return new

        try:
            new = await self._store.transact(work)
        except IntegrityError:  # another server was faster
            await self._drop(shot)
        except Exception as error:
            _log.error("the call of schedule %s could not be kept: %s", tick.schedule_id, error)
            await self._lose(shot, error)
        else:
            if new:
                self._settled(shot, accounts=accounts)
            else:
                await self._drop(shot)

    def _settled(self, shot: Shot, *, accounts: bool) -> None:
        record, tick = shot.record, shot.tick
        self._close(record.id)
        if accounts:
            record.accounted_until = max(record.accounted_until or 0, tick.due_time)
        if tick.outcome == "queued":
            self._enqueue(tick)
            return
        self._calls.observer.ticked(record, tick, shot.call)
        if shot.call is not None:
            self._calls.run(shot.call)

    async def _drop(self, shot: Shot) -> None:
        if shot.call is not None:
            await self._turn_away(shot.call, shot.tick)
        self._close(shot.record.id)

    async def _turn_away(self, call: LiveCall, tick: TickRecord) -> None:
        """The due time has its call already."""
        error = ConflictError(f"Schedule {tick.schedule_id} fired {tick.due_time} before")
        await self._calls.turn_away(call, error, in_doubt=False)

    async def _lose(self, shot: Shot, error: Exception) -> None:
        if shot.call is not None:
            await self._calls.turn_away(shot.call, error, in_doubt=True)
        self._unkept(shot.record, shot.tick.due_time, str(error))
        self._close(shot.record.id)

    def _close(self, schedule_id: int) -> None:
        self.unsettled[schedule_id] -= 1
        if not self.unsettled[schedule_id]:
            del self.unsettled[schedule_id]

    async def _look(self, dues: list[Due], cause: str | None) -> None:
        """Those that depend on what the store knows."""
        try:
            running = await self.running([due.record for due in dues if due.record.overlap in ("skip", "queue")])
        except Exception as error:
            _log.error("whether earlier calls run is not known: %s", error)
            for due in dues:
                self._unkept(due.record, due.time, str(error))
                self._close(due.record.id)
            return
        await asyncio.gather(*(self._fire_alone(due, running.get(due.record.id), cause) for due in dues))

    async def _fire_alone(self, due: Due, running: int | None, cause: str | None) -> None:
        record = due.record
        again = record.accounted_until is not None and due.time <= record.accounted_until
        accounts = not again and self.unsettled[record.id] == 1
        try:
            shot = await self._aimed(due, running, cause)
        except Exception as error:
            self._unkept(record, due.time, str(error))
            self._close(record.id)
            return
        if shot is None:
            self._close(record.id)
        else:
            await self._keep(shot, accounts=accounts)

    async def _aimed(self, due: Due, running: int | None, cause: str | None) -> Shot | None:
        record = due.record
        refusal = await self._session_refusal(record)
        function = self._function(record)
        if function is None:
            return None
        skip = standing_against(record, function)
        overlaps = record.overlap in ("skip", "queue")
        if skip is None and overlaps and (running is not None or self._waiting(record.id)):
            reason = "earlier due times wait" if running is None else f"call {running} still ran"
            if record.overlap == "queue" and self._waiting(record.id) < QUEUE_MOST:
                tick = TickRecord(schedule_id=record.id, due_time=due.time, outcome="queued", reason=reason)
                return Shot(record, tick)
            skip = f"{QUEUE_MOST} earlier due times wait" if record.overlap == "queue" else reason
        if skip is not None:
            return skipped(record, due.time, skip)
        shot = take(self._calls, due, function, refusal)
        shot.stamp(self._clock.now(), cause)
        return shot

    async def _session_refusal(self, record: ScheduleRecord) -> str | None:
        if self._sessions.get(record.session_id) is not None:
            return None
        return f"{await self._sessions.why_ended(record.session_id)}; create the schedule anew"

    async def running(self, records: Iterable[ScheduleRecord]) -> dict[int, int]:
        """Of these schedules, those of which a call has not ended, here or on another server, with that call's id."""
        ids = [record.id for record in records]
        if not ids:
            return {}
        found = await self._store.read(lambda connection: ticks.running(connection, ids))
        for schedule_id in ids:
            for call in self._calls.of_schedule(schedule_id):
                found[schedule_id] = call.record.id
        return found

    async def fire_queued(self, record: ScheduleRecord, tick: TickRecord) -> LiveCall | None:
        """Fire a tick that waited, whose turn has come; its call, when it runs.

        Raises:
            StoreFault: nothing was kept; the tick still waits.
        """
        refusal = await self._session_refusal(record)
        function = self._function(record)
        if function is None:
            return None
        now = self._clock.now()
        skip = standing_against(record, function)
        if skip is not None:
            shot = skipped(record, tick.due_time, skip)
        else:
            shot = take(self._calls, Due(record, tick.due_time), function, refusal)
            shot.stamp(now, None)
        if shot.call is not None:
            shot.tick.outcome = "late"
            shot.tick.reason = f"{tick.reason}; fired {span(now - tick.due_time)} late"
        else:
            shot.tick.reason = f"{tick.reason}; then {shot.tick.reason}"
        try:
            fired = await self._store.transact(lambda c: ticks.settle_queued(c, shot.tick, shot.row))
        except IntegrityError:  # another server was faster
            fired = False
        except BaseException as error:
            if shot.call is not None:
                await self._calls.turn_away(shot.call, error, in_doubt=True)
            raise
        if shot.call is None:
            return None
        if not fired:
            await self._turn_away(shot.call, tick)
            return None
        self._calls.run(shot.call)
        return shot.call
