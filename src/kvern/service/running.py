"""Running calls: none is the request's that made it, so nothing that happens to the request stops it.

Each call is one task, from its row to its end, whoever made it; `_new_life` and `_life` are the whole way:

    new ---- kept ----> accepted ----> waiting ---- begun ----> running ---- its attempt is over ----> ended
     |                                    ^                                          |
     +-- refused --> withdrawn            +------- put off: it is tried again -------+

A call that finds a worker free is kept as begun, in the commit that accepts it; another one is written as begun when it
has a worker. An end is written with the last lines of the log and what became of the session, in one transaction. A
call whose server was cut off, or stopped before it began, is left as it is: whoever takes it up goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from kvern.engine import Engine, Outcome, Verdict
from kvern.service.admission import Admission
from kvern.service.attempting import Attempting
from kvern.service.call_logs import CallLogs
from kvern.service.clock import Clock
from kvern.service.ends import Ends
from kvern.service.functions import Functions
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.servers import Servers
from kvern.service.sessions import Binding, Sessions
from kvern.service.withdrawals import Withdrawals
from kvern.settings import Settings
from kvern.store import Store, calls
from kvern.wire.errors import InvalidError


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

    async def accept(self, call: LiveCall, bound: Binding | None, wait: float = 0.0) -> None:
        """Have a new call run; returns once it is kept for good and has ended, or `wait` seconds after it was kept.

        Args:
            bound: the session that is its alone, kept with it.

        Raises:
            IntegrityError: another call of the function has its idempotency key.
            InvalidError: its session was bound by another server meanwhile.
            StoreFault: it could not be kept. Whatever is raised, the call does not run.
        """
        self.admit(call)
        self._work(call, self._new_life(call, bound))
        await call.hold(wait)

    def _work(self, call: LiveCall, work: Coroutine[Any, Any, None]) -> None:
        call.task = asyncio.create_task(self._observer.around(call, work), name=f"call-{call.record.id}")

    def _promise(self, call: LiveCall) -> None:
        """Note whether a call will begin at once when it is kept: a worker is free that no other call will have."""
        function = call.function
        if function.revision is not None and self._engine.has_room(function.revision, function.promised):
            call.begun = True
            function.promised += 1

    def admit(self, call: LiveCall) -> None:
        """Count a call that is about to be kept, by `accept` or by somebody else: then `run` or `turn_away` follows."""
        call.server = self._servers.id
        self._promise(call)
        self._enter(call)

    def run(self, call: LiveCall) -> None:
        """Run a call that was admitted, and that somebody else has kept."""
        self._note_accepted(call)
        self._work(call, self._life(call))

    async def turn_away(self, call: LiveCall, error: BaseException, *, in_doubt: bool) -> None:
        """Forget a call that was admitted, and is not kept; `in_doubt` when it was, perhaps."""
        if in_doubt:
            await self._withdrawals.withdraw(call, ends_session=False)
        self._refuse(call, error)

    def resume(self, call: LiveCall) -> None:
        """Run a call that an earlier run of the service accepted, and of which no attempt runs."""
        self._restore(call)
        self._work(call, self._life(call))

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
            self._work(call, self._life(call))
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

    async def _new_life(self, call: LiveCall, bound: Binding | None) -> None:
        """The life of a new call: it runs once it is kept, with its session, or is refused."""
        try:
            await self._keep(call, bound)
        except BaseException as error:
            # A session that another server has bound meanwhile is that one's to end.
            has_session = bound is not None and not isinstance(error, InvalidError)
            await self._withdrawals.withdraw(call, ends_session=has_session)
            self._refuse(call, error)
        else:
            self._note_accepted(call)
            await self._life(call)

    def _keep(self, call: LiveCall, bound: Binding | None) -> Awaitable[None]:
        rows, check = (bound.rows, bound.check) if bound is not None else ((), None)
        if call.redrive is not None:
            return call.redrive.keep(call.marked_row(), rows)
        is_marked = call.key is not None or call.record.rerun_of is not None
        row = (calls.ACCEPT_MARKED, call.marked_row()) if is_marked else (calls.ACCEPT, call.accept_row())
        return self._store.write_rows([*rows, row], check)

    async def _life(self, call: LiveCall) -> None:
        """The life of a call that is kept."""
        try:
            while await self._is_due(call):
                outcome = await self._attempting.run(call)
                self._observer.attempted(call, outcome)
                if call.lost or (outcome.verdict is Verdict.INTERRUPTED and not call.begun):
                    return
                due = self._ends.retry_time(call, outcome)
                if due is None:
                    await self._ends.write(call, outcome)
                    return
                if not await self._ends.put_off(call, outcome, due):
                    return
        finally:
            self._leave(call)

    def _refuse(self, call: LiveCall, error: BaseException) -> None:
        call.function.promised -= call.begun
        self._leave(call)
        call.mark_refused(error)

    def _note_accepted(self, call: LiveCall) -> None:
        call.function.promised -= call.begun
        call.function.record.last_called = call.record.start_time
        self._observer.accepted(call)
        call.mark_accepted()

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
