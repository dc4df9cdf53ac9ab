"""Function calls (contract 4)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal, overload

from kvern.client.api.base import APIClient
from kvern.client.data_classes.functions import (
    DEFAULT_LIMIT_READ,
    FunctionCall,
    FunctionCallList,
    FunctionCallLog,
    FunctionCallLogEntry,
    FunctionCallsFilter,
)
from kvern.client.identifiers import Identifiers, one_of
from kvern.client.lookup import function_id_of
from kvern.client.retries import back_off
from kvern.client.transport import Request
from kvern.client.waiting import patiently, send_held


class FunctionCallsAPI(APIClient):
    """The calls of a function."""

    async def list(
        self,
        function_id: int | None = None,
        function_external_id: str | None = None,
        status: str | None = None,
        schedule_id: int | None = None,
        start_time: dict[str, int] | None = None,
        end_time: dict[str, int] | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
    ) -> FunctionCallList:
        """Lists the calls of a function, the newest first.

        Args:
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function.
            status: `Running`, `Completed`, `Failed` or `Timeout`.
            schedule_id: Only calls of this schedule.
            start_time: `min` and `max` of the start, in milliseconds since the epoch.
            end_time: `min` and `max` of the end, in milliseconds since the epoch.
            limit: How many at most; -1, `float("inf")` or None for all.

        Raises:
            ValueError: unless exactly one function is named, and when it does not exist.

        Example:
            >>> failed = client.functions.calls.list(function_id=function.id, status="Failed")
        """
        path = await self._path(function_id, function_external_id)
        conditions = FunctionCallsFilter(status, schedule_id, start_time, end_time).dump()
        return await self._list(FunctionCallList, "POST", f"{path}/list", conditions, limit)

    async def retrieve(
        self, call_id: int, function_id: int | None = None, function_external_id: str | None = None
    ) -> FunctionCall | None:
        """Retrieves one call.

        Args:
            call_id: Id of the call.
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function.

        Returns:
            The call, or None if there is none.

        Raises:
            ValueError: unless exactly one function is named, and when none has this external id.

        Example:
            >>> call = client.functions.calls.retrieve(call.id, function_id=function.id)
        """
        path = await self._path(function_id, function_external_id)
        return await self._one_by_id(FunctionCallList, path, Identifiers(call_id))

    async def get_response(
        self, call_id: int, function_id: int | None = None, function_external_id: str | None = None
    ) -> dict[str, object] | None:
        """What `handle` returned.

        Args:
            call_id: Id of the call.
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function.

        Returns:
            Any JSON value; None while the call runs, when it failed, and when that was what it returned.

        Raises:
            ValueError: unless exactly one function is named, and when none has this external id.
            CogniteNotFoundError: when the call does not exist.

        Example:
            >>> client.functions.calls.get_response(call.id, function_id=function.id)
        """
        path = await self._path(function_id, function_external_id)
        answer = await self._get(f"{path}/{call_id}/response")
        return answer.get("response")

    @overload
    async def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: Literal[False] = False,
    ) -> FunctionCallLog: ...
    @overload
    async def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: Literal[True],
    ) -> AsyncIterator[FunctionCallLogEntry]: ...
    async def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: bool = False,
    ) -> FunctionCallLog | AsyncIterator[FunctionCallLogEntry]:
        """What a call printed.

        Args:
            call_id: Id of the call.
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function.
            follow: Give the lines one by one as they come, until the call has ended; not part of the official SDK.

        Returns:
            The lines so far, or with `follow` an iterator.

        Raises:
            ValueError: unless exactly one function is named, and when none has this external id.
            CogniteNotFoundError: when the call does not exist.

        Example:
            >>> print(client.functions.calls.get_logs(call.id, function_id=function.id).to_text())
        """
        if follow:
            return self.stream_logs(call_id, function_id, function_external_id)
        path = await self._path(function_id, function_external_id)
        answer = await self._get(f"{path}/{call_id}/logs")
        return FunctionCallLog.load(answer["items"])

    async def stream_logs(
        self, call_id: int, function_id: int | None = None, function_external_id: str | None = None
    ) -> AsyncIterator[FunctionCallLogEntry]:
        """What a call prints, line by line as it comes, until it has ended; not part of the official SDK.

        Args:
            call_id: Id of the call.
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function.

        Raises:
            ValueError: unless exactly one function is named, and when none has this external id.
            CogniteNotFoundError: when the call does not exist.

        Example:
            >>> for entry in client.functions.calls.stream_logs(call.id, function_id=function.id):
            ...     print(entry.message)
        """
        import asyncio

        path = await self._path(function_id, function_external_id)
        seen = 0
        pauses = back_off(0.3, 5.0)
        while True:
            # Read first, so that what is printed before the end is never missed.
            call = await patiently(partial(self._by_ids, FunctionCallList, path, Identifiers(call_id)))
            ended = call[0].status != "Running"
            ask = partial(self._logs_after, f"{path}/{call_id}/logs", seen, hold=not ended)
            entries, held = await patiently(ask)
            for entry in entries:
                yield FunctionCallLogEntry.load(entry)
            seen += len(entries)
            if ended and not entries:
                return
            if entries:
                pauses = back_off(0.3, 5.0)
            elif not held and not ended:
                await asyncio.sleep(next(pauses))

    async def _logs_after(self, path: str, seen: int, hold: bool) -> tuple[builtins.list[dict[str, Any]], bool]:
        """Entries after the first `seen`, and whether the server held its answer until there were some."""
        request = Request("GET", path, params={"after": seen})
        if hold:
            response = await send_held(self._client, request)
        else:
            response = await self._transport.call(request, self._slot("read"))
        held = hold and bool(self._transport.server_waits)
        items: list[dict[str, Any]] = response.json()["items"]
        # Only a server that holds answers back knows `after`; another one sends everything again.
        return (items if self._transport.server_waits else items[seen:]), held

    async def _path(self, function_id: int | None, function_external_id: str | None) -> str:
        wanted = one_of(function_id, function_external_id)
        return f"/functions/{await function_id_of(self._client, wanted)}/calls"
