"""One attempt of a call: what the engine is asked for, and what its outcome means."""

from __future__ import annotations

import logging
from functools import partial

from kvern.build.errors import BuildError
from kvern.engine import Access, Engine, Order, Outcome, Verdict
from kvern.service.functions import Functions, LiveFunction
from kvern.service.identity import CallMark
from kvern.service.issuer import BuiltinIssuer
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import checked
from kvern.service.sessions import Sessions
from kvern.settings import Settings
from kvern.store import FencedError, Store, calls

_log = logging.getLogger(__name__)


class Attempting:
    """Has the engine run calls.

    `base_url` is set when the service listens: the URL under which functions reach it.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        functions: Functions,
        sessions: Sessions,
        issuer: BuiltinIssuer,
        settings: Settings,
        observer: Observer,
    ) -> None:
        self._store = store
        self._engine = engine
        self._functions = functions
        self._sessions = sessions
        self._issuer = issuer
        self._observer = observer
        self._time_limit = settings.timeout_minutes * 60
        self._response_limit = settings.megabytes(settings.response_size_mb)
        self._log_limit = settings.megabytes(settings.log_limit_mb)
        self.base_url = ""

    async def run(self, call: LiveCall) -> Outcome:
        """Run one attempt to its end, whatever that has to wait for. Never raises, unless it is cancelled."""
        try:
            return await self._run(call)
        except FencedError as error:
            return Outcome(Verdict.INTERRUPTED, message=str(error))
        except PermissionError as error:
            return Outcome(Verdict.NOT_LOADED, message=str(error))
        except Exception:
            _log.exception("call %s met a fault", call.record.id)
            return Outcome(Verdict.CRASHED, message="A fault of the service; its log tells more")

    async def _run(self, call: LiveCall) -> Outcome:
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
        if call.lost:
            return Outcome(Verdict.INTERRUPTED, message="the server was cut off")
        return self._outcome(call, await self._engine.run(revision, self._order(call)))

    def _outcome(self, call: LiveCall, outcome: Outcome) -> Outcome:
        """The engine's outcome as it can be kept; what it tells of the function is noted."""
        outcome = checked(outcome)
        if outcome.verdict is Verdict.RETURNED and not call.acted:
            call.function.acts = False
        return outcome

    def _order(self, call: LiveCall) -> Order:
        return Order(
            call_id=call.record.id,
            data=call.data,
            timeout=self._time_limit,
            response_limit=self._response_limit,
            log_limit=self._log_limit,
            on_log=call.on_log,
            access=partial(self._access, call),
            schedule_id=call.record.schedule_id,
            scheduled_time=call.record.scheduled_time,
            soft_timeout=self._soft_timeout(call.function),
            on_begin=None if call.begun else partial(self._begin, call),
            traceparent=self._observer.traceparent(call),
        )

    def _soft_timeout(self, function: LiveFunction) -> float | None:
        before = function.options.soft_deadline_seconds
        limit = self._time_limit
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
        call.mark_running()

    def _access(self, call: LiveCall) -> Access:
        """What the handler's `client` acts with: exactly the rights of the call's session."""
        call.acted = True
        session = None if call.session_id is None else self._sessions.get(call.session_id)
        if session is None:
            raise PermissionError("The session of this call has ended or was revoked")
        mark = CallMark(call.record.id, call.attempt)
        token = self._issuer.session_token(session, self._time_limit + 60, mark)
        return Access(self.base_url, call.project, token)
