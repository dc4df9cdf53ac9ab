"""Schedules: cron rules that make ordinary calls (contract 5, 11.6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import cast

import msgspec
from sqlalchemy import Connection

from kvern.service.calls import Calls
from kvern.service.clock import Clock
from kvern.service.cron import check_cron, check_zone, describe
from kvern.service.firing import Firing
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import Principal
from kvern.service.missed import Missed
from kvern.service.queued import Queued
from kvern.service.ranges import in_range
from kvern.service.sessions import Sessions
from kvern.service.shots import PAUSED
from kvern.service.ticking import Ticker
from kvern.settings import Settings
from kvern.store import Store, StoreFault, schedules, ticks
from kvern.store.schedules import ScheduleRecord
from kvern.wire import schedules as wire
from kvern.wire.base import ByIdOrExternalId, page_size
from kvern.wire.errors import InvalidError, NotFoundError, TooLargeError, UnknownItemsError

LIST_MOST = 10_000

_DAY = 86_400_000


class Schedules:
    """The schedules of a service; when it leads, it makes their calls when they are due.

    Of several services on one database one leads. The others know the schedules and change them.
    """

    def __init__(
        self, store: Store, clock: Clock, functions: Functions, calls: Calls, sessions: Sessions, settings: Settings
    ) -> None:
        self._store = store
        self._clock = clock
        self._functions = functions
        self._sessions = sessions
        self._settings = settings
        self._live: dict[int, ScheduleRecord] = {}
        self._deleted: set[int] = set()
        """Schedules that were deleted while they were being loaded."""
        self._arriving: list[tuple[str, LiveFunction]] = []
        """Project and function of schedules that are being written: they count before they are here."""
        self._queued = queued = Queued(calls, self._live)
        self._firing = firing = Firing(
            store,
            clock,
            functions,
            calls,
            sessions,
            enqueue=queued.add,
            waiting=queued.waiting,
            unkept=lambda record, due, why: self._missed.account(record, due - 1, due, f"missed: {why}"),
        )
        queued.firing = firing
        self._missed = Missed(store, clock, firing, int(settings.retention_days * _DAY), queued.add)
        self._ticker = Ticker(clock, functions, calls, firing, self._missed, self._live)
        self._turn = asyncio.Lock()
        functions.after_delete(self._drop_theirs)

    @property
    def busy(self) -> bool:
        """Whether due times that have passed are being written."""
        return self._firing.busy or self._missed.busy

    async def start(self) -> None:
        """Load all schedules, and fire them."""
        await self.lead()

    async def lead(self, unled: Callable[[], float] = lambda: 0.0) -> None:
        """Begin to fire, after accounting for what was due since the ledger ends; harmless when it does already.

        Args:
            unled: seconds; due times that nobody fired and that are no longer ago than this are fired late, as when a
                server takes over from one that died. What is longer ago was missed.
        """
        async with self._turn:
            if self._ticker.ticks:
                return
            await self._load()
            for tick in await self._store.read(ticks.queued):
                if tick.schedule_id in self._live:
                    self._queued.add(tick)
            self._ticker.start(int(unled() * 1000))

    async def follow(self) -> None:
        """Stop firing; returns when no more is written. Harmless when it does not fire."""
        async with self._turn:
            await self._ticker.stop()
            await self._firing.settle()
            await self._missed.stop()
            await self._queued.stop()

    async def stop(self) -> None:
        await self.follow()

    async def load(self) -> None:
        """Know all schedules, without firing them: for a service that does not lead."""
        async with self._turn:
            await self._load()

    async def _load(self) -> None:
        self._deleted.clear()
        records = await self._store.read(schedules.everything)
        there = {record.id for record in records}
        for schedule_id in [one for one in self._live if one not in there]:
            del self._live[schedule_id]
        for record in records:
            if record.id not in self._deleted:
                self._live[record.id] = record

    async def reload(self, ids: list[int]) -> None:
        """Learn what another service changed: schedules that it made, paused, resumed or deleted."""
        self._deleted.clear()
        found = {record.id: record for record in await self._store.read(lambda c: schedules.several(c, ids))}
        for schedule_id in ids:
            record, known = found.get(schedule_id), self._live.get(schedule_id)
            if record is None or schedule_id in self._deleted:
                self._live.pop(schedule_id, None)
                self._queued.drop(schedule_id)
            elif known is None:
                await self._sessions.look_for(record.session_id)
                self._hold(record)
            else:
                self._take_over(known, record)

    def _take_over(self, known: ScheduleRecord, record: ScheduleRecord) -> None:
        if record.paused_time is not None:
            self._queued.drop(record.id)
        for field in fields(ScheduleRecord):
            if field.name != "accounted_until":  # that is what this one writes
                setattr(known, field.name, getattr(record, field.name))

    def _hold(self, record: ScheduleRecord) -> None:
        self._live[record.id] = record
        if self._ticker.ticks:
            self._ticker.plan(record, record.created_time)

    async def create(self, principal: Principal, wanted: wire.ScheduleWrite) -> wire.Schedule:
        """Keep a new schedule; its nonce is bound now.

        Raises:
            InvalidError: the cron expression or the time zone is not good, the function is unknown, there are too many
                schedules, or the nonce cannot be bound.
            TooLargeError: `data` is larger than a call takes.
        """
        check_cron(wanted.cron_expression)
        if wanted.time_zone is not None:
            check_zone(wanted.time_zone)
        size = len(wanted.input_data() or b"")
        most = self._settings.megabytes(self._settings.data_limit_mb)
        if size > most:
            raise TooLargeError(f"Expected at most {most} bytes of data, given {size}")
        project = principal.project
        function = self._functions.find(project, _named(wanted))
        if function is None or function.deleted:
            raise _unknown_function(wanted)
        self._check_room(project, function)
        self._arriving.append((project, function))
        try:
            return await self._create(principal, function, wanted)
        finally:
            self._arriving.remove((project, function))

    async def _create(self, principal: Principal, function: LiveFunction, wanted: wire.ScheduleWrite) -> wire.Schedule:
        project = principal.project
        if wanted.nonce is not None:
            await self._sessions.look_for_nonce(wanted.nonce)
            bound = self._sessions.bind(project, wanted.nonce)
        else:
            bound = self._sessions.implicit(principal, oneshot=False)
        try:
            await self._store.write_rows(bound.rows, bound.check)
            return await self._keep(project, function, wanted, bound.session.id)
        except Exception:
            with contextlib.suppress(StoreFault):
                await self._sessions.end(bound.session.id, "CANCELLED")
            raise

    async def _keep(
        self, project: str, function: LiveFunction, wanted: wire.ScheduleWrite, session_id: int
    ) -> wire.Schedule:
        now = self._clock.now()
        record = ScheduleRecord(
            id=self._store.next_id(),
            project=project,
            function_id=function.record.id,
            function_external_id=wanted.function_external_id,
            name=wanted.name,
            description=wanted.description or None,
            cron_expression=wanted.cron_expression,
            data=wanted.input_data(),
            session_id=session_id,
            created_time=now,
            time_zone=wanted.time_zone,
            missed=wanted.missed,
            missed_window=None if wanted.missed_window is None else wanted.missed_window * 1000,
            overlap=wanted.overlap,
            accounted_until=now,
        )
        if not function.deleted:
            await self._store.transact(lambda connection: schedules.add(connection, record))
        if function.deleted:  # meanwhile; what was just written goes with the function
            raise _unknown_function(wanted)
        self._hold(record)
        return shown(record)

    def _check_room(self, project: str, function: LiveFunction) -> None:
        ours = [record for record in self._live.values() if record.project == project]
        arriving = [one for there, one in self._arriving if there == project]
        if len(ours) + len(arriving) >= self._settings.max_schedules:
            raise InvalidError(
                f"Expected at most {self._settings.max_schedules} schedules in a project; delete one first"
            )
        theirs = sum(1 for record in ours if record.function_id == function.record.id) + arriving.count(function)
        if theirs >= self._settings.max_function_schedules:
            raise InvalidError(
                f"Expected at most {self._settings.max_function_schedules} schedules of a function; delete one first"
            )

    def get(self, project: str, schedule_id: int) -> ScheduleRecord:
        """Raises `NotFoundError`."""
        record = self._live.get(schedule_id)
        if record is None or record.project != project:
            raise NotFoundError(f"Schedule {schedule_id} does not exist", missing=[{"id": schedule_id}])
        return record

    def count(self) -> Mapping[str, int]:
        """How many there are, by project."""
        return Counter(record.project for record in self._live.values())

    def input_data(self, project: str, schedule_id: int) -> wire.InputData:
        """What was given as `data`, to the letter (contract 5.7)."""
        record = self.get(project, schedule_id)
        answer = wire.InputData(id=record.id)
        if record.data is not None:
            answer.data = msgspec.Raw(record.data)
        return answer

    def several(self, project: str, ids: list[int], *, ignore_unknown: bool) -> list[wire.Schedule]:
        """In the order asked for. Raises `UnknownItemsError`."""
        found = {record.id: record for record in self._live.values() if record.project == project}
        missing = [{"id": wanted} for wanted in ids if wanted not in found]
        if missing and not ignore_unknown:
            raise UnknownItemsError("Schedule ids not found", missing=missing)
        return [shown(found[wanted]) for wanted in ids if wanted in found]

    def select(self, project: str, wanted: wire.ScheduleFilter, limit: int | None) -> list[wire.Schedule]:
        """Those that match, oldest first (contract 5.3)."""
        function_id = wanted.function_id
        if wanted.function_external_id is not None:
            function = self._functions.find(project, ByIdOrExternalId(external_id=wanted.function_external_id))
            if function is None:
                return []
            function_id = function.record.id
        chosen = [
            record
            for record in self._live.values()
            if record.project == project
            and (wanted.name is None or record.name == wanted.name)
            and (function_id is None or record.function_id == function_id)
            and (wanted.cron_expression is None or record.cron_expression == wanted.cron_expression)
            and in_range(wanted.created_time, record.created_time)
        ]
        chosen.sort(key=lambda record: (record.created_time, record.id))
        return [shown(record) for record in chosen[: page_size(limit, LIST_MOST)]]

    async def delete(self, project: str, ids: list[int]) -> None:
        """Delete schedules and end their sessions; all or none. Raises `UnknownItemsError`."""
        self.several(project, ids, ignore_unknown=False)
        await self._store.transact(lambda connection: schedules.remove(connection, ids))
        await self._drop([self._live[schedule_id] for schedule_id in set(ids) if schedule_id in self._live])

    async def pause(self, project: str, ids: list[int]) -> list[wire.Schedule]:
        """Have due times pass without a call until `resume`; those that wait are given up. All or none.

        What is paused already stays paused since then. Raises `UnknownItemsError`.
        """
        self.several(project, ids, ignore_unknown=False)
        now = self._clock.now()
        pausing = [schedule_id for schedule_id in set(ids) if self._live[schedule_id].paused_time is None]

        def work(connection: Connection) -> None:
            schedules.pause(connection, pausing, now)
            ticks.skip_queued(connection, pausing, PAUSED)

        await self._store.transact(work)
        for schedule_id in pausing:
            self._queued.drop(schedule_id)
        self._set_paused(pausing, now)
        return self.several(project, ids, ignore_unknown=True)

    async def resume(self, project: str, ids: list[int]) -> list[wire.Schedule]:
        """Have schedules fire again, from their next due time on. All or none. Raises `UnknownItemsError`."""
        self.several(project, ids, ignore_unknown=False)
        await self._store.transact(lambda connection: schedules.pause(connection, ids, None))
        self._set_paused(ids, None)
        return self.several(project, ids, ignore_unknown=True)

    def _set_paused(self, ids: list[int], moment: int | None) -> None:
        for schedule_id in ids:
            if schedule_id in self._live:
                self._live[schedule_id].paused_time = moment

    async def _drop(self, records: list[ScheduleRecord]) -> None:
        for record in records:
            self._live.pop(record.id, None)
            self._deleted.add(record.id)
            self._queued.drop(record.id)
        await asyncio.gather(*(self._sessions.end(record.session_id, "CANCELLED") for record in records))

    async def _drop_theirs(self, functions: list[LiveFunction]) -> None:
        gone = {function.record.id for function in functions}
        await self._drop([record for record in self._live.values() if record.function_id in gone])


def _named(wanted: wire.ScheduleWrite) -> ByIdOrExternalId:
    return ByIdOrExternalId(id=wanted.function_id, external_id=wanted.function_external_id)


def _unknown_function(wanted: wire.ScheduleWrite) -> InvalidError:
    named = _named(wanted).as_dict()
    return InvalidError(f"Expected an existing function, given {named}", missing=[named])


def shown(record: ScheduleRecord) -> wire.Schedule:
    """What the API shows: `data` and the nonce never (contract 5.1)."""
    return wire.Schedule(
        id=record.id,
        name=record.name,
        created_time=record.created_time,
        cron_expression=record.cron_expression,
        when=describe(record.cron_expression, record.time_zone),
        function_id=record.function_id,
        session_id=record.session_id,
        function_external_id=record.function_external_id,
        description=record.description,
        time_zone=record.time_zone,
        missed=cast("wire.Missed | None", record.missed),
        missed_window=None if record.missed_window is None else record.missed_window // 1000,
        overlap=cast("wire.Overlap | None", record.overlap),
        paused_time=record.paused_time,
    )
