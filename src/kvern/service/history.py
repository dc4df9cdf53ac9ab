"""What is known of calls, running or ended: lists, responses, logs (contract 4.3 to 4.8)."""

from __future__ import annotations

import asyncio

import msgspec

from kvern.service.calls import Calls
from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.elsewhere import Elsewhere
from kvern.service.functions import Functions
from kvern.service.live_calls import LiveCall
from kvern.store import Store, attempts, calls
from kvern.store.attempts import CHUNKS, AttemptRecord
from kvern.store.calls import CallRecord
from kvern.wire import calls as wire
from kvern.wire.base import page_size
from kvern.wire.errors import NotFoundError, UnknownItemsError

LIST_MOST = 1000

_LOG_EVERY = 1.0
"""Seconds between two looks for lines of a call that another server runs; it keeps them every two."""


class History:
    """Looks at live calls first, then at the store: a call's end is written before it stops being live."""

    def __init__(self, store: Store, functions: Functions, running: Calls) -> None:
        self._store = store
        self._functions = functions
        self._running = running
        self._elsewhere = Elsewhere(store)

    async def stop(self) -> None:
        """Wait for no more news."""
        await self._elsewhere.stop()

    async def page(self, project: str, function_id: int, query: wire.CallQuery) -> tuple[list[CallRecord], str | None]:
        """Newest first; the cursor to go on from when there are more.

        Raises:
            NotFoundError: there is no such function.
            InvalidError: the cursor was not made here.
        """
        self._functions.get(project, function_id)
        limit = page_size(query.limit, LIST_MOST)
        after = None
        if query.cursor is not None:
            started, call_id = read_cursor(query.cursor, 2)
            after = (started, call_id)
        wanted = query.filter or wire.CallFilter()
        rows = await self._store.look_up(lambda c: calls.page(c, function_id, wanted, limit + 1, after))
        cursor = write_cursor(rows[limit - 1].start_time, rows[limit - 1].id) if len(rows) > limit else None
        return rows[:limit], cursor

    async def get(self, project: str, function_id: int, call_id: int, wait: float = 0.0) -> CallRecord:
        """One call; waits up to `wait` seconds for its end. Raises `NotFoundError`."""
        self._functions.get(project, function_id)
        live = self._live(function_id, call_id)
        if live is not None:
            if wait > 0:
                await asyncio.wait((live.ended,), timeout=wait)
            if not live.lost:
                return live.record
        record = await self._kept(function_id, call_id)
        if wait > 0 and self._is_elsewhere(record):
            await self._elsewhere.ended(call_id, wait)
            record = await self._kept(function_id, call_id)
        return record

    async def _kept(self, function_id: int, call_id: int) -> CallRecord:
        record = await self._store.look_up(lambda connection: calls.get(connection, function_id, call_id))
        if record is None:
            raise NotFoundError(f"Call {call_id} of function {function_id} does not exist", missing=[{"id": call_id}])
        return record

    def _is_elsewhere(self, record: CallRecord) -> bool:
        """Whether another server runs it, or will."""
        return self._store.shared and record.status == "Running"

    def _live(self, function_id: int, call_id: int) -> LiveCall | None:
        """A live call that was accepted for good; one that is only being written does not exist yet."""
        live = self._running.live(call_id)
        if live is None or live.lost or live.record.function_id != function_id or not live.accepted.done():
            return None
        return live

    async def several(
        self, project: str, function_id: int, ids: list[int], *, ignore_unknown: bool
    ) -> list[CallRecord]:
        """In the order asked for. Raises `NotFoundError` for the function, `UnknownItemsError` for calls."""
        self._functions.get(project, function_id)
        found = {call_id: live.record for call_id in ids if (live := self._live(function_id, call_id)) is not None}
        rest = [call_id for call_id in ids if call_id not in found]
        if rest:
            found.update(await self._store.look_up(lambda connection: calls.several(connection, function_id, rest)))
        missing = [{"id": call_id} for call_id in ids if call_id not in found]
        if missing and not ignore_unknown:
            raise UnknownItemsError("Call ids not found", missing=missing)
        return [found[call_id] for call_id in ids if call_id in found]

    async def response(self, project: str, function_id: int, call_id: int) -> wire.CallResponse:
        """What `handle` returned; without `response` while the call runs and when it did not complete."""
        record = await self.get(project, function_id, call_id)
        body = None
        if record.status == "Completed":
            body = await self._store.look_up(lambda connection: calls.response(connection, call_id))
        answer = wire.CallResponse(function_id=function_id, call_id=call_id)
        if body is not None:
            answer.response = msgspec.Raw(body)
        return answer

    async def dead(
        self, project: str, function_id: int, limit: int | None, cursor: str | None
    ) -> tuple[list[tuple[CallRecord, int]], str | None]:
        """Calls whose attempts are used up, newest first, each with the moment (ms); the cursor when there are more.

        Raises:
            NotFoundError: there is no such function.
            InvalidError: the cursor was not made here.
        """
        self._functions.get(project, function_id)
        most = page_size(limit, LIST_MOST)
        after = None
        if cursor is not None:
            died, call_id = read_cursor(cursor, 2)
            after = (died, call_id)
        rows = await self._store.look_up(lambda connection: calls.dead(connection, function_id, most + 1, after))
        more = write_cursor(rows[most - 1][1], rows[most - 1][0].id) if len(rows) > most else None
        return rows[:most], more

    async def attempts(self, project: str, function_id: int, call_id: int) -> list[AttemptRecord]:
        """The attempts of a call that began, in order. Raises `NotFoundError`."""
        record = await self.get(project, function_id, call_id)
        live = self._live(function_id, call_id)
        found = await self._store.look_up(lambda connection: attempts.of(connection, call_id))
        if live is not None and record.status == "Running":
            if record.next_attempt_time is None:
                found.append(AttemptRecord(attempt=live.attempt, start_time=live.attempt_time))
            return found
        last = AttemptRecord(
            attempt=record.attempt or 1,
            start_time=record.next_attempt_time or record.start_time,
            verdict=record.verdict,
            end_time=record.end_time,
            error_message=record.error_message,
            error_trace=record.error_trace,
            worker=record.worker,
            cold=record.cold,
            queue_seconds=record.queue_seconds,
            run_seconds=record.run_seconds,
            cpu_seconds=record.cpu_seconds,
            peak_memory=record.peak_memory,
        )
        return [*found, last]

    async def log(
        self,
        project: str,
        function_id: int,
        call_id: int,
        after: int = 0,
        wait: float = 0.0,
        attempt: int | None = None,
    ) -> bytes:
        """The entries from number `after` on, as the JSON array's inside; those of one attempt only.

        While the call runs, waits up to `wait` seconds for an entry that is new (an addition to the contract).

        Raises:
            NotFoundError: there is no such function, call or attempt.
        """
        record = await self.get(project, function_id, call_id)
        live = self._live(function_id, call_id)
        last = live.attempt if live is not None else record.attempt or 1
        if attempt is not None and attempt > last:
            raise NotFoundError(f"Call {call_id} has no attempt {attempt}")
        if live is not None and attempt in (None, last):
            first = 0 if attempt is None else live.attempt_line
            if wait > 0:
                await live.wait_for_log(first + after, wait)
            return b",".join(live.log[first + after :])
        chunks = None if attempt is None else range((attempt - 1) * CHUNKS, attempt * CHUNKS)
        deadline = asyncio.get_running_loop().time() + wait
        entries = await self._kept_log(call_id, after, chunks)
        while not entries and self._is_elsewhere(record):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await self._elsewhere.ended(call_id, min(left, _LOG_EVERY))
            record = await self._kept(function_id, call_id)
            entries = await self._kept_log(call_id, after, chunks)
        return entries

    async def _kept_log(self, call_id: int, after: int, chunks: range | None) -> bytes:
        runs = await self._store.look_up(lambda connection: calls.log_entries(connection, call_id, chunks))
        whole = b",".join(run for run in runs if run)
        if after == 0:
            return whole
        entries = msgspec.json.decode(b"[" + whole + b"]", type=list[msgspec.Raw])
        return b",".join(bytes(entry) for entry in entries[after:])
