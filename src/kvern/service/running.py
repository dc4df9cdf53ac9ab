"""Running calls: none is the request's that made it, so nothing that happens to the request stops it.

accepted is written -> the answer may go out -> a worker is free (a waiting call writes "begun") -> it runs
-> end state, response and logs are written, in one group -> waiters wake

An attempt after which there is another one is written apart, and the call waits until that is due.

Each call is driven by a task of its own, which waits for whatever there is to wait for. One that finds a worker free,
as nearly all do, waits for three things only: that it is kept, the worker's answer, that its end is kept. It goes the
straight way, where each of these calls what comes next, and a task is made only when something is out of the ordinary:
tasks, and the turns of the event loop that they take, are a good part of what a call costs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from kvern.engine import Engine, Outcome, Verdict
from kvern.service.admission import Admission
from kvern.service.attempting import Attempting
from kvern.service.call_logs import CallLogs
from kvern.service.clock import Clock
from kvern.service.ends import End, Ends, faults_of
from kvern.service.functions import Functions
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.service.withdrawals import Withdrawals
from kvern.settings import Settings
from kvern.store import Store, calls
from kvern.wire.errors import InvalidError

_log = logging.getLogger(__name__)


class Running:
    """The calls that have not ended."""

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
        self._admission = admission
        self._observer = observer
        self._servers = servers
        self._live: dict[int, LiveCall] = {}
        self._logs = CallLogs(store, self.everything)
        self._attempting = Attempting(store, engine, functions, sessions, issuer, settings, observer)
        self._ends = Ends(store, clock, sessions, observer, self._logs)
        self._withdrawals = Withdrawals(store, clock, sessions, servers)
        self._hurry = asyncio.Event()
        self._stopping = asyncio.Event()

    def reached_under(self, base_url: str) -> None:
        """The service listens: functions reach it under this URL."""
        self._attempting.base_url = base_url

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

    async def accept(self, call: LiveCall, bound: Awaitable[None] | None, wait: float = 0.0) -> None:
        """Have a new call run; returns once it is kept for good and has ended, or `wait` seconds after it was kept.

        Args:
            bound: the writing of a session that is its alone.
        """
        call.server = self._servers.id
        self._enter(call)
        # A call that finds a worker begins with the commit that accepts it, and needs no second one.
        self._promise(call)
        if call.begun and bound is None and call.redrive is None and self._observer.tracer is None:
            call.context = contextvars.copy_context()
            asyncio.ensure_future(self._keep(call)).add_done_callback(partial(self._kept, call))
        else:
            self._work(call, self._drive(call, bound))
        await call.hold(wait)

    def _work(self, call: LiveCall, work: Coroutine[Any, Any, None]) -> None:
        """Do what is to be done for a call in a task of its own."""
        around = self._observer.around(call, work)
        call.task = asyncio.create_task(around, name=f"call-{call.record.id}", context=call.context)

    def _promise(self, call: LiveCall) -> None:
        """Note whether a call will begin at once when it is kept: a worker is free that no other call will have."""
        function = call.function
        if function.revision is not None and self._engine.has_room(function.revision, function.promised):
            call.begun = True
            function.promised += 1

    def admit(self, call: LiveCall) -> None:
        """Count a call that somebody else keeps; `run` or `turn_away` follows."""
        call.server = self._servers.id
        self._promise(call)
        self._enter(call)

    def run(self, call: LiveCall) -> None:
        """Drive a call that was admitted, and is kept now."""
        self._work(call, self._accepted(call))

    async def turn_away(self, call: LiveCall, error: BaseException, *, in_doubt: bool) -> None:
        """Forget a call that was admitted, and is not kept; `in_doubt` when it was, perhaps."""
        if in_doubt:
            await self._withdrawals.withdraw(call, ends_session=False)
        self._refuse(call, error)

    def resume(self, call: LiveCall) -> None:
        """Drive a call that an earlier run of the service accepted, and of which no attempt runs."""
        self._restore(call)
        self._drive_on(call)

    def _drive_on(self, call: LiveCall) -> None:
        self._work(call, self._run(call))

    async def interrupted(self, call: LiveCall, why: str) -> None:
        """End a call that ran when an earlier run of the service, or its server, died; or try it again if it may be."""
        call.begun = True
        self._restore(call)
        outcome = Outcome(Verdict.INTERRUPTED, message=why)
        due = self._ends.retry_time(call, outcome)
        if due is None:
            await self._ends.write(call, outcome)
            self._leave(call)
        elif await self._ends.put_off(call, outcome, due):
            self._drive_on(call)
        else:
            self._leave(call)

    def _restore(self, call: LiveCall) -> None:
        call.server = self._servers.id
        call.mark_accepted()
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
        await self._withdrawals.stop()
        ended = [call.ended for call in self._live.values()]
        if ended:
            await asyncio.wait(ended, timeout=10)
        late = [call.task for call in self._live.values() if call.task is not None]
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
        call.mark_ended()

    async def _drive(self, call: LiveCall, bound: Awaitable[None] | None) -> None:
        writes = [self._keep(call)]
        if bound is not None:
            writes.append(bound)
        has_session = bound is not None
        try:
            faults = await faults_of(writes)
            # One that another server has bound meanwhile is that one's to end.
            has_session = has_session and not any(isinstance(fault, InvalidError) for fault in faults)
            if faults:
                raise faults[0]
        except BaseException as error:
            await self._turn_down(call, error, ends_session=has_session)
            return
        await self._accepted(call)

    async def _turn_down(self, call: LiveCall, error: BaseException, *, ends_session: bool = False) -> None:
        await self._withdrawals.withdraw(call, ends_session=ends_session)
        self._refuse(call, error)

    def _refuse(self, call: LiveCall, error: BaseException) -> None:
        call.function.promised -= call.begun
        self._leave(call)
        call.mark_refused(error)

    async def _accepted(self, call: LiveCall) -> None:
        self._note_accepted(call)
        await self._run(call)

    def _note_accepted(self, call: LiveCall) -> None:
        call.function.promised -= call.begun
        call.function.record.last_called = call.record.start_time
        self._observer.accepted(call)
        call.mark_accepted()

    def _keep(self, call: LiveCall) -> Awaitable[None]:
        if call.redrive is not None:
            return call.redrive.keep(call.marked_row())
        if call.key is not None or call.record.rerun_of is not None:
            return self._store.write(calls.ACCEPT_MARKED, call.marked_row())
        return self._store.write(calls.ACCEPT, call.accept_row())

    def _kept(self, call: LiveCall, write: asyncio.Future[None]) -> None:
        """The straight way: a call was kept, or refused."""
        fault = asyncio.CancelledError("the write was broken off") if write.cancelled() else write.exception()
        if fault is not None:
            self._work(call, self._turn_down(call, fault))
            return
        self._note_accepted(call)
        if not self._hand_over(call):
            self._work(call, self._run(call))

    def _hand_over(self, call: LiveCall) -> bool:
        """Give a call to a worker that is free; False, and nothing has happened, when there is none, or a fault."""
        try:
            ready = self._attempting.at_hand(call)
            return ready is not None and self._engine.hand_over(*ready, partial(self._answered, call))
        except Exception:
            _log.exception("call %s could not go straight to a worker", call.record.id)
            return False

    def _answered(self, call: LiveCall, outcome: Outcome) -> None:
        """The straight way: the call is over."""
        try:
            outcome = self._attempting.outcome(call, outcome)
        except Exception:
            _log.exception("call %s met a fault", call.record.id)
            outcome = Outcome(Verdict.CRASHED, message="A fault of the service; its log tells more")
        if call.lost or self._ends.retry_time(call, outcome) is not None:
            self._work(call, self._run(call, outcome))
        else:
            self._observer.attempted(call, outcome)
            self._ends.begin(call, outcome, self._written)

    def _written(self, end: End, faults: Sequence[BaseException]) -> None:
        """The straight way: the end of a call was kept, or refused."""
        if faults:
            self._work(end.call, self._write_again(end, faults[0]))
            return
        try:
            self._ends.note(end)
        finally:
            self._leave(end.call)

    async def _write_again(self, end: End, fault: BaseException) -> None:
        try:
            await self._ends.write_again(end, fault)
            self._ends.note(end)
        finally:
            self._leave(end.call)

    async def _run(self, call: LiveCall, outcome: Outcome | None = None) -> None:
        """Run a call to its end; `outcome` is that of an attempt that was made already."""
        try:
            while outcome is not None or await self._is_due(call):
                outcome = outcome or await self._attempting.run(call)
                self._observer.attempted(call, outcome)
                if call.lost or (outcome.verdict is Verdict.INTERRUPTED and not call.begun):
                    return  # it never began, so it runs when the service starts again
                due = self._ends.retry_time(call, outcome)
                if due is None:
                    await self._ends.write(call, outcome)
                    return
                if not await self._ends.put_off(call, outcome, due):
                    return
                outcome = None
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
