"""Function schedules (contract 5)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from typing import overload

from kvern.client.api.base import APIClient, in_chunks, in_several_requests, is_unlimited
from kvern.client.data_classes._base import attach
from kvern.client.data_classes.functions import (
    DEFAULT_LIMIT_READ,
    FunctionSchedule,
    FunctionSchedulesFilter,
    FunctionSchedulesList,
    FunctionScheduleWrite,
)
from kvern.client.data_classes.iam import ClientCredentials
from kvern.client.data_classes.shared import TimestampRange
from kvern.client.identifiers import Identifiers, one_of
from kvern.client.lookup import function_id_of, new_nonce

_PATH = "/functions/schedules"
_ALL = 10_000


class FunctionSchedulesAPI(APIClient):
    """Schedules: functions that are called by the clock."""

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
    ) -> AsyncIterator[FunctionSchedule]: ...
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
    ) -> AsyncIterator[FunctionSchedulesList]: ...
    async def __call__(
        self,
        chunk_size: int | None = None,
        name: str | None = None,
        function_id: int | None = None,
        function_external_id: str | None = None,
        created_time: dict[str, int] | TimestampRange | None = None,
        cron_expression: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[FunctionSchedule | FunctionSchedulesList]:
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
        schedules = await self.list(name, function_id, function_external_id, created_time, cron_expression, limit)
        if chunk_size is None:
            for schedule in schedules:
                yield schedule
        else:
            for chunk in in_chunks(schedules.data, chunk_size):
                yield FunctionSchedulesList(chunk)

    @overload
    async def retrieve(self, id: int, ignore_unknown_ids: bool = False) -> FunctionSchedule | None: ...
    @overload
    async def retrieve(self, id: Sequence[int], ignore_unknown_ids: bool = False) -> FunctionSchedulesList: ...
    async def retrieve(
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
        identifiers = Identifiers(id)
        if identifiers.is_single:
            return await self._one_by_id(FunctionSchedulesList, _PATH, identifiers, ignore_unknown_ids)
        return await self._by_ids(FunctionSchedulesList, _PATH, identifiers, ignore_unknown_ids)

    async def list(
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
        if function_id is not None and function_external_id is not None:
            raise ValueError("Expected function_id or function_external_id or neither, got both")
        conditions = FunctionSchedulesFilter(name, function_id, function_external_id, created_time, cron_expression)
        body = {"filter": conditions.dump(), "limit": _ALL if is_unlimited(limit) else limit}
        answer = await self._post(f"{_PATH}/list", body, "read")
        return attach(FunctionSchedulesList.load(answer["items"]), self._client)

    async def create(
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
        if isinstance(name, FunctionScheduleWrite):
            item = FunctionScheduleWrite.load(name.dump())
        elif cron_expression is None:
            raise ValueError("A schedule needs a cron_expression, such as '0 8 * * *'")
        else:
            item = FunctionScheduleWrite(name, cron_expression, function_id, function_external_id, description, data)
        wanted = one_of(item.function_id, item.function_external_id)
        if item.function_external_id is not None:
            warnings.warn(
                "The API takes no function_external_id for schedules: its function_id is looked up",
                UserWarning,
                stacklevel=2,
            )
        item.function_id = await function_id_of(self._client, wanted)
        item.function_external_id = None
        if item.nonce is None:
            item.nonce = await new_nonce(self._client, client_credentials)

        async def send(chunk: Sequence[FunctionScheduleWrite]) -> FunctionSchedule:
            answer = await self._post(_PATH, {"items": [one.dump() for one in chunk]}, "write")
            return FunctionSchedule.load(answer["items"][0])

        (created,) = await in_several_requests([[item]], send)
        return attach(created, self._client)

    async def delete(self, id: int) -> None:
        """Deletes a schedule; its past calls stay.

        Args:
            id: Id of the schedule.

        Raises:
            CogniteNotFoundError: when there is none.

        Example:
            >>> client.functions.schedules.delete(schedule.id)
        """
        await self._post(f"{_PATH}/delete", {"items": [{"id": id}]}, "delete")

    async def get_input_data(self, id: int) -> dict[str, object] | None:
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
        answer = await self._get(f"{_PATH}/{id}/input_data")
        return answer.get("data")
