"""Function schedules (contract 5)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kvern.wire.base import LIST_DEFAULT, Body, ById, ExternalId, Id, ListLimit, Milliseconds, TimeRange
from kvern.wire.functions import Description, Name

CronExpression = Annotated[str, Meta(min_length=1, max_length=1024)]


class ScheduleWrite(Body):
    """Names its function by exactly one of the two; `data` is kept as it was sent (contract 5.1, 5.2)."""

    name: Name
    cron_expression: CronExpression
    function_id: Id | None = None
    function_external_id: ExternalId | None = None
    description: Description | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    nonce: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    def __post_init__(self) -> None:
        if (self.function_id is None) == (self.function_external_id is None):
            raise ValueError("Expected exactly one of `functionId` and `functionExternalId`")
        if self.nonce is not None and self.function_external_id is not None:
            raise ValueError("Expected `functionId`, not `functionExternalId`, together with `nonce`")

    def input_data(self) -> bytes | None:
        """The JSON text of `data` to the letter; None when it was absent or null."""
        text = bytes(self.data)
        return None if text in (b"", b"null") else text


class ScheduleWrites(Body):
    items: Annotated[list[ScheduleWrite], Meta(min_length=1, max_length=1)]


class Schedule(Body):
    id: Id
    name: str
    created_time: Milliseconds
    cron_expression: str
    when: str
    function_id: Id
    session_id: Id
    function_external_id: str | None = None
    description: str | None = None


class ScheduleFilter(Body):
    """Two keys are accepted in the spelling of an old description as well (contract 5.3)."""

    name: str | None = None
    function_id: Id | None = None
    function_external_id: ExternalId | None = None
    created_time: TimeRange | None = None
    cron_expression: str | None = None
    old_function_id: Id | None = msgspec.field(default=None, name="FunctionId")
    old_function_external_id: ExternalId | None = msgspec.field(default=None, name="FunctionExternalId")

    def __post_init__(self) -> None:
        self.function_id = self.function_id if self.function_id is not None else self.old_function_id
        if self.function_external_id is None:
            self.function_external_id = self.old_function_external_id
        if self.function_id is not None and self.function_external_id is not None:
            raise ValueError("Expected at most one of `functionId` and `functionExternalId`")


class ScheduleQuery(Body):
    filter: ScheduleFilter | None = None
    limit: ListLimit | None = LIST_DEFAULT


class ScheduleIds(Body):
    items: Annotated[list[ById], Meta(min_length=1, max_length=10_000)]


class InputData(Body):
    """`data` is absent when none was given (contract 5.7)."""

    id: Id
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
