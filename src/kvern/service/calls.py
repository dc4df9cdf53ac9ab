"""Calls: accepted, run, ended; each reaches exactly one end state (contract 4, 11.4, 11.7).

A call is driven by one task of its own, so nothing that happens to the request that made it can stop it:

    accepted is written -> the answer may go out -> a worker is free (a waiting call writes "begun") -> it runs
    -> end state, response and logs are written, in one group -> waiters wake
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from functools import partial

from sqlalchemy.exc import IntegrityError

from kvern.engine import Access, Engine, Order, Outcome, Verdict
from kvern.service.clock import Clock
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import Principal
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import checked, end_row, status_of
from kvern.service.sessions import Sessions
from kvern.settings import Settings
from kvern.store import Store, StoreFault, calls
from kvern.store.calls import CallRecord, UnfinishedCall
from kvern.store.schedules import ScheduleRecord
from kvern.wire.errors import ApiError, BusyError, InvalidError, TooLargeError

_LOG_EVERY = 2.0
"""Seconds after which the log of a running call is written, so that it survives a crash of the service."""

_TIMINGS = 8
_END_RETRY = 1.0

_log = logging.getLogger(__name__)


class Calls:
    """Runs calls and knows those that have not ended.

    `base_url` is set when the service listens: the URL under which functions reach it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        engine: Engine,
        functions: Functions,
        sessions: Sessions,
        issuer: BuiltinIssuer,
        settings: Settings,
        observer: Observer,
    ) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self._functions = functions
        self._sessions = sessions
        self._issuer = issuer
        self._settings = settings
        self._observer = observer
        self._live: dict[int, LiveCall] = {}
        self._left: list[UnfinishedCall] = []
        self._running: dict[str, int] = {}
        self._draining = False
        self._hurry = asyncio.Event()
        self._unkept: list[tuple[int, dict[str, object]]] = []
        """Log rows that are to be written, each with its function."""
        self._log_keeper: asyncio.Task[None] | None = None
        self.base_url = ""
        functions.before_delete(self._stop_calls)
        functions.after_delete(self._forget_logs)

    async def load(self) -> None:
        """Look up what an earlier run left. Comes before the first call of this run, which would look the same."""
        self._left = await self._store.read(calls.unfinished)

    async def start(self) -> None:
        """Take up what an earlier run left: calls that had begun end as Failed, the others run now."""
        for left in self._left:
            await self._take_up(left)
        self._left = []
        self._log_keeper = asyncio.create_task(self._keep_logs(), name="call-logs")

    async def _take_up(self, left: UnfinishedCall) -> None:
        record = left.record
        try:
            function = self._functions.get(left.project, record.function_id)
        except ApiError:
            function = None
        if left.begun or function is None:
            row = end_row(record.id, "Failed", Verdict.INTERRUPTED, self._clock.now())
            row["to_error_message"] = "The call was interrupted by a restart of the service"
            await self._store.write(calls.END, row)
            if left.session_id is not None and record.schedule_id is None:
                await self._sessions.end(left.session_id, "EXPIRED")
            return
        call = LiveCall(record, left.project, function, left.session_id, left.data)
        call.accepted.set_result(None)
        self._enter(call)
        call.task = asyncio.create_task(self._run(call), name=f"call-{record.id}")

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait for those that run, but no longer than `seconds`, and not after `hurry`."""
        self._draining = True
        if self._live:
            ended = asyncio.gather(*(call.ended for call in self._live.values()))
            hurry = asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait((ended, hurry), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()

    def hurry(self) -> None:
        """End the waiting of `drain`."""
        self._hurry.set()

    async def stop(self) -> None:
        """Wait until the end of every call is written; the engine has ended them all."""
        self._draining = True
        if self._log_keeper is not None:
            self._log_keeper.cancel()
        tasks = [call.task for call in self._live.values() if call.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def call(self, principal: Principal, function_id: int, data: bytes, nonce: str | None) -> LiveCall:
        """Accept a call; returned once it is kept for good.

        Raises:
            NotFoundError: there is no such function.
            InvalidError: the function is not Ready, or the nonce cannot be bound.
            TooLargeError: `data` is too large.
            BusyError: too many calls run; nothing happened.
        """
        function = self._functions.get(principal.project, function_id)
        if function.record.status != "Ready" or function.deleted:
            hint = f": {function.record.error_message}" if function.record.status == "Failed" else ""
            raise InvalidError(
                f"Expected a function that is Ready, but function {function_id} is {function.record.status}{hint}"
            )
        most = self._settings.megabytes(self._settings.data_limit_mb)
        if len(data) > most:
            raise TooLargeError(f"Expected at most {most} bytes of data, given {len(data)}")
        self._check_room(function)
        record = self._new_record(function)
        if nonce is None:
            session, bound = self._sessions.implicit(principal)
        else:
            session, bound = self._sessions.bind(principal.project, nonce)
        return await self._accept(record, function, session.id, data, bound)

    def _check_room(self, function: LiveFunction) -> None:
        if self._draining:
            raise BusyError("The service is about to stop; call again in a moment")
        most = self._settings.max_function_calls
        if function.running >= most:
            raise BusyError(f"Too many running calls for this function ({most}); call again when some have ended")
        most = self._settings.max_calls
        if self._running.get(function.record.project, 0) >= most:
            raise BusyError(f"Too many running calls in this project ({most}); call again when some have ended")

    async def fire(self, function: LiveFunction, schedule: ScheduleRecord, due: int) -> None:
        """Make the call of one due time of a schedule; one that cannot run is kept as Failed with the reason.

        Does nothing when that due time has its call already, or when the function is being deleted.
        """
        if function.deleted:
            return
        refusal: str | None = None
        try:
            self._check_room(function)
        except BusyError as error:
            refusal = error.message
        if self._sessions.get(schedule.session_id) is None:
            refusal = f"{await self._sessions.why_ended(schedule.session_id)}; create the schedule anew"
        data = schedule.data if schedule.data is not None else b"{}"
        record = self._new_record(function, (schedule.id, due))
        with contextlib.suppress(IntegrityError):
            if refusal is None:
                await self._accept(record, function, schedule.session_id, data, None)
                return
            row = self._accept_row(record, function.record.project, schedule.session_id, data, begun=False)
            ended = {"status": "Failed", "verdict": Verdict.CANCELLED.value, "end_time": record.start_time}
            await self._store.write(calls.REFUSE, {**row, **ended, "error_message": refusal, "error_trace": ""})

    def _new_record(self, function: LiveFunction, tick: tuple[int, int] | None = None) -> CallRecord:
        schedule_id, due = tick if tick is not None else (None, None)
        return CallRecord(
            id=self._store.next_id(),
            function_id=function.record.id,
            status="Running",
            start_time=self._clock.now(),
            schedule_id=schedule_id,
            scheduled_time=due,
        )

    async def _accept(
        self, record: CallRecord, function: LiveFunction, session_id: int, data: bytes, bound: Awaitable[None] | None
    ) -> LiveCall:
        call = LiveCall(record, function.record.project, function, session_id, data)
        self._enter(call)
        call.task = asyncio.create_task(self._drive(call, bound), name=f"call-{record.id}")
        await asyncio.shield(call.accepted)
        return call

    def _enter(self, call: LiveCall) -> None:
        self._live[call.record.id] = call
        call.function.running += 1
        self._running[call.project] = self._running.get(call.project, 0) + 1

    def _leave(self, call: LiveCall) -> None:
        self._live.pop(call.record.id, None)
        call.function.running -= 1
        self._running[call.project] -= 1
        call.on_log(())
        if not call.ended.done():
            call.ended.set_result(None)

    @staticmethod
    def _accept_row(
        record: CallRecord, project: str, session_id: int | None, data: bytes, *, begun: bool
    ) -> dict[str, object]:
        return {
            "id": record.id,
            "project": project,
            "function_id": record.function_id,
            "status": record.status,
            "begun": begun,
            "start_time": record.start_time,
            "schedule_id": record.schedule_id,
            "scheduled_time": record.scheduled_time,
            "session_id": session_id,
            "data": data,
        }

    async def _drive(self, call: LiveCall, bound: Awaitable[None] | None) -> None:
        revision = call.function.revision
        # A call that finds a worker begins with the commit that accepts it, and needs no second one.
        begun = revision is not None and self._engine.has_room(revision)
        call.begun = begun
        row = self._accept_row(call.record, call.project, call.session_id, call.data, begun=begun)
        writes = [self._store.write(calls.ACCEPT, row)]
        if bound is not None:
            writes.append(bound)
        kept = asyncio.gather(*writes, return_exceptions=True)
        try:
            faults = [fault for fault in await kept if fault is not None]
            if faults:
                raise faults[0]
        except BaseException as error:
            await self._disown(call, ends_session=bound is not None)
            self._leave(call)
            call.accepted.set_exception(error)
            call.accepted.exception()  # whoever waits is told; when nobody does, it is no fault of the task
            return
        call.function.record.last_called = call.record.start_time
        self._observer.accepted(call)
        call.accepted.set_result(None)
        await self._run(call)

    async def _disown(self, call: LiveCall, *, ends_session: bool) -> None:
        """A call that is refused, but of which a part was kept perhaps, must not look as if it ran.

        Nor does the session act that was bound for it alone.
        """
        row = end_row(call.record.id, "Failed", Verdict.CANCELLED, self._clock.now())
        row["to_error_message"] = "The call could not be kept, and did not run"
        writes = [self._store.write(calls.END, row)]
        if ends_session and call.session_id is not None:
            writes.append(self._sessions.end(call.session_id, "CANCELLED"))
        await asyncio.gather(*writes, return_exceptions=True)

    async def _run(self, call: LiveCall) -> None:
        try:
            outcome = await self._outcome(call)
        except asyncio.CancelledError:
            self._leave(call)
            raise
        except PermissionError as error:
            outcome = Outcome(Verdict.NOT_LOADED, message=str(error))
        except Exception:
            _log.exception("call %s met a fault", call.record.id)
            outcome = Outcome(Verdict.CRASHED, message="A fault of the service; its log tells more")
        if outcome.verdict is not Verdict.INTERRUPTED or call.begun:
            await self._end(call, outcome)
        # else: it never began, so it runs when the service starts again
        self._leave(call)

    async def _outcome(self, call: LiveCall) -> Outcome:
        revision = call.function.revision
        if revision is None:
            return Outcome(Verdict.NOT_LOADED, message="The function is not Ready any more")
        if call.session_id is not None and self._sessions.needs_refresh(call.session_id):
            refusal = await self._sessions.refusal(call.session_id)
            if refusal is not None:
                return Outcome(Verdict.NOT_LOADED, message=refusal)
        its = self._settings
        order = Order(
            call_id=call.record.id,
            data=call.data,
            timeout=its.timeout_minutes * 60,
            response_limit=its.megabytes(its.response_size_mb),
            log_limit=its.megabytes(its.log_limit_mb),
            on_log=call.on_log,
            access=partial(self._access, call),
            schedule_id=call.record.schedule_id,
            scheduled_time=call.record.scheduled_time,
            on_begin=None if call.begun else partial(self._begin, call),
        )
        return checked(await self._engine.run(revision, order))

    async def _begin(self, call: LiveCall) -> None:
        await self._store.write(calls.BEGIN, {"call": call.record.id})
        call.begun = True

    def _access(self, call: LiveCall) -> Access:
        """What the handler's `client` acts with: exactly the rights of the call's session."""
        session = None if call.session_id is None else self._sessions.get(call.session_id)
        if session is None:
            raise PermissionError("The session of this call has ended or was revoked")
        token = self._issuer.session_token(session, self._settings.timeout_minutes * 60 + 60)
        return Access(self.base_url, call.project, token)

    async def _end(self, call: LiveCall, outcome: Outcome) -> None:
        """Write the end; while the store refuses, try again: the end of a call must not be lost."""
        record = call.record
        end_time = max(self._clock.now(), record.start_time)
        status = status_of(outcome.verdict)
        row = end_row(record.id, status, outcome.verdict, end_time)
        if status == "Completed":
            row["to_response"] = outcome.response
        else:
            row["to_error_message"], row["to_error_trace"] = outcome.message, outcome.trace
        log_row = call.unkept_log()
        writes = [self._store.write(calls.END, row)]
        if log_row is not None:
            writes.append(self._store.write(calls.LOG, log_row))
        session_id = None if record.schedule_id is not None else call.session_id
        if session_id is not None:
            writes.append(self._sessions.end(session_id, "EXPIRED"))
        for fault in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(fault, BaseException):
                _log.error("the end of call %s could not be kept, trying again: %s", record.id, fault)
                await self._end_again(row, log_row, session_id)
                break
        self._observer.ended(call, status, outcome)
        self.note_duration(call.function, (end_time - record.start_time) / 1000)
        record.status, record.end_time = status, end_time
        record.error_message = None if status == "Completed" else outcome.message
        record.error_trace = None if status == "Completed" else outcome.trace
        call.response = outcome.response

    async def _end_again(
        self, row: dict[str, object], log_row: dict[str, object] | None, session_id: int | None
    ) -> None:
        while True:
            await asyncio.sleep(_END_RETRY)
            try:
                await self._store.transact(lambda connection: calls.end(connection, row, log_row))
                if session_id is not None:
                    await self._sessions.end(session_id, "EXPIRED")
                return
            except StoreFault as fault:
                _log.error("the end of call %s still cannot be kept: %s", row["call"], fault)

    def note_duration(self, function: LiveFunction, seconds: float) -> None:
        """Remember that a call of `function` takes this long, or longer."""
        function.timings.append(seconds)
        del function.timings[:-_TIMINGS]

    def grace(self, function: LiveFunction) -> float:
        """Seconds to hold the answer to a call back: none for a function whose recent calls ran longer than that."""
        grace = self._settings.call_grace_ms / 1000
        timings = function.timings
        return 0.0 if timings and sorted(timings)[len(timings) // 2] >= grace else grace

    async def _stop_calls(self, functions: list[LiveFunction]) -> None:
        """Stop the calls of functions that are about to be deleted, and wait until they are gone."""
        gone = {function.record.id for function in functions}
        theirs = [call for call in self._live.values() if call.record.function_id in gone]
        for call in theirs:
            await asyncio.wait((call.accepted,))  # before that, the engine does not know it
            await self._engine.cancel(call.record.id)
        if theirs:
            await asyncio.wait([call.ended for call in theirs])

    def running(self) -> dict[str, int]:
        """How many calls have not ended, by project."""
        return self._running

    def live(self, call_id: int) -> LiveCall | None:
        """A call that has not ended, or None."""
        return self._live.get(call_id)

    async def _keep_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_EVERY)
            for call in list(self._live.values()):
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

    async def _forget_logs(self, functions: list[LiveFunction]) -> None:
        gone = {function.record.id for function in functions}
        self._unkept = [(number, row) for number, row in self._unkept if number not in gone]
