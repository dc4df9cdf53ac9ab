"""Calls: accepted or refused, taken up after a restart; each reaches exactly one end state (contract 4, 11.4, 11.7)."""

from __future__ import annotations

from collections.abc import Awaitable

from sqlalchemy.exc import IntegrityError

from kvern.engine import Engine, Outcome, Verdict
from kvern.service.admission import Admission
from kvern.service.clock import Clock
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import Principal
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import end_row, refused
from kvern.service.running import Running, note_duration
from kvern.service.sessions import Sessions
from kvern.settings import Settings
from kvern.store import Store, calls
from kvern.store.calls import CallRecord, UnfinishedCall
from kvern.store.schedules import ScheduleRecord
from kvern.wire.errors import ApiError, BusyError, InvalidError, TooLargeError


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
    ) -> None:
        self._store = store
        self.observer = observer
        self._clock = clock
        self._functions = functions
        self._sessions = sessions
        self._settings = settings
        self._admission = Admission(settings)
        self._running = Running(store, clock, engine, sessions, issuer, self._admission, settings, observer)
        self._left: list[UnfinishedCall] = []
        functions.before_delete(self._stop_calls)

    async def load(self) -> None:
        """Look up what an earlier run left. Comes before the first call of this run, which would look the same."""
        self._left = await self._store.read(calls.unfinished)

    def reached_under(self, base_url: str) -> None:
        """The service listens: functions reach it under this URL."""
        self._running.base_url = base_url

    async def start(self) -> None:
        """Take up what an earlier run left: calls that had begun end as Failed, the others run now."""
        for left in self._left:
            await self._take_up(left)
        self._left = []
        self._running.start()

    async def _take_up(self, left: UnfinishedCall) -> None:
        record = left.record
        try:
            function = self._functions.get(left.project, record.function_id)
        except ApiError:
            function = None
        if left.begun or function is None:
            outcome = Outcome(Verdict.INTERRUPTED, message="The call was interrupted by a restart of the service")
            await self._store.write(calls.END, end_row(record.id, outcome, self._clock.now()))
            if left.session_id is not None and record.schedule_id is None:
                await self._sessions.end(left.session_id, "EXPIRED")
            return
        self._running.resume(LiveCall(record, function, left.session_id, left.data))

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
        await self._running.stop()

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
        self._admission.check(function)
        record = self._new_record(function)
        if nonce is not None:
            session, bound = self._sessions.bind(principal.project, nonce)
        elif function.acts or principal.session_id is not None:
            session, bound = self._sessions.implicit(principal)
        else:  # nobody would ever act in the session: two rows less to write
            return await self._accept(record, function, None, data, None)
        return await self._accept(record, function, session.id, data, bound)

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

    def has_worker(self, function: LiveFunction) -> bool:
        """Whether a call would begin at once."""
        return self._running.has_worker(function)

    def admit(self, call: LiveCall, *, begun: bool) -> dict[str, object]:
        """Start a call that was made by `due`, and count it; its row is to be kept, then comes `run` or `turn_away`."""
        call.begun = begun
        call.record.start_time = self._clock.now()
        self._running.admit(call)
        return call.accept_row()

    def refuse(self, call: LiveCall, refusal: str) -> dict[str, object]:
        """The row to keep of a call that was made by `due` and cannot run: Failed with the reason."""
        call.record.start_time = self._clock.now()
        return {**call.accept_row(), **refused(refusal, call.record.start_time)}

    def run(self, call: LiveCall) -> None:
        """Run a call that `admit` counted: its row is kept."""
        self._running.run(call)

    async def turn_away(self, call: LiveCall, error: BaseException) -> None:
        """Forget a call that `admit` counted: its row was not kept, or it is not known whether it was."""
        await self._running.turn_away(call, error, was_kept=not isinstance(error, IntegrityError))

    def of_schedule(self, schedule_id: int) -> list[LiveCall]:
        """The calls of a schedule that have not ended and that run here."""
        return [call for call in self._running.everything() if call.record.schedule_id == schedule_id]

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
        self,
        record: CallRecord,
        function: LiveFunction,
        session_id: int | None,
        data: bytes,
        bound: Awaitable[None] | None,
    ) -> LiveCall:
        call = LiveCall(record, function, session_id, data)
        await self._running.accept(call, bound)
        return call

    def grace(self, function: LiveFunction) -> float:
        """Seconds to hold the answer to a call back: none for a function whose recent calls ran longer than that."""
        grace = self._settings.call_grace_ms / 1000
        timings = function.timings
        return 0.0 if timings and sorted(timings)[len(timings) // 2] >= grace else grace

    def note_duration(self, function: LiveFunction, seconds: float) -> None:
        """Remember that a call of `function` takes this long, or longer."""
        note_duration(function, seconds)

    async def _stop_calls(self, functions: list[LiveFunction]) -> None:
        await self._running.cancel_all({function.record.id for function in functions})

    def running(self) -> dict[str, int]:
        """How many calls have not ended, by project."""
        return self._admission.running

    def live(self, call_id: int) -> LiveCall | None:
        """A call that has not ended, or None."""
        return self._running.get(call_id)
