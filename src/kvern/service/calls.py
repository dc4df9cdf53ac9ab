"""Calls: accepted or refused, taken up after a restart; each reaches exactly one end state (contract 4, 11.4, 11.7)."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from sqlalchemy.exc import IntegrityError

from kvern.engine import Engine, Outcome, Verdict
from kvern.service.admission import Admission
from kvern.service.clock import Clock
from kvern.service.elsewhere import Elsewhere
from kvern.service.ends import note_duration
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import CallMark, Principal
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import Key, LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import end_row
from kvern.service.redrives import Redrive
from kvern.service.running import Running
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.service.turnstile import Turnstile
from kvern.settings import Settings
from kvern.store import Store, calls
from kvern.store.calls import CallRecord, PastCall, UnfinishedCall
from kvern.store.schedules import ScheduleRecord
from kvern.wire.errors import (
    ApiError,
    BusyError,
    ConflictError,
    InvalidError,
    NotFoundError,
    TooLargeError,
    UnknownItemsError,
    UnprocessableError,
)

_CANCEL_SECONDS = 10.0
"""For which a call that another server runs is waited for when it is cancelled."""


class Calls:
    """Takes calls, from whoever asks and from schedules, and has them run."""

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
        servers: Servers,
    ) -> None:
        self._store = store
        self.observer = observer
        self._clock = clock
        self._functions = functions
        self._sessions = sessions
        self._settings = settings
        self._servers = servers
        self._elsewhere = Elsewhere(store)
        self._engine = engine
        self._admission = Admission(settings, servers)
        self._turnstile = Turnstile()
        self._running = Running(
            store, clock, engine, sessions, issuer, self._admission, settings, observer, functions, servers
        )
        self._arriving: dict[tuple[int, str], asyncio.Future[None]] = {}
        """Calls with an idempotency key that are being looked up or accepted, by function and key."""
        self._left: list[UnfinishedCall] = []
        functions.before_delete(self._stop_calls)

    async def load(self) -> None:
        """Look up what an earlier run left. Comes before the first call of this run, which would look the same."""
        self._left = await self._store.read(calls.unfinished)

    def reached_under(self, base_url: str) -> None:
        """The service listens: functions reach it under this URL."""
        self._running.reached_under(base_url)

    async def start(self) -> None:
        """Take up what an earlier run left: calls that had begun end as Failed, or are tried again; the others run."""
        for left in self._left:
            await self._take_up(left, "The call was interrupted by a restart of the service")
        self._left = []
        self._running.start()

    async def take_over(self, lost: dict[int, str | None]) -> None:
        """Take up calls that are this server's since theirs died; by id, whose each was. Raises `StoreFault`."""
        me = self._servers.id
        for left in await self._store.read(lambda connection: calls.unfinished(connection, me)):
            number = left.record.id
            if number in lost and self._running.get(number) is None and self._servers.id == me:
                if left.session_id is not None:
                    await self._sessions.look_for(left.session_id)
                await self._take_up(left, f"The call was interrupted: server {lost[number]} died")

    def cut_off(self) -> None:
        """This server is taken for dead: all calls are others' now."""
        self._running.cut_off()

    async def reload(self, ids: set[str] | None) -> None:
        """Another server was told to cancel some of those that run here."""
        for number in ids or ():
            call = self._running.get(int(number))
            if call is not None:
                if not call.cancelled.done():
                    call.cancelled.set_result(None)
                await self._engine.cancel(int(number))

    async def _take_up(self, left: UnfinishedCall, interrupted: str) -> None:
        record = left.record
        try:
            function = self._functions.get(left.project, record.function_id)
        except ApiError:
            function = None
        if left.cancel_time is not None:
            await self._end_left(left, Outcome(Verdict.CANCELLED, message="the call was cancelled"))
            return
        if function is None:
            await self._end_left(left, Outcome(Verdict.INTERRUPTED, message="Its function is not there any more"))
            return
        call = LiveCall(record, function, left.session_id, left.data)
        if left.begun or call.attempt > 1:
            call.restore_log(await self._store.read(lambda connection: calls.log_entries(connection, record.id)))
        if left.begun:
            await self._running.interrupted(call, interrupted)
        else:
            self._running.resume(call)

    async def _end_left(self, left: UnfinishedCall, outcome: Outcome) -> None:
        record = left.record
        now, due = self._clock.now(), record.next_attempt_time
        attempt_time = None if due is None else min(due, now)  # it may have been cancelled before it was due
        row = end_row(record.id, outcome, now, record.attempt or 1, attempt_time=attempt_time, server=self._servers.id)
        await self._store.write(calls.END, row)
        if left.session_id is not None and record.schedule_id is None:
            await self._sessions.end(left.session_id, "EXPIRED")

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait for those that run, but no longer than `seconds`, and not after `hurry`."""
        self._admission.closed = True
        await self._running.drain(seconds)

    def hurry(self) -> None:
        """End the waiting of `drain`."""
        self._running.hurry()

    async def stop(self) -> None:
        """Wait until the end of every call is written; the engine has ended them all."""
        self._admission.closed = True
        await self._elsewhere.stop()
        await self._running.stop()

    async def call(
        self,
        principal: Principal,
        function_id: int,
        data: bytes,
        nonce: str | None,
        key: str | None = None,
        wait: float | None = 0.0,
    ) -> LiveCall:
        """Accept a call; returned once it is kept for good and has ended, or `wait` seconds after it was kept.

        Args:
            key: idempotency key: when the function has a call with it already, that one is returned, and nothing else
                happens.
            wait: None for the grace of its function.

        Raises:
            NotFoundError: there is no such function.
            InvalidError: the function is not Ready, or the nonce cannot be bound.
            TooLargeError: `data` is too large.
            BusyError: too many calls run; nothing happened.
            UnprocessableError: the function has a call with the same key and other data.
        """
        function = self._functions.get(principal.project, function_id)
        seconds = self.grace(function) if wait is None else wait
        if not self._turnstile.is_crowded(function_id):
            return await self._call(principal, function, data, nonce, key, seconds)
        self._admission.check(function, self._turnstile.waiting(function_id) + 1)
        place = await self._turnstile.enter(function_id)
        try:
            function = self._functions.get(principal.project, function_id)  # it may be gone by now
            call = await self._call(principal, function, data, nonce, key, seconds)
        except BaseException:
            place.leave()
            raise
        call.ended.add_done_callback(place.leave)
        return call

    async def _call(
        self,
        principal: Principal,
        function: LiveFunction,
        data: bytes,
        nonce: str | None,
        key: str | None,
        seconds: float,
    ) -> LiveCall:
        if key is None:
            call = await self._new(principal, function, data, nonce, wait=seconds)
        else:
            call = await self._keyed(principal, function, data, nonce, Key(key, sha256(data).hexdigest()))
            await call.wait_for_end(seconds)
        if seconds:
            self._note_slow(call)
        return call

    def _note_slow(self, call: LiveCall) -> None:
        """The answer goes out; a call that still runs tells how long its function takes at least."""
        if not call.ended.done() and call.running_since is not None:
            note_duration(call.function, asyncio.get_running_loop().time() - call.running_since)

    async def _keyed(
        self, principal: Principal, function: LiveFunction, data: bytes, nonce: str | None, key: Key
    ) -> LiveCall:
        place = (function.record.id, key.word)
        while place in self._arriving:
            await asyncio.wait((self._arriving[place],))
        self._arriving[place] = arrived = asyncio.get_running_loop().create_future()
        try:
            known = await self._known(function, key)
            if known is not None:
                return known
            try:
                return await self._new(principal, function, data, nonce, key)
            except IntegrityError:  # another service on the same database was quicker
                known = await self._known(function, key)
                if known is None:
                    raise
                return known
        finally:
            del self._arriving[place]
            arrived.set_result(None)

    async def _known(self, function: LiveFunction, key: Key) -> LiveCall | None:
        """The call that was made with a key. Raises `UnprocessableError` when it had other data."""
        found = await self._store.read(lambda connection: calls.by_key(connection, function.record.id, key.word))
        if found is None:
            return None
        record, digest = found
        if digest != key.digest:
            raise UnprocessableError(
                f"Expected other data, or another Idempotency-Key: call {record.id} has the key {key.word!r} and was "
                "made with data that differs"
            )
        live = self._running.get(record.id)
        if live is not None:
            await asyncio.wait((live.accepted,))
            return live if live.accepted.exception() is None else None
        past = LiveCall(record, function, None, b"")
        if record.status == "Completed":
            past.response = await self._store.read(lambda connection: calls.response(connection, record.id))
        past.accepted.set_result(None)
        past.ended.set_result(None)
        return past

    async def _new(
        self,
        principal: Principal,
        function: LiveFunction,
        data: bytes,
        nonce: str | None,
        key: Key | None = None,
        rerun_of: int | None = None,
        *,
        redrive: Redrive | None = None,
        wait: float = 0.0,
    ) -> LiveCall:
        if function.record.status != "Ready" or function.deleted:
            hint = f": {function.record.error_message}" if function.record.status == "Failed" else ""
            which = f"function {function.record.id} is {function.record.status}{hint}"
            raise InvalidError(f"Expected a function that is Ready, but {which}")
        most = self._settings.megabytes(self._settings.data_limit_mb)
        if len(data) > most:
            raise TooLargeError(f"Expected at most {most} bytes of data, given {len(data)}")
        if nonce is not None:
            await self._sessions.look_for_nonce(nonce)
        # From here on nothing is awaited until the call is this server's: it must not be cut off in between.
        self._admission.check(function)
        record = self._new_record(function)
        record.rerun_of = rerun_of
        if nonce is not None:
            bound = self._sessions.bind(principal.project, nonce)
        elif function.acts or principal.session_id is not None:
            bound = self._sessions.implicit(principal)
        else:  # nobody would ever act in the session: two rows less to write
            bound = None
        session_id = None if bound is None else bound.session.id
        call = LiveCall(record, function, session_id, data, key, redrive=redrive)
        await self._running.accept(call, bound, wait)
        return call

    async def rerun(self, principal: Principal, function_id: int, call_id: int, wait: float | None = 0.0) -> LiveCall:
        """Run a past call again, with its data, on today's code and as `principal`; as `call`.

        Raises:
            NotFoundError: there is no such function or call.
            ConflictError: the call has not ended.
        """
        function = self._functions.get(principal.project, function_id)
        past = (await self._past(function, [call_id])).get(call_id)
        if past is None:
            raise _unknown(function_id, call_id)
        if past.status == "Running":
            raise ConflictError(f"Expected a call that has ended, and call {call_id} has not")
        seconds = self.grace(function) if wait is None else wait
        call = await self._new(principal, function, past.data, None, rerun_of=call_id, wait=seconds)
        if seconds:
            self._note_slow(call)
        return call

    async def redrive(self, principal: Principal, function_id: int, ids: list[int]) -> list[LiveCall]:
        """Run calls again whose attempts are used up; they leave the list of such calls, each only once. All or none.

        Raises:
            NotFoundError: there is no such function.
            UnknownItemsError: there is no such call.
            ConflictError: one is not in that list.
            BusyError: there is no room for all.
        """
        function = self._functions.get(principal.project, function_id)
        past = await self._past(function, ids)
        missing = [{"id": call_id} for call_id in ids if call_id not in past]
        if missing:
            raise UnknownItemsError("Call ids not found", missing=missing)
        alive = [call_id for call_id in ids if past[call_id].dead_time is None]
        if alive:
            raise ConflictError(f"Expected calls whose attempts are used up, and {alive} are not such")
        self._admission.check(function, len(ids))
        redrive = Redrive(self._store, len(ids))
        again = (
            self._new(principal, function, past[call_id].data, None, rerun_of=call_id, redrive=redrive)
            for call_id in ids
        )
        try:
            return list(await asyncio.gather(*again))
        except BaseException as error:
            redrive.give_up(error)
            raise

    async def _past(self, function: LiveFunction, ids: list[int]) -> dict[int, PastCall]:
        return await self._store.read(lambda connection: calls.past(connection, function.record.id, ids))

    async def cancel(self, project: str, function_id: int, call_id: int) -> CallRecord:
        """Stop a call that waits or runs; returned once nothing of it is left.

        Raises:
            NotFoundError: there is no such function or call.
            ConflictError: it has ended otherwise.
        """
        function = self._functions.get(project, function_id)
        call = self._running.get(call_id)
        if call is not None and call.function is function:
            await self._store.write(calls.CANCEL, {"call": call_id, "moment": self._clock.now()})
            await self._running.cancel(call)
            record = call.record
        else:
            found = await self._store.read(lambda connection: calls.get(connection, function_id, call_id))
            if found is None:
                raise _unknown(function_id, call_id)
            if found.status == "Running" and self._servers.shared:
                found = await self._cancel_elsewhere(function_id, call_id) or found
            record = found
        if record.verdict != Verdict.CANCELLED:
            raise ConflictError(
                f"Expected a call that runs or waits, and call {call_id} is {record.status}"
                + (f" ({record.verdict})" if record.verdict else "")
            )
        return record

    async def _cancel_elsewhere(self, function_id: int, call_id: int) -> CallRecord | None:
        """Have the server that runs it cancel a call."""
        await self._store.write(calls.CANCEL, {"call": call_id, "moment": self._clock.now()})
        await self._elsewhere.ended(call_id, _CANCEL_SECONDS)
        return await self._store.read(lambda connection: calls.get(connection, function_id, call_id))

    def due(self, function: LiveFunction, schedule: ScheduleRecord, due: int) -> LiveCall:
        """The call of one due time of a schedule, made ahead of it: nothing is counted or kept."""
        data = schedule.data if schedule.data is not None else b"{}"
        return LiveCall(self._new_record(function, (schedule.id, due)), function, schedule.session_id, data)

    def refusal(self, function: LiveFunction) -> str | None:
        """Why a call would be refused now; None when it would not."""
        try:
            self._admission.check(function)
        except BusyError as error:
            return error.message
        return None

    def admit(self, call: LiveCall) -> None:
        """Count a call that was made by `due`; its row is to be kept, then comes `run` or `turn_away`."""
        self._running.admit(call)

    def run(self, call: LiveCall) -> None:
        """Run a call that `admit` counted: its row is kept."""
        self._running.run(call)

    async def turn_away(self, call: LiveCall, error: BaseException, *, in_doubt: bool) -> None:
        """Forget a call that `admit` counted: its row was not kept, or, `in_doubt`, nobody knows whether it was."""
        await self._running.turn_away(call, error, in_doubt=in_doubt)

    def of_schedule(self, schedule_id: int) -> list[LiveCall]:
        """The calls of a schedule that have not ended and that run here."""
        return [call for call in self._running.everything() if call.record.schedule_id == schedule_id]

    def is_alive(self, call: CallMark) -> bool | None:
        """Whether an attempt of a call runs here; None when another server has the call, perhaps."""
        live = self._running.get(call.id)
        if live is not None:
            return live.attempt == call.attempt and not live.lost
        return None if self._servers.shared else False

    async def runs_elsewhere(self, call: CallMark) -> bool:
        """Whether a call that is not here has not ended."""
        return not await self._store.read(lambda connection: calls.ended(connection, [call.id]))

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

    def grace(self, function: LiveFunction) -> float:
        """Seconds to hold the answer to a call back: none for a function whose recent calls ran longer than that."""
        grace = self._settings.call_grace_ms / 1000
        timings = function.timings
        return 0.0 if timings and sorted(timings)[len(timings) // 2] >= grace else grace

    async def _stop_calls(self, functions: list[LiveFunction]) -> None:
        await self._running.cancel_all({function.record.id for function in functions})

    def running(self) -> dict[str, int]:
        """How many calls have not ended, by project."""
        return self._admission.running

    def live(self, call_id: int) -> LiveCall | None:
        """A call that has not ended, or None."""
        return self._running.get(call_id)


def _unknown(function_id: int, call_id: int) -> NotFoundError:
    return NotFoundError(f"Call {call_id} of function {function_id} does not exist", missing=[{"id": call_id}])
