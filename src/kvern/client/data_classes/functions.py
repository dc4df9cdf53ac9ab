"""Functions (contract 3); what is sent, limits, calls and schedules have files of their own, and are here too."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from kvern.client.data_classes._base import (
    CogniteFilter,
    IdTransformerMixin,
    WriteableCogniteResourceList,
    take_over,
)
from kvern.client.data_classes.function_calls import (
    FunctionCall,
    FunctionCallList,
    FunctionCallLog,
    FunctionCallLogEntry,
    FunctionCallsFilter,
)
from kvern.client.data_classes.function_limits import FunctionsLimits, FunctionsStatus
from kvern.client.data_classes.function_schedules import (
    FunctionSchedule,
    FunctionScheduleCore,
    FunctionSchedulesFilter,
    FunctionSchedulesList,
    FunctionScheduleWrite,
    FunctionScheduleWriteList,
)
from kvern.client.data_classes.function_writes import (
    HANDLER_FILE_NAME,
    FunctionCore,
    FunctionWrite,
    FunctionWriteList,
    RunTime,
)
from kvern.client.data_classes.shared import TimestampRange

if TYPE_CHECKING:
    from kvern.client import CogniteClient


__all__ = [
    "DEFAULT_LIMIT_READ",
    "HANDLER_FILE_NAME",
    "Function",
    "FunctionCall",
    "FunctionCallList",
    "FunctionCallLog",
    "FunctionCallLogEntry",
    "FunctionCallsFilter",
    "FunctionCore",
    "FunctionFilter",
    "FunctionHandle",
    "FunctionList",
    "FunctionSchedule",
    "FunctionScheduleCore",
    "FunctionScheduleWrite",
    "FunctionScheduleWriteList",
    "FunctionSchedulesFilter",
    "FunctionSchedulesList",
    "FunctionStatus",
    "FunctionWrite",
    "FunctionWriteList",
    "FunctionsLimits",
    "FunctionsStatus",
    "RunTime",
]

FunctionStatus: TypeAlias = Literal["Queued", "Deploying", "Ready", "Failed"]
DEFAULT_LIMIT_READ = 25


class FunctionHandle(Protocol):
    """What is run when a function is called: a callable named `handle` with any of these keyword arguments.

    Args:
        client: A client for the project, with the rights of whoever made the call.
        data: What the caller sent; an empty dictionary if nothing.
        secrets: The secrets that the function was created with.
        function_call_info: `function_id` and `call_id`, and for a scheduled call `schedule_id` and `scheduled_time`.

    Returns:
        Any value that JSON can hold.

    Example:
        >>> def handle(client, data):
        ...     return {"sum": data["a"] + data["b"]}
    """

    def __call__(
        self,
        *,
        client: CogniteClient | None = None,
        data: dict[str, object] | None = None,
        secrets: dict[str, str] | None = None,
        function_call_info: dict[str, object] | None = None,
    ) -> object:
        """Runs the function; see the class."""
        ...


class Function(FunctionCore):
    """A function as the server has it.

    Args:
        id: Server-generated.
        created_time: Milliseconds since the epoch.
        name: Name, 1 to 140 characters; need not be unique.
        status: `Queued`, `Deploying`, `Ready` or `Failed`.
        file_id: The zip of source code in the Files API.
        external_id: Your own identifier, unique among functions.
        description: What it does.
        owner: Who answers for it.
        function_path: The file that defines `handle`, relative to the root of the zip.
        secrets: The names of its secrets, each with the value `***`.
        env_vars: Environment variables of the process.
        cpu: Cores.
        memory: Gigabytes.
        runtime: The Python that runs it.
        runtime_version: The same with major, minor and patch version.
        metadata: Your own key-value pairs.
        error: `message` and `trace` of a deployment that failed.
        last_called: Milliseconds since the epoch.
    """

    def __init__(
        self,
        id: int,
        created_time: int,
        name: str,
        status: str,
        file_id: int,
        external_id: str | None = None,
        description: str | None = None,
        owner: str | None = None,
        function_path: str = HANDLER_FILE_NAME,
        secrets: dict[str, str] | None = None,
        env_vars: dict[str, str] | None = None,
        cpu: float | None = None,
        memory: float | None = None,
        runtime: RunTime | None = None,
        runtime_version: str | None = None,
        metadata: dict[str, str] | None = None,
        error: dict[str, Any] | None = None,
        last_called: int | None = None,
    ) -> None:
        super().__init__(
            name,
            external_id,
            description,
            owner,
            file_id,
            function_path,
            secrets,
            env_vars,
            cpu,
            memory,
            runtime,
            metadata,
        )
        self.id = id
        self.created_time = created_time
        self.status = status
        self.runtime_version = runtime_version
        self.error = error
        self.last_called = last_called

    def as_write(self) -> FunctionWrite:
        """What to send in order to create the same again; the values of its secrets are not known."""
        return FunctionWrite(
            name=self.name,
            file_id=self.file_id,
            external_id=self.external_id,
            description=self.description,
            owner=self.owner,
            function_path=self.function_path,
            secrets=self.secrets,
            env_vars=self.env_vars,
            cpu=self.cpu,
            memory=self.memory,
            runtime=self.runtime,
            metadata=self.metadata,
        )

    async def call_async(self, data: dict[str, object] | None = None, wait: bool = True) -> FunctionCall:
        """As `call`, to be awaited."""
        return await self._cognite_client.functions.call(id=self.id, data=data, wait=wait)

    def call(self, data: dict[str, object] | None = None, wait: bool = True) -> FunctionCall:
        """Calls this function.

        Args:
            data: What `handle` gets as `data`; anything that JSON can hold. No place for secrets: whoever may read
                calls may read it.
            wait: Return when the call has ended; else as soon as the server has accepted it.

        Returns:
            The call.
        """
        from kvern.client.loop import run_sync

        return run_sync(self.call_async(data, wait))

    async def list_calls_async(
        self,
        status: str | None = None,
        schedule_id: int | None = None,
        start_time: dict[str, int] | None = None,
        end_time: dict[str, int] | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
    ) -> FunctionCallList:
        """As `list_calls`, to be awaited."""
        return await self._cognite_client.functions.calls.list(
            function_id=self.id,
            status=status,
            schedule_id=schedule_id,
            start_time=start_time,
            end_time=end_time,
            limit=limit,
        )

    def list_calls(
        self,
        status: str | None = None,
        schedule_id: int | None = None,
        start_time: dict[str, int] | None = None,
        end_time: dict[str, int] | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
    ) -> FunctionCallList:
        """Lists the calls of this function, the newest first.

        Args:
            status: `Running`, `Completed`, `Failed` or `Timeout`.
            schedule_id: Only calls of this schedule.
            start_time: `min` and `max` of the start, in milliseconds since the epoch.
            end_time: `min` and `max` of the end, in milliseconds since the epoch.
            limit: How many at most; -1, `float("inf")` or None for all.
        """
        from kvern.client.loop import run_sync

        return run_sync(self.list_calls_async(status, schedule_id, start_time, end_time, limit))

    async def list_schedules_async(self, limit: int | None = DEFAULT_LIMIT_READ) -> FunctionSchedulesList:
        """As `list_schedules`, to be awaited."""
        return await self._cognite_client.functions.schedules.list(function_id=self.id, limit=limit)

    def list_schedules(self, limit: int | None = DEFAULT_LIMIT_READ) -> FunctionSchedulesList:
        """Lists the schedules of this function.

        Args:
            limit: How many at most; -1, `float("inf")` or None for all.
        """
        from kvern.client.loop import run_sync

        return run_sync(self.list_schedules_async(limit))

    async def retrieve_call_async(self, id: int) -> FunctionCall | None:
        """As `retrieve_call`, to be awaited."""
        return await self._cognite_client.functions.calls.retrieve(call_id=id, function_id=self.id)

    def retrieve_call(self, id: int) -> FunctionCall | None:
        """One call of this function.

        Args:
            id: Id of the call.

        Returns:
            The call, or None if there is none.
        """
        from kvern.client.loop import run_sync

        return run_sync(self.retrieve_call_async(id))

    async def update_async(self) -> None:
        """As `update`, to be awaited."""
        latest = await self._cognite_client.functions.retrieve(id=self.id)
        if latest is not None:
            take_over(self, latest)

    def update(self) -> None:
        """Takes over what the server has now, the status above all. A function that is gone stays as it is."""
        from kvern.client.loop import run_sync

        run_sync(self.update_async())

    async def wait_async(self, timeout: float | None = None) -> None:
        """As `wait`, to be awaited."""
        from kvern.client.waiting import until_deployed

        await until_deployed(self, timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the deployment has ended, in `Ready` or `Failed`; not part of the official SDK.

        Args:
            timeout: Seconds to wait at most; None waits for as long as it takes.

        Raises:
            TimeoutError: when the deployment has not ended by then.
        """
        from kvern.client.loop import run_sync

        run_sync(self.wait_async(timeout))


class FunctionFilter(CogniteFilter):
    """Narrows a list of functions down; all conditions must hold.

    Args:
        name: The exact name.
        owner: The exact owner.
        file_id: The file that the function was made from.
        status: `Queued`, `Deploying`, `Ready` or `Failed`.
        external_id_prefix: How the external id begins.
        created_time: A range, in milliseconds since the epoch.
        metadata: Pairs that must all be there.
    """

    def __init__(
        self,
        name: str | None = None,
        owner: str | None = None,
        file_id: int | None = None,
        status: FunctionStatus | None = None,
        external_id_prefix: str | None = None,
        created_time: dict[Literal["min", "max"], int] | TimestampRange | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.owner = owner
        self.file_id = file_id
        self.status: FunctionStatus | None = status
        self.external_id_prefix = external_id_prefix
        self.created_time = created_time
        self.metadata = metadata


class FunctionList(WriteableCogniteResourceList[FunctionWrite, Function], IdTransformerMixin):
    """Functions."""

    _RESOURCE = Function

    def as_write(self) -> FunctionWriteList:
        """What to send in order to create the same again."""
        return FunctionWriteList([function.as_write() for function in self])
