"""How an attempt's end is written: the call's one end state with its log, or that there is another attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kvern.engine import Outcome, Verdict
from kvern.service.backoff import delay, is_retried
from kvern.service.call_logs import CallLogs
from kvern.service.clock import Clock
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.observer import Observer
from kvern.service.outcomes import attempt_row, end_row, note_end
from kvern.service.sessions import Sessions
from kvern.store import Row, Store, StoreFault, attempts, calls

_RETRY = 1.0
"""Seconds between two tries to write an end."""

_TIMINGS = 8

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class End:
    """An end that is being written.

    Args:
        moment: when the call ended, in ms since the epoch.
        row, log_rows: what is written of it.
        session: what is written of the sessions that end with it.
    """

    call: LiveCall
    outcome: Outcome
    moment: int
    row: dict[str, object]
    log_rows: Sequence[dict[str, object]]
    session: Sequence[Row]


class Ends:
    """Writes ends. While the store refuses, it is tried again: the end of a call must not be lost."""

    def __init__(self, store: Store, clock: Clock, sessions: Sessions, observer: Observer, logs: CallLogs) -> None:
        self._store = store
        self._clock = clock
        self._sessions = sessions
        self._observer = observer
        self._logs = logs

    def retry_time(self, call: LiveCall, outcome: Outcome) -> int | None:
        """When the call is tried again, in ms since the epoch; None when it is not."""
        retries = call.function.options.retries
        if retries is None or not is_retried(retries, outcome) or call.attempt >= retries.attempts:
            return None
        if call.cancelled.done() or call.function.deleted:
            return None
        return self._clock.now() + int(delay(retries, call.attempt) * 1000)

    async def put_off(self, call: LiveCall, outcome: Outcome, due: int) -> bool:
        """Write that an attempt failed and when the next is due; while the store refuses, try again.

        False when the next attempt is not this server's: others have taken the call over.
        """
        row = attempt_row(call.record.id, call.attempt, outcome, call.attempt_time, self._clock.now())
        log_rows = self._log_rows(call)
        while not call.lost:
            try:
                is_kept = await self._store.transact(
                    lambda connection: attempts.put_off(connection, row, due, log_rows, call.server)
                )
            except StoreFault as fault:
                _log.error("an attempt of call %s could not be kept, trying again: %s", call.record.id, fault)
                await asyncio.sleep(_RETRY)
                continue
            call.put_off(due)
            return is_kept and not call.lost
        return False

    async def write(self, call: LiveCall, outcome: Outcome) -> None:
        """Write the end of a call, with what is left of its log and the end of its sessions: all or nothing."""
        end = self._end(call, outcome)
        try:
            await self._store.write_rows(
                [*((calls.LOG, row) for row in end.log_rows), (calls.END, end.row), *end.session]
            )
        except Exception as fault:
            await self._write_again(end, fault)
        self._note(end)

    async def _write_again(self, end: End, fault: BaseException) -> None:
        """Write an end that was refused, until it is kept."""
        _log.error("the end of call %s could not be kept, trying again: %s", end.row["call"], fault)
        while True:
            await asyncio.sleep(_RETRY)
            if end.call.lost:
                return
            try:
                await self._store.transact(lambda connection: calls.end(connection, end.row, end.log_rows, end.session))
                return
            except StoreFault as again:
                _log.error("the end of call %s still cannot be kept: %s", end.row["call"], again)

    def _note(self, end: End) -> None:
        """Take over into memory what is kept now."""
        call, record, outcome = end.call, end.call.record, end.outcome
        if call.lost:
            return
        if outcome.verdict is not Verdict.INTERRUPTED:
            note_duration(call.function, outcome.run_seconds)
        note_end(record, outcome, end.moment, call.attempt)
        record.next_attempt_time = call.later_attempt_time
        self._observer.ended(call, record.status, outcome)
        call.response = outcome.response

    def _end(self, call: LiveCall, outcome: Outcome) -> End:
        record = call.record
        moment = max(self._clock.now(), record.start_time)
        retries = call.function.options.retries
        is_dead = retries is not None and is_retried(retries, outcome) and call.attempt >= retries.attempts
        began, server = call.later_attempt_time, call.server
        row = end_row(record.id, outcome, moment, call.attempt, attempt_time=began, dead=is_dead, server=server)
        rows: list[Row] = []
        if call.session_id is not None and record.schedule_id is None:
            rows += self._sessions.ended(call.session_id, "EXPIRED")
        if call.acted:
            rows += self._sessions.ended_made_in(record.id)
        return End(call, outcome, moment, row, self._log_rows(call), rows)

    def _log_rows(self, call: LiveCall) -> list[dict[str, object]]:
        rows = self._logs.take(call.record.id)
        row = call.unkept_log()
        return rows if row is None else [*rows, row]


def note_duration(function: LiveFunction, seconds: float) -> None:
    """Remember for how long a call of `function` ran, or has run so far; what it waited for a worker does not count."""
    function.timings.append(seconds)
    del function.timings[:-_TIMINGS]
