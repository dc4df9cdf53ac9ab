"""Function Apps over HTTP (contract 10): functions by external id, whose calls answer in the same request."""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import quote

import msgspec

from kvern.server.ask import Answer, Ask, answers
from kvern.server.calls import Asks, CallRoutes
from kvern.service.live_calls import LiveCall
from kvern.service.service import Service
from kvern.wire import calls as wire_calls
from kvern.wire import functions as wire_functions
from kvern.wire.base import ByIdOrExternalId, Items, list_body
from kvern.wire.errors import NotFoundError
from kvern.wire.function_apps import AppCall, AppError, RuntimeStatus

_ERROR_CODES = {"Failed": 500, "Timeout": 504}


class FunctionAppRoutes(CallRoutes):
    """The calls of a function under its external id; lists, responses and logs are those of `CallRoutes`.

    Any function with an external id can be called so: what makes it an app is how its `handle` answers.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._time_limit = service.settings.timeout_minutes * 60

    def _function_id(self, ask: Asks) -> int:
        external_id = ask.text("external_id")
        function = self._functions.find(ask.project, ByIdOrExternalId(external_id=external_id))
        if function is None:
            raise NotFoundError(
                f"There is no function with the external id {external_id[:255]!r}",
                missing=[{"externalId": external_id}],
            )
        return function.record.id

    @answers(Items[wire_functions.Function], 200, "limit")
    async def apps(self, ask: Ask[None]) -> Answer:
        """Functions that can be called here: those with an external id."""
        wanted = wire_functions.FunctionFilter(external_id_prefix="")
        return Answer(list_body([*self._functions.select(ask.project, wanted, ask.limit(100))]))

    @answers(AppCall, 200, "Prefer", "Idempotency-Key", also=202)
    async def run(self, ask: Ask[wire_calls.CallWrite]) -> Answer:
        """Call, and answer with the call's end; with 202 when the client asks for that, or the time limit passes."""
        live = await self._begin(ask)
        at_once = ask.prefers("respond-async")
        preferred = ask.wait()
        wait = preferred if at_once or preferred else self._time_limit
        if wait and not live.ended.done():
            await asyncio.wait((live.ended,), timeout=wait)
        headers: dict[str, str] = {}
        if at_once or preferred:
            applied = (["respond-async"] if at_once else []) + ([f"wait={preferred:.0f}"] if preferred else [])
            headers["preference-applied"] = ", ".join(applied)
        if live.ended.done():
            return Answer(_ended(live), headers=headers)
        record = live.record
        headers["location"] = (
            f"/api/v1/projects/{ask.project}/function-apps/{quote(ask.text('external_id'), safe='')}/calls/{record.id}"
        )
        running = AppCall(call_id=record.id, function_id=record.function_id, runtime_status="Running")
        return Answer(running, 202, headers)


def _ended(live: LiveCall) -> AppCall:
    record = live.record
    shown = AppCall(
        call_id=record.id, function_id=record.function_id, runtime_status=cast(RuntimeStatus, record.status)
    )
    if record.status == "Completed":
        shown.response = msgspec.Raw(live.response or b"null")
    else:
        shown.error = AppError(code=_ERROR_CODES.get(record.status, 500), message=record.error_message or "")
    return shown
