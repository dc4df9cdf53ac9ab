"""Schedules: cron rules that make ordinary calls (contract 5, 11.6)."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from cron_descriptor import (  # pyright: ignore[reportMissingTypeStubs]
    CasingTypeEnum,
    ExpressionDescriptor,
    Options,
)
from cronsim import CronSim, CronSimError

from kvern.service.calls import Calls
from kvern.service.clock import Clock
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import Principal
from kvern.service.ranges import in_range
from kvern.service.sessions import Sessions
from kvern.settings import Settings
from kvern.store import Store, StoreFault, schedules
from kvern.store.schedules import ScheduleRecord
from kvern.wire import schedules as wire
from kvern.wire.base import ByIdOrExternalId, page_size
from kvern.wire.errors import InvalidError, NotFoundError, TooLargeError, UnknownItemsError

LIST_MOST = 10_000

_log = logging.getLogger(__name__)


class Schedules:
    """The schedules of a service, and the task that makes their calls when they are due."""

    def __init__(
        self, store: Store, clock: Clock, functions: Functions, calls: Calls, sessions: Sessions, settings: Settings
    ) -> None:
        self._store = store
        self._clock = clock
        self._functions = functions
        self._calls = calls
        self._sessions = sessions
        self._settings = settings
        self._live: dict[int, ScheduleRecord] = {}
        self._arriving: list[tuple[str, LiveFunction]] = []
        """Project and function of schedules that are being written: they count before they are here."""
        self._due: list[tuple[int, int]] = []
        self._changed = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._firing: set[asyncio.Task[None]] = set()
        functions.after_delete(self._drop_theirs)

    async def start(self) -> None:
        """Load all schedules, and fire them."""
        await self.lead()

    async def lead(self, grace: float = 0.0) -> None:
        """Begin to fire; harmless when it does already.

        Args:
            grace: seconds; due times that nobody fired and that are no longer ago than this are fired late, as when a
                server takes over from one that died. What is longer ago was missed.
        """
        if self._ticker is not None:
            return
        self._live.clear()
        self._due.clear()
        for record in await self._store.read(schedules.everything):
            self._hold(record, self._clock.now() - int(grace * 1000))
        self._ticker = asyncio.create_task(self._tick(), name="schedules")

    async def follow(self) -> None:
        """Stop firing; returns when no more is written. Harmless when it does not fire."""
        tasks = [task for task in (self._ticker, *self._firing) if task is not None]
        self._ticker = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        await self.follow()

    def _hold(self, record: ScheduleRecord, after: int) -> None:
        self._live[record.id] = record
        self._plan(record, after)

    def _plan(self, record: ScheduleRecord, after: int) -> None:
        due = next_due(record.cron_expression, after)
        if due is not None:
            heapq.heappush(self._due, (due, record.id))
            self._changed.set()

    async def create(self, principal: Principal, wanted: wire.ScheduleWrite) -> wire.Schedule:
        """Keep a new schedule; its nonce is bound now.

        Raises:
            InvalidError: the cron expression is not good, the function is unknown, there are too many schedules, or
                the nonce cannot be bound.
            TooLargeError: `data` is larger than a call takes.
        """
        check_cron(wanted.cron_expression)
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
            session, bound = self._sessions.bind(project, wanted.nonce)
        else:
            session, bound = self._sessions.implicit(principal, oneshot=False)
        try:
            await bound
            return await self._keep(project, function, wanted, session.id)
        except Exception:
            with contextlib.suppress(StoreFault):
                await self._sessions.end(session.id, "CANCELLED")
            raise

    async def _keep(
        self, project: str, function: LiveFunction, wanted: wire.ScheduleWrite, session_id: int
    ) -> wire.Schedule:
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
            created_time=self._clock.now(),
        )
        if not function.deleted:
            await self._store.transact(lambda connection: schedules.add(connection, record))
        if function.deleted:  # meanwhile; what was just written goes with the function
            raise _unknown_function(wanted)
        self._hold(record, record.created_time)
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

    async def _drop(self, records: list[ScheduleRecord]) -> None:
        for record in records:
            self._live.pop(record.id, None)
        await asyncio.gather(*(self._sessions.end(record.session_id, "CANCELLED") for record in records))

    async def _drop_theirs(self, functions: list[LiveFunction]) -> None:
        gone = {function.record.id for function in functions}
        await self._drop([record for record in self._live.values() if record.function_id in gone])

    async def _tick(self) -> None:
        while True:
            self._changed.clear()
            if not self._due:
                await self._changed.wait()
                continue
            moment = self._due[0][0]
            if moment > self._clock.now():
                await self._until(moment)
                continue
            due, schedule_id = heapq.heappop(self._due)
            record = self._live.get(schedule_id)
            if record is not None:
                self._fire(record, due)
                self._plan(record, max(due, self._clock.now()))

    async def _until(self, moment: int) -> None:
        """Wait for a moment, or for a schedule that may be due before it."""
        sleep = asyncio.ensure_future(self._clock.sleep_until(moment))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleep, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            change.cancel()

    def _fire(self, record: ScheduleRecord, due: int) -> None:
        try:
            function = self._functions.get(record.project, record.function_id)
        except NotFoundError:
            return
        if function.record.status != "Ready" or function.deleted:
            _log.warning(
                "schedule %s skips %s: function %s is %s", record.id, due, record.function_id, function.record.status
            )
            return
        task = asyncio.create_task(self._call(function, record, due), name=f"fire-{record.id}")
        self._firing.add(task)
        task.add_done_callback(self._firing.discard)

    async def _call(self, function: LiveFunction, record: ScheduleRecord, due: int) -> None:
        try:
            await self._calls.fire(function, record, due)
        except StoreFault as error:
            _log.error("schedule %s could not make its call of %s: %s", record.id, due, error)


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
        when=describe(record.cron_expression),
        function_id=record.function_id,
        session_id=record.session_id,
        function_external_id=record.function_external_id,
        description=record.description,
    )


_VALUE = "(?:[0-9]{1,2}|[A-Za-z]{3})"
_PART = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,2}})?"
_FIELD = re.compile(rf"{_PART}(?:,{_PART})*")
"""`*`, values, ranges and steps, in lists; what Quartz and others add is refused (contract 13.12)."""


def check_cron(expression: str) -> None:
    """Raises `InvalidError` unless it is five fields that cronsim understands and that come due at some time."""
    fields = expression.split()
    if len(fields) != 5:
        raise InvalidError(
            "Expected a cron expression of five fields (minute hour day-of-month month day-of-week), "
            f"given {len(fields)} in {expression[:80]!r}"
        )
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise InvalidError(
                "Expected `*`, numbers, names, ranges, steps and lists of them in a cron expression, "
                f"given {field[:40]!r}"
            )
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise InvalidError(f"Expected a good cron expression, given {expression[:80]!r}: {error}") from error
    if next_due(expression, 0) is None:
        raise InvalidError(f"Expected a cron expression that comes due at some time, given {expression[:80]!r}")


def next_due(expression: str, after: int) -> int | None:
    """The first due time after a moment, both in ms since the epoch, in UTC; None when there is none in 50 years."""
    try:
        due = next(CronSim(expression, datetime.fromtimestamp(after / 1000, UTC)))
    except StopIteration:
        return None
    return int(due.timestamp() * 1000)


@lru_cache(maxsize=4096)
def describe(expression: str) -> str:
    """The rule as an English sentence, such as `At 08:00` (contract 11.6)."""
    options = Options()
    options.casing_type = CasingTypeEnum.Sentence
    options.use_24hour_time_format = True
    try:
        return ExpressionDescriptor(expression, options).get_description()
    except Exception:  # it is for display only: what the library cannot put into words is shown as it is
        return expression
