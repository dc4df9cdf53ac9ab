"""Calls over HTTP (contract 4)."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, cast

import msgspec

from kvern.server.ask import Answer, Ask, answers
from kvern.service.live_calls import LiveCall
from kvern.service.service import Service
from kvern.store.attempts import AttemptRecord
from kvern.store.calls import CallRecord
from kvern.wire import base
from kvern.wire import calls as wire
from kvern.wire.errors import InvalidError

Asks: TypeAlias = Ask[None] | Ask[wire.CallWrite] | Ask[wire.CallQuery] | Ask[wire.CallIds] | Ask[base.Ids]

_KEY = re.compile(r"[!-~]{1,255}")


class CallRoutes:
    def __init__(self, service: Service) -> None:
        self._functions = service.functions
        self._calls = service.calls
        self._history = service.history
        self._error_style: Literal["auto", "object", "string"] = service.settings.call_error

    @answers(wire.Call, 201, "Prefer", "Idempotency-Key")
    async def call(self, ask: Ask[wire.CallWrite]) -> Answer:
        """Answers when the call was kept; within the grace, or the wait that the client prefers, with its end state."""
        wait = ask.wait()
        live = await self._begin(ask, wait or None)
        return Answer(self._shown(ask, live.record), 201, _applied(wait))

    async def _begin(self, ask: Ask[wire.CallWrite], wait: float | None = 0.0) -> LiveCall:
        """Make the call, and wait for its end so many seconds; None for its function's grace."""
        data = bytes(ask.body.data)
        return await self._calls.call(
            ask.who, self._function_id(ask), b"{}" if data == b"null" else data, ask.body.nonce, _key(ask), wait
        )

    def _function_id(self, ask: Asks) -> int:
        return ask.number("function_id")

    @answers(wire.Call)
    async def cancel(self, ask: Ask[None]) -> Answer:
        """Stop a call that waits or runs; answers when nothing of it is left."""
        record = await self._calls.cancel(ask.project, self._function_id(ask), ask.number("call_id"))
        return Answer(self._shown(ask, record))

    @answers(wire.Call, 201, "Prefer")
    async def rerun(self, ask: Ask[None]) -> Answer:
        """Run a past call again with its data, as the caller; answered as a call."""
        wait = ask.wait()
        live = await self._calls.rerun(ask.who, self._function_id(ask), ask.number("call_id"), wait or None)
        return Answer(self._shown(ask, live.record), 201, _applied(wait))

    @answers(base.Page[wire.Call], 200, "limit", "cursor")
    async def dead(self, ask: Ask[None]) -> Answer:
        """Calls whose attempts are used up, the newest first."""
        cursor = ask.request.query_params.get("cursor")
        found, more = await self._history.dead(ask.project, self._function_id(ask), ask.limit(100), cursor)
        items = [msgspec.structs.replace(self._shown(ask, record), dead_time=moment) for record, moment in found]
        return Answer(base.list_body(items, more))

    @answers(base.Items[wire.Call], 201)
    async def redrive(self, ask: Ask[wire.CallIds]) -> Answer:
        """Run calls again whose attempts are used up, as the caller."""
        ids = [item.id for item in ask.body.items]
        made = await self._calls.redrive(ask.who, self._function_id(ask), ids)
        return Answer(base.list_body([self._shown(ask, live.record) for live in made]), 201)

    @answers(base.Items[wire.Attempt])
    async def attempts(self, ask: Ask[None]) -> Answer:
        """Every attempt of a call that began."""
        found = await self._history.attempts(ask.project, self._function_id(ask), ask.number("call_id"))
        return Answer(base.list_body([_attempt(record) for record in found]))

    @answers(base.Page[wire.Call], 200, "limit", "cursor")
    async def list(self, ask: Ask[None]) -> Answer:
        query = wire.CallQuery(limit=ask.limit(100), cursor=ask.request.query_params.get("cursor"))
        return await self._page(ask, query)

    @answers(base.Page[wire.Call])
    async def filter(self, ask: Ask[wire.CallQuery]) -> Answer:
        return await self._page(ask, ask.body)

    async def _page(self, ask: Ask[None] | Ask[wire.CallQuery], query: wire.CallQuery) -> Answer:
        records, cursor = await self._history.page(ask.project, self._function_id(ask), query)
        style = self._style(ask)
        return Answer(base.list_body([shown(record, style) for record in records], cursor))

    @answers(wire.Call, 200, "Prefer")
    async def retrieve(self, ask: Ask[None]) -> Answer:
        wait = ask.wait()
        record = await self._history.get(ask.project, self._function_id(ask), ask.number("call_id"), wait)
        return Answer(self._shown(ask, record), headers=_applied(wait))

    @answers(base.Items[wire.Call])
    async def by_ids(self, ask: Ask[base.Ids]) -> Answer:
        ids = [item.id for item in ask.body.items]
        records = await self._history.several(
            ask.project, self._function_id(ask), ids, ignore_unknown=bool(ask.body.ignore_unknown_ids)
        )
        return Answer(base.list_body([self._shown(ask, record) for record in records]))

    @answers(wire.CallResponse)
    async def response(self, ask: Ask[None]) -> Answer:
        return Answer(await self._history.response(ask.project, self._function_id(ask), ask.number("call_id")))

    @answers(base.Items[wire.LogEntry], 200, "after", "attempt", "Prefer")
    async def logs(self, ask: Ask[None]) -> Answer:
        wait = ask.wait()
        attempt = ask.whole("attempt", 1, 1) if "attempt" in ask.request.query_params else None
        entries = await self._history.log(
            ask.project, self._function_id(ask), ask.number("call_id"), ask.whole("after", 0, 0), wait, attempt
        )
        return Answer(b'{"items":[' + entries + b"]}", headers=_applied(wait))

    def _shown(self, ask: Asks, record: CallRecord) -> wire.Call:
        return shown(record, self._style(ask))

    def _style(self, ask: Asks) -> Literal["object", "string"]:
        if self._error_style != "auto":
            return self._error_style
        toolkit = ask.request.headers.get("x-cdp-sdk", "").startswith("CogniteToolkit:")
        return "string" if toolkit else "object"


def shown(record: CallRecord, error_style: Literal["object", "string"]) -> wire.Call:
    """What the API shows of a call; how its error is told depends on who reads it (contract 4.1)."""
    error: wire.CallError | str | None = None
    if record.status in ("Failed", "Timeout"):
        message, trace = record.error_message or "", record.error_trace or ""
        error = message if error_style == "string" else wire.CallError(message=message, trace=trace)
    return wire.Call(
        id=record.id,
        function_id=record.function_id,
        status=cast(wire.Status, record.status),
        start_time=record.start_time,
        end_time=record.end_time,
        schedule_id=record.schedule_id,
        scheduled_time=record.scheduled_time,
        error=error,
        outcome=outcome(record),
        rerun_of=record.rerun_of,
        next_attempt_time=record.next_attempt_time if record.status == "Running" else None,
    )


def _attempt(record: AttemptRecord) -> wire.Attempt:
    error = None
    if record.verdict not in (None, "returned"):
        error = wire.CallError(message=record.error_message or "", trace=record.error_trace or "")
    return wire.Attempt(
        attempt=record.attempt,
        start_time=record.start_time,
        end_time=record.end_time,
        error=error,
        outcome=outcome(record),
    )


def outcome(record: CallRecord | AttemptRecord) -> wire.CallOutcome | None:
    """Why the call ended and what it used; None while it runs."""
    if record.verdict is None:
        return None
    return wire.CallOutcome(
        verdict=cast(wire.Verdict, record.verdict),
        queue_seconds=_rounded(record.queue_seconds),
        run_seconds=_rounded(record.run_seconds),
        cpu_seconds=_rounded(record.cpu_seconds),
        peak_memory=record.peak_memory,
        cold=record.cold,
        worker=record.worker,
        attempt=record.attempt,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _key(ask: Asks) -> str | None:
    """The idempotency key. Raises `InvalidError` unless it is 1 to 255 visible ASCII characters."""
    given = ask.request.headers.get("idempotency-key")
    if given is not None and not _KEY.fullmatch(given):
        raise InvalidError(f"Expected 1 to 255 visible ASCII characters as Idempotency-Key, given {given[:40]!r}")
    return given


def _applied(wait: float) -> dict[str, str]:
    return {"preference-applied": f"wait={wait:.0f}"} if wait else {}
