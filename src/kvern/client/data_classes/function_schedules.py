"""Function schedules (contract 5)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from abc import ABC
from typing import Any

from kvern.client.data_classes._base import (
    CogniteFilter,
    CogniteResourceList,
    InternalIdTransformerMixin,
    WriteableCogniteResourceList,
    WriteableCogniteResourceWithClientRef,
)
from kvern.client.data_classes.shared import TimestampRange


class FunctionScheduleCore(WriteableCogniteResourceWithClientRef["FunctionScheduleWrite"], ABC):
    """What a schedule has when it is written and when it is read.

    Args:
        name: Name, 1 to 140 characters.
        function_id: Id of the function.
        function_external_id: External id of the function.
        description: At most 500 characters.
        cron_expression: Five fields: minute, hour, day of month, month, day of week; in UTC.
    """

    def __init__(
        self,
        name: str,
        function_id: int | None,
        function_external_id: str | None,
        description: str | None,
        cron_expression: str,
    ) -> None:
        self.name = name
        self.function_id = function_id
        self.function_external_id = function_external_id
        self.description = description
        self.cron_expression = cron_expression


class FunctionSchedule(FunctionScheduleCore):
    """A schedule as the server has it.

    Args:
        id: Server-generated.
        name: Name.
        created_time: Milliseconds since the epoch.
        cron_expression: Five fields, in UTC.
        session_id: The session as which its calls run.
        when: The cron expression in words.
        function_id: Id of the function.
        function_external_id: External id of the function.
        description: What it is for.
    """

    def __init__(
        self,
        id: int,
        name: str,
        created_time: int,
        cron_expression: str,
        session_id: int,
        when: str,
        function_id: int | None = None,
        function_external_id: str | None = None,
        description: str | None = None,
    ) -> None:
        super().__init__(name, function_id, function_external_id, description, cron_expression)
        self.id = id
        self.created_time = created_time
        self.session_id = session_id
        self.when = when

    def as_write(self) -> FunctionScheduleWrite:
        """What to send in order to create the same again; asks the server for its input data."""
        return FunctionScheduleWrite(
            name=self.name,
            cron_expression=self.cron_expression,
            function_id=self.function_id,
            function_external_id=self.function_external_id,
            description=self.description,
            data=self.get_input_data(),
        )

    async def get_input_data_async(self) -> dict[str, Any] | None:
        """As `get_input_data`, to be awaited."""
        return await self._cognite_client.functions.schedules.get_input_data(id=self.id)

    def get_input_data(self) -> dict[str, Any] | None:
        """What the calls of this schedule get as `data`; None if nothing was given."""
        from kvern.client.loop import run_sync

        return run_sync(self.get_input_data_async())


class FunctionScheduleWrite(FunctionScheduleCore):
    """What is sent in order to create a schedule.

    Args:
        name: Name, 1 to 140 characters.
        cron_expression: Five fields: minute, hour, day of month, month, day of week; in UTC.
        function_id: Id of the function.
        function_external_id: External id of the function.
        description: What it is for.
        data: What its calls get as `data`. No place for secrets.
        nonce: From a session that was just created: on whose behalf the calls run.
    """

    def __init__(
        self,
        name: str,
        cron_expression: str,
        function_id: int | None = None,
        function_external_id: str | None = None,
        description: str | None = None,
        data: dict[str, Any] | None = None,
        nonce: str | None = None,
    ) -> None:
        super().__init__(name, function_id, function_external_id, description, cron_expression)
        self.data = data
        self.nonce = nonce

    def as_write(self) -> FunctionScheduleWrite:
        """Itself."""
        return self


class FunctionSchedulesFilter(CogniteFilter):
    """Narrows a list of schedules down; all conditions must hold.

    Args:
        name: The exact name.
        function_id: Id of the function.
        function_external_id: External id of the function.
        created_time: A range, in milliseconds since the epoch.
        cron_expression: The exact expression.
    """

    def __init__(
        self,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
    ) -> None:
        self.name = name
        self.function_id = function_id
        self.function_external_id = function_external_id
        self.created_time = created_time
        self.cron_expression = cron_expression


class FunctionScheduleWriteList(CogniteResourceList[FunctionScheduleWrite]):
    """Schedules to be created."""

    _RESOURCE = FunctionScheduleWrite


class FunctionSchedulesList(
    WriteableCogniteResourceList[FunctionScheduleWrite, FunctionSchedule], InternalIdTransformerMixin
):
    """Schedules."""

    _RESOURCE = FunctionSchedule

    def as_write(self) -> FunctionScheduleWriteList:
        """What to send in order to create the same again."""
        return FunctionScheduleWriteList([schedule.as_write() for schedule in self])
