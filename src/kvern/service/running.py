"""Running calls: each is driven by one task of its own, so nothing that happens to the request that made it stops it.

accepted is written -> the answer may go out -> a worker is free (a waiting call writes "begun") -> it runs
-> end state, response and logs are written, in one group -> waiters wake

An attempt after which there is another one is written apart, and the call waits until that is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial

from kvern.build.errors import BuildError
from kvern.engine import Access, Engine, Order, Outcome, Verdict
from kvern.service.admission import Admission
from kvern.service.backoff import delay, is_retried
from kvern.service.call_logs import CallLogs
from kvern.service.clock import Clock
from kvern.service.functions import Functions, LiveFunction
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import attempt_row, checked, end_row, note_end
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.settings import Settings
from kvern.store import FencedError, Store, StoreFault, attempts, calls
from kvern.wire.errors import InvalidError

_END_RETRY = 1.0
"""Seconds between two tries to write an end."""

_TIMINGS = 8

_log = logging.getLogger(__name__)


class Running:
    """The calls that have not ended.

    `base_url` is set when the service listens: the URL under which functions reach it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        engine: Engine,
        sessions: Sessions,
        issuer: BuiltinIssuer,
        admission: Admission,
        settings: Settings,
        observer: Observer,
        functions: Functions,
        servers: Servers,
    ) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self._sessions = sessions
        self._issuer = issuer
        self._admission = admission
        self._settings = settings
        self._observer = observer
        self._functions = functions
        self._servers = servers
        self._live: dict[int, LiveCall] = {}
        self._logs = CallLogs(store, self.everything)
        self._hurry = asyncio.Event()
        self._stopping = asyncio.Event()
        self._disowning: set[asyncio.Task[None]] = set()
        self.base_url = ""

    def start(self) -> None:
        """Keep the lines of running calls from now on."""
        self._logs.start()

    def get(self, call_id: int) -> LiveCall | None:
        """A call that has not ended, or None."""
        return self._live.get(call_id)

    def everything(self) -> Iterable[LiveCall]:
        return self._live.values()

    def cut_off(self) -> None:
        """Others take this server for dead, or will: its calls are theirs now, and nothing more is written of them."""
        for call in self._live.values():
            call.lost = True
        self._logs.forget()

    async def accept(self, call: LiveCall, bound: Awaitable[None] | None) -> None:
        """Drive a new call; returns once it is kept for good. `bound` is the writing of a session that is its alone."""
        call.server = self._servers.id
        self._enter(call)
        work = self._observer.around(call, self._drive(call, bound))
        call.task = asyncio.create_task(work, name=f"call-{call.record.id}")
        await asyncio.shield(call.accepted)

    def has_worker(self, function: LiveFunction) -> bool:
        """Whether a call would begin at once."""
        return function.revision is not None and self._engine.has_room(function.revision)

    def admit(self, call: LiveCall) -> None:
        """Count a call that somebody else keeps; `run` or `turn_away` follows."""
        call.server = self._servers.id
        self._enter(call)

    def run(self, call: LiveCall) -> None:
        """Drive a call that was admitted, and is kept now."""
        work = self._observer.around(call, self._accepted(call))
        call.task = asyncio.create_task(work, name=f"call-{call.record.id}")

    async def turn_away(self, call: LiveCall, error: BaseException, *, in_doubt: bool) -> None:
        """Forget a call that was admitted, and is not kept; `in_doubt` when it was, perhaps."""
        if in_doubt:
            await self._disown(call, ends_session=False)
        self._refuse(call, error)

    def resume(self, call: LiveCall) -> None:
        """Drive a call that an earlier run of the service accepted, and of which no attempt runs."""
        self._restore(call)
        self._drive_on(call)

    def _drive_on(self, call: LiveCall) -> None:
        work = self._observer.around(call, self._run(call))
        call.task = asyncio.create_task(work, name=f"call-{call.record.id}")

    async def interrupted(self, call: LiveCall, why: str) -> None:
        """End a call that ran when an earlier run of the service, or its server, died; or try it again if it may be."""
        call.begun = True
        self._restore(call)
        outcome = Outcome(Verdict.INTERRUPTED, message=why)
        due = self._retry_time(call, outcome)
        if due is None:
            await self._end(call, outcome)
            self._leave(call)
        elif await self._put_off(call, outcome, due):
            self._drive_on(call)
        else:
            self._leave(call)

    def _restore(self, call: LiveCall) -> None:
        call.server = self._servers.id
        call.accepted.set_result(None)
        self._enter(call)

    async def drain(self, seconds: float) -> None:
        """Wait for the calls that run, but no longer than `seconds`, and not after `hurry`.

        Those that wait for their next attempt are left to the next run of the service.
        """
        self._stopping.set()
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
        self._logs.stop()
        for task in self._disowning:
            task.cancel()
        await asyncio.gather(*self._disowning, return_exceptions=True)
        tasks = [call.task for call in self._live.values() if call.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def cancel(self, call: LiveCall) -> None:
        """Stop a call, and wait until it is gone. One that ends meanwhile keeps its own end."""
        await asyncio.wait((call.accepted,))  # before that, the engine does not know it
        if not call.cancelled.done():
            call.cancelled.set_result(None)
        await self._engine.cancel(call.record.id)
        await asyncio.wait((call.ended,))

    async def cancel_all(self, functions: set[int]) -> None:
        """Stop the calls of the functions with these ids, and wait until they are gone."""
        theirs = [call for call in self._live.values() if call.record.function_id in functions]
        await asyncio.gather(*(self.cancel(call) for call in theirs))

    def _enter(self, call: LiveCall) -> None:
        self._live[call.record.id] = call
        self._admission.enter(call.function)

    def _leave(self, call: LiveCall) -> None:
        self._live.pop(call.record.id, None)
        self._admission.leave(call.function)
        call.on_log(())
        if not call.ended.done():
            call.ended.set_result(None)

    async def _drive(self, call: LiveCall, bound: Awaitable[None] | None) -> None:
        # A call that finds a worker begins with the commit that accepts it, and needs no second one.
        call.begun = self.has_worker(call.function)
        writes = [self._keep(call)]
        if bound is not None:
            writes.append(bound)
        has_session = bound is not None
        try:
            faults = await _faults(writes)
            # One that another server has bound meanwhile is that one's to end.
            has_session = has_session and not any(isinstance(fault, InvalidError) for fault in faults)
            if faults:
                raise faults[0]
        except BaseException as error:
            await self._disown(call, ends_session=has_session)
            self._refuse(call, error)
            return
        await self._accepted(call)

    def _refuse(self, call: LiveCall, error: BaseException) -> None:
        self._leave(call)
        call.accepted.set_exception(error)
        call.accepted.exception()  # whoever waits is told; when nobody does, it is no fault of the task

    async def _accepted(self, call: LiveCall) -> None:
        call.function.record.last_called = call.record.start_time
        self._observer.accepted(call)
        call.accepted.set_result(None)
        await self._run(call)

    def _keep(self, call: LiveCall) -> Awaitable[None]:
        if call.redrive is not None:
            return call.redrive.keep(call.marked_row())
        if call.key is not None or call.record.rerun_of is not None:
            return self._store.write(calls.ACCEPT_MARKED, call.marked_row())
        return self._store.write(calls.ACCEPT, call.accept_row())

    async def _disown(self, call: LiveCall, *, ends_session: bool) -> None:
        """A call that is refused, but of which a part was kept perhaps, must not look as if it ran.

        Nor does the session act that was bound for it alone. While the store refuses, it is tried again in the
        background: where servers share the store, nobody else would end the call as long as this one lives.
        """
        try:
            await self._withdraw(call, ends_session=ends_session)
        except StoreFault as fault:
            _log.error("call %s was refused, which could not be kept, trying again: %s", call.record.id, fault)
            task = asyncio.create_task(self._disown_again(call, ends_session=ends_session))
            self._disowning.add(task)
            task.add_done_callback(self._disowning.discard)

    async def _disown_again(self, call: LiveCall, *, ends_session: bool) -> None:
        while call.server == self._servers.id:  # under another id, the call is not this server's any more
            await asyncio.sleep(_END_RETRY)
            try:
                await self._withdraw(call, ends_session=ends_session)
                return
            except StoreFault as fault:
                _log.debug("that call %s was refused still cannot be kept: %s", call.record.id, fault)

    async def _withdraw(self, call: LiveCall, *, ends_session: bool) -> None:
        """Raises `StoreFault` when a part of it could not be kept."""
        outcome = Outcome(Verdict.CANCELLED, message="The call could not be kept, and did not run")
        writes = [self._store.write(calls.END, end_row(call.record.id, outcome, self._clock.now(), server=call.server))]
        if call.key is not None:
            writes.append(self._store.write(calls.FREE_KEY, {"call": call.record.id}))
        if ends_session and call.session_id is not None:
            writes.append(self._sessions.end(call.session_id, "CANCELLED"))
        for fault in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(fault, BaseException):
                raise fault

    async def _run(self, call: LiveCall) -> None:
        try:
            while await self._is_due(call):
                outcome = await self._attempt(call)
                self._observer.attempted(call, outcome)
                if call.lost or (outcome.verdict is Verdict.INTERRUPTED and not call.begun):
                    return  # it never began, so it runs when the service starts again
                due = self._retry_time(call, outcome)
                if due is None:
                    await self._end(call, outcome)
                    return
                if not await self._put_off(call, outcome, due):
                    return
        finally:
            self._leave(call)

    async def _is_due(self, call: LiveCall) -> bool:
        """Wait until the next attempt is due; False when the service stops before that."""
        if call.attempt == 1:
            return True
        sleep = asyncio.ensure_future(self._clock.sleep_until(call.attempt_time))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((sleep, stop, call.cancelled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            stop.cancel()
        if self._stopping.is_set():
            return False
        call.record.next_attempt_time = None
        call.attempt_time = self._clock.now()
        return True

    async def _attempt(self, call: LiveCall) -> Outcome:
        try:
            return await self._outcome(call)
        except FencedError as error:
            return Outcome(Verdict.INTERRUPTED, message=str(error))
        except PermissionError as error:
            return Outcome(Verdict.NOT_LOADED, message=str(error))
        except Exception:
            _log.exception("call %s met a fault", call.record.id)
            return Outcome(Verdict.CRASHED, message="A fault of the service; its log tells more")

    def _retry_time(self, call: LiveCall, outcome: Outcome) -> int | None:
        """When the call is tried again, in ms since the epoch; None when it is not."""
        retries = call.function.options.retries
        if retries is None or not is_retried(retries, outcome) or call.attempt >= retries.attempts:
            return None
        if call.cancelled.done() or call.function.deleted:
            return None
        return self._clock.now() + int(delay(retries, call.attempt) * 1000)

    async def _put_off(self, call: LiveCall, outcome: Outcome, due: int) -> bool:
        """Write that an attempt failed and when the next is due; while the store refuses, try again.

        False when the next attempt is not this server's: others have taken the call over.
        """
        row = attempt_row(call.record.id, call.attempt, outcome, call.attempt_time, self._clock.now())
        log_row = call.unkept_log()
        log_rows = [*self._logs.take(call.record.id), *([log_row] if log_row is not None else [])]
        while not call.lost:
            try:
                is_kept = await self._store.transact(
                    lambda connection: attempts.put_off(connection, row, due, log_rows, call.server)
                )
            except StoreFault as fault:
                _log.error("an attempt of call %s could not be kept, trying again: %s", call.record.id, fault)
                await asyncio.sleep(_END_RETRY)
                continue
            call.put_off(due)
            return is_kept and not call.lost
        return False

    async def _outcome(self, call: LiveCall) -> Outcome:
        try:
            revision = await self._functions.revision(call.function)
        except BuildError as error:
            return Outcome(Verdict.NOT_LOADED, message=error.message, trace=error.trace)
        if call.session_id is not None and self._sessions.needs_refresh(call.session_id):
            refusal = await self._sessions.refusal(call.session_id)
            if refusal is not None:
                return Outcome(Verdict.NOT_LOADED, message=refusal)
        if call.cancelled.done():
            return Outcome(Verdict.CANCELLED, message="the call was cancelled")
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
            soft_timeout=self._soft_timeout(call.function),
            on_begin=None if call.begun else partial(self._begin, call),
            traceparent=self._observer.traceparent(call),
        )
        if call.lost:
            return Outcome(Verdict.INTERRUPTED, message="the server was cut off")
        outcome = checked(await self._engine.run(revision, order))
        if outcome.verdict is Verdict.RETURNED and not call.acted:
            call.function.acts = False
        return outcome

    def _soft_timeout(self, function: LiveFunction) -> float | None:
        before = function.options.soft_deadline_seconds
        limit = self._settings.timeout_minutes * 60
        # The limit may have been lowered since the function was made.
        return None if before is None else limit - before if before < limit else limit / 2

    async def _begin(self, call: LiveCall) -> None:
        # That a row was written need not be asked: others take a call only from a server whose own row is gone, and
        # then the fence fails this write. Under a later id of this server it matches nothing, but the call is `lost`.
        marks = {"its_server": call.server, "to_attempt_time": call.later_attempt_time}
        await self._store.write(calls.BEGIN, {"call": call.record.id, **marks})
        if call.lost:
            raise FencedError("this server was cut off before the call began")
        call.begun = True

    def _access(self, call: LiveCall) -> Access:
        """What the handler's `client` acts with: exactly the rights of the call's session."""
        call.acted = True
        session = None if call.session_id is None else self._sessions.get(call.session_id)
        if session is None:
            raise PermissionError("The session of this call has ended or was revoked")
        token = self._issuer.session_token(session, self._settings.timeout_minutes * 60 + 60)
        return Access(self.base_url, call.project, token)

    async def _end(self, call: LiveCall, outcome: Outcome) -> None:
        """Write the end; while the store refuses, try again: the end of a call must not be lost."""
        record = call.record
        end_time = max(self._clock.now(), record.start_time)
        retries = call.function.options.retries
        is_dead = retries is not None and is_retried(retries, outcome) and call.attempt >= retries.attempts
        began = call.later_attempt_time
        row = end_row(record.id, outcome, end_time, call.attempt, attempt_time=began, dead=is_dead, server=call.server)
        log_row = call.unkept_log()
        log_rows = [*self._logs.take(record.id), *([log_row] if log_row is not None else [])]
        if len(log_rows) > 1:
            writes = [self._store.transact(lambda connection: calls.end(connection, row, log_rows))]
        else:  # the lines first: a crash between two groups may leave them without the end, never the end without them
            writes = [*(self._store.write(calls.LOG, one) for one in log_rows), self._store.write(calls.END, row)]
        session_id = None if record.schedule_id is not None else call.session_id
        if session_id is not None:
            writes.append(self._sessions.end(session_id, "EXPIRED"))
        faults = await _faults(writes)
        if faults:
            _log.error("the end of call %s could not be kept, trying again: %s", record.id, faults[0])
            await self._end_again(call, row, log_rows, session_id)
        if call.lost:
            return
        if outcome.verdict is not Verdict.INTERRUPTED:
            note_duration(call.function, (end_time - record.start_time) / 1000)
        note_end(record, outcome, end_time, call.attempt)
        record.next_attempt_time = began
        self._observer.ended(call, record.status, outcome)
        call.response = outcome.response

    async def _end_again(
        self, call: LiveCall, row: dict[str, object], log_rows: Sequence[dict[str, object]], session_id: int | None
    ) -> None:
        while True:
            await asyncio.sleep(_END_RETRY)
            if call.lost:
                return
            try:
                await self._store.transact(lambda connection: calls.end(connection, row, log_rows))
                if session_id is not None:
                    await self._sessions.end(session_id, "EXPIRED")
                return
            except StoreFault as fault:
                _log.error("the end of call %s still cannot be kept: %s", row["call"], fault)


async def _faults(writes: Sequence[Awaitable[None]]) -> list[BaseException]:
    """Wait for all writes; what those that failed raised."""
    if len(writes) == 1:  # as nearly always; `gather` makes a future and some turns of the loop more
        try:
            await writes[0]
        except Exception as fault:
            return [fault]
        return []
    ends = await asyncio.gather(*writes, return_exceptions=True)
    return [end for end in ends if isinstance(end, BaseException)]


def note_duration(function: LiveFunction, seconds: float) -> None:
    """Remember that a call of `function` takes this long, or longer."""
    function.timings.append(seconds)
    del function.timings[:-_TIMINGS]
