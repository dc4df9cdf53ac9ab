"""The synchronous twin of `kvern.client.api.schedules`, written by `kvern.client.derive`: do not edit."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from kvern.client.api.schedules import FunctionSchedulesAPI
from kvern.client.data_classes.functions import (
    DEFAULT_LIMIT_READ,
    FunctionSchedule,
    FunctionSchedulesList,
    FunctionScheduleWrite,
)
from kvern.client.data_classes.iam import ClientCredentials
from kvern.client.data_classes.shared import TimestampRange
from kvern.client.loop import SyncIterator, run_sync


class SyncFunctionSchedulesAPI:
    """Schedules: functions that are called by the clock."""

    def __init__(self, api: FunctionSchedulesAPI) -> None:
        self.__api = api

    @overload
    def __call__(
        self,
        chunk_size: None = None,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
        limit: int | None = None,
    ) -> Iterator[FunctionSchedule]: ...
    @overload
    def __call__(
        self,
        chunk_size: int,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
        limit: int | None = None,
    ) -> Iterator[FunctionSchedulesList]: ...
    def __call__(
        self,
        chunk_size: int | None = None,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
        limit: int | None = None,
    ) -> Iterator[FunctionSchedule | FunctionSchedulesList]:
        """Iterates over schedules.

        Args:
            chunk_size: How many to give at a time; one by one if None.
            name: The exact name.
            function_id: Id of the function.
            function_external_id: External id of the function.
            created_time: A range, in milliseconds since the epoch.
            cron_expression: The exact expression.
            limit: How many at most; -1, `float("inf")` or None for all.

        Raises:
            ValueError: when both identifiers of a function are given.

        Example:
            >>> for schedule in client.functions.schedules():
            ...     print(schedule.name, schedule.when)
        """
        return SyncIterator(
            self.__api(chunk_size, name, function_id, function_external_id, created_time, cron_expression, limit)
        )

    @overload
    def retrieve(self, id: int, ignore_unknown_ids: bool = False) -> FunctionSchedule | None: ...
    @overload
    def retrieve(self, id: Sequence[int], ignore_unknown_ids: bool = False) -> FunctionSchedulesList: ...
    def retrieve(
        self, id: int | Sequence[int], ignore_unknown_ids: bool = False
    ) -> FunctionSchedule | FunctionSchedulesList | None:
        """Retrieves schedules.

        Args:
            id: One id or several.
            ignore_unknown_ids: Leave out what does not exist.

        Returns:
            The schedule (None if there is none), or a list if a list was given.

        Raises:
            CogniteNotFoundError: when one of several does not exist, unless ignored.

        Example:
            >>> schedule = client.functions.schedules.retrieve(schedule.id)
        """
        return run_sync(self.__api.retrieve(id, ignore_unknown_ids))

    def list(
        self,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
    ) -> FunctionSchedulesList:
        """Lists schedules.

        Args:
            name: The exact name.
            function_id: Id of the function.
            function_external_id: External id of the function.
            created_time: A range, in milliseconds since the epoch.
            cron_expression: The exact expression.
            limit: How many at most; -1, `float("inf")` or None for all.

        Raises:
            ValueError: when both identifiers of a function are given.

        Example:
            >>> schedules = client.functions.schedules.list(function_id=function.id)
        """
        return run_sync(self.__api.list(name, function_id, function_external_id, created_time, cron_expression, limit))

    def create(
        self,
        name: str | FunctionScheduleWrite,
        cron_expression: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        client_credentials: dict[str, str] | ClientCredentials | None = None,
        description: str | None = None,
        data: dict[str, object] | None = None,
    ) -> FunctionSchedule:
        """Creates a schedule.

        Args:
            name: Name of the schedule; or all of it as one object, and then the other arguments but
                `client_credentials` are ignored.
            cron_expression: Five fields: minute, hour, day of month, month, day of week; in UTC.
            function_id: Id of the function. This or the external id is needed.
            function_external_id: External id of the function; its id is looked up.
            client_credentials: The application on whose behalf the calls run; the client itself if not given.
            description: What it is for.
            data: What its calls get as `data`. No place for secrets.

        Returns:
            The schedule.

        Raises:
            ValueError: without a cron expression, unless exactly one function is named, and when it does not exist.
            CogniteAPIError: when the server refuses it.

        Example:
            >>> schedule = client.functions.schedules.create(
            ...     name="every morning", cron_expression="0 8 * * *", function_id=function.id, data={"day": "today"}
            ... )
        """
        return run_sync(
            self.__api.create(
                name, cron_expression, function_id, function_external_id, client_credentials, description, data
            )
        )

    def delete(self, id: int) -> None:
        """Deletes a schedule; its past calls stay.

        Args:
            id: Id of the schedule.

        Raises:
            CogniteNotFoundError: when there is none.

        Example:
            >>> client.functions.schedules.delete(schedule.id)
        """
        return run_sync(self.__api.delete(id))

    def get_input_data(self, id: int) -> dict[str, object] | None:
        """What the calls of a schedule get as `data`.

        Args:
            id: Id of the schedule.

        Returns:
            The data; None if nothing was given.

        Raises:
            CogniteNotFoundError: when there is no such schedule.

        Example:
            >>> client.functions.schedules.get_input_data(schedule.id)
        """
        return run_sync(self.__api.get_input_data(id))
