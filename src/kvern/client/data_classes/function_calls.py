"""Function calls and what they print (contract 4)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

from kvern.client.data_classes._base import (
    CogniteFilter,
    CogniteResource,
    CogniteResourceList,
    CogniteResourceWithClientRef,
    InternalIdTransformerMixin,
    take_over,
)
from kvern.client.data_classes.shared import TimestampRange
from kvern.client.times import ms_to_datetime


class FunctionCall(CogniteResourceWithClientRef):
    """One call of a function.

    Args:
        id: Server-generated.
        start_time: When it was accepted, in milliseconds since the epoch.
        status: `Running`, `Completed`, `Failed` or `Timeout`.
        function_id: The function.
        end_time: When it ended, in milliseconds since the epoch.
        scheduled_time: When it was due, in milliseconds since the epoch; only for calls of a schedule.
        schedule_id: The schedule that made it, if one did.
        error: `message` and `trace`, if `handle` failed.
    """

    def __init__(
        self,
        id: int,
        start_time: int,
        status: str,
        function_id: int,
        end_time: int | None = None,
        scheduled_time: int | None = None,
        schedule_id: int | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.start_time = start_time
        self.end_time = end_time
        self.scheduled_time = scheduled_time
        self.status = status
        self.schedule_id = schedule_id
        self.error = error
        self.function_id = function_id

    def as_write(self) -> NoReturn:
        """A call cannot be written: raises `RuntimeError`."""
        raise RuntimeError("A FunctionCall is only ever read: make a new call instead")

    async def get_response_async(self) -> dict[str, object] | None:
        """As `get_response`, to be awaited."""
        return await self._cognite_client.functions.calls.get_response(self.id, self.function_id)

    def get_response(self) -> dict[str, object] | None:
        """What `handle` returned; None while the call runs, when it failed, and when that was what it returned."""
        from kvern.client.loop import run_sync

        return run_sync(self.get_response_async())

    async def get_logs_async(self) -> FunctionCallLog:
        """As `get_logs`, to be awaited."""
        return await self._cognite_client.functions.calls.get_logs(self.id, self.function_id)

    def get_logs(self) -> FunctionCallLog:
        """What the call has printed so far."""
        from kvern.client.loop import run_sync

        return run_sync(self.get_logs_async())

    def stream_logs_async(self) -> AsyncIterator[FunctionCallLogEntry]:
        """As `stream_logs`, for `async for`."""
        return self._cognite_client.functions.calls.stream_logs(self.id, self.function_id)

    def stream_logs(self) -> Iterator[FunctionCallLogEntry]:
        """What the call prints, line by line as it comes, until it has ended; not part of the official SDK."""
        from kvern.client.loop import SyncIterator

        return SyncIterator(self.stream_logs_async())

    async def update_async(self) -> None:
        """As `update`, to be awaited."""
        latest = await self._cognite_client.functions.calls.retrieve(self.id, self.function_id)
        if latest is None:
            raise RuntimeError(f"Call {self.id} of function {self.function_id} does not exist any more")
        take_over(self, latest)

    def update(self) -> None:
        """Takes over the status, end time and error that the server has now.

        Raises:
            RuntimeError: when the call is gone.
        """
        from kvern.client.loop import run_sync

        run_sync(self.update_async())

    async def wait_async(self) -> None:
        """As `wait`, to be awaited."""
        from kvern.client.waiting import until_ended

        await until_ended(self)

    def wait(self) -> None:
        """Returns when the call has ended."""
        from kvern.client.loop import run_sync

        run_sync(self.wait_async())


class FunctionCallList(CogniteResourceList[FunctionCall], InternalIdTransformerMixin):
    """Calls."""

    _RESOURCE = FunctionCall


class FunctionCallLogEntry(CogniteResource):
    """One line that a call printed.

    Args:
        message: The line, from stdout or stderr.
        timestamp: When it was printed, in milliseconds since the epoch.
    """

    def __init__(self, message: str, timestamp: int | None = None) -> None:
        self.timestamp = timestamp
        self.message = message


class FunctionCallLog(CogniteResourceList[FunctionCallLogEntry]):
    """What a call printed."""

    _RESOURCE = FunctionCallLogEntry

    def to_text(self, with_timestamps: bool = False) -> str:
        """The lines as one text.

        Args:
            with_timestamps: Put its time before each line.
        """
        return "\n".join(
            f"[{ms_to_datetime(entry.timestamp)}] {entry.message}"
            if with_timestamps and entry.timestamp is not None
            else entry.message
            for entry in self
        )


class FunctionCallsFilter(CogniteFilter):
    """Narrows a list of calls down; all conditions must hold.

    Args:
        status: `Running`, `Completed`, `Failed` or `Timeout`.
        schedule_id: Only calls of this schedule.
        start_time: A range, in milliseconds since the epoch.
        end_time: A range, in milliseconds since the epoch.
    """

    def __init__(
        self,
        status: str | None = None,
        schedule_id: int | None = None,
        start_time: dict[str, int] | TimestampRange | None = None,
        end_time: dict[str, int] | TimestampRange | None = None,
    ) -> None:
        self.status = status
        self.schedule_id = schedule_id
        self.start_time = start_time
        self.end_time = end_time
