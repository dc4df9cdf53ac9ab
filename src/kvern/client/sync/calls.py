"""The synchronous twin of `kvern.client.api.calls`, written by `kvern.client.derive`: do not edit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Literal, overload

from kvern.client.api.calls import FunctionCallsAPI
from kvern.client.data_classes.functions import (
    DEFAULT_LIMIT_READ,
    FunctionCall,
    FunctionCallList,
    FunctionCallLog,
    FunctionCallLogEntry,
)
from kvern.client.loop import SyncIterator, run_sync


class SyncFunctionCallsAPI:
    """The calls of a function."""

    def __init__(self, api: FunctionCallsAPI) -> None:
        self.__api = api

    def list(
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
        return run_sync(
            self.__api.list(function_id, function_external_id, status, schedule_id, start_time, end_time, limit)
        )

    def retrieve(
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
        return run_sync(self.__api.retrieve(call_id, function_id, function_external_id))

    def get_response(
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
        return run_sync(self.__api.get_response(call_id, function_id, function_external_id))

    @overload
    def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: Literal[False] = False,
    ) -> FunctionCallLog: ...
    @overload
    def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: Literal[True],
    ) -> Iterator[FunctionCallLogEntry]: ...
    def get_logs(
        self,
        call_id: int,
        function_id: int | None = None,
        function_external_id: str | None = None,
        *,
        follow: bool = False,
    ) -> FunctionCallLog | Iterator[FunctionCallLogEntry]:
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
        result = run_sync(self.__api.get_logs(call_id, function_id, function_external_id, follow=follow))
        return SyncIterator(result) if isinstance(result, AsyncIterator) else result

    def stream_logs(
        self, call_id: int, function_id: int | None = None, function_external_id: str | None = None
    ) -> Iterator[FunctionCallLogEntry]:
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
        return SyncIterator(self.__api.stream_logs(call_id, function_id, function_external_id))
