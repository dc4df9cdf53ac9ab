"""Function schedules (contract 5)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kvern.wire.base import LIST_DEFAULT, Body, ById, ExternalId, Id, ListLimit, Milliseconds, Text, TimeRange
from kvern.wire.data import check_data
from kvern.wire.functions import Description, Name

TimeZone: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Missed: TypeAlias = Literal["skip", "last", "all"]
Overlap: TypeAlias = Literal["allow", "skip", "queue"]
Outcome: TypeAlias = Literal["ran", "late", "skipped", "queued"]
Seconds: TypeAlias = Annotated[int, Meta(ge=1, le=31_536_000)]

CronExpression = Annotated[str, Meta(min_length=1, max_length=1024)]


class ScheduleWrite(Body):
    """Names its function by exactly one of the two; `data` is kept as it was sent (contract 5.1, 5.2).

    Additions to the contract: `timeZone`, UTC when absent; `missed`, what becomes of due times that passed while
    nobody could fire them, `skip` when absent, for those of the last `missedWindow` seconds, a day when absent;
    `overlap`, what becomes of a due time while an earlier call still runs, `allow` when absent.
    """

    name: Name
    cron_expression: CronExpression
    function_id: Id | None = None
    function_external_id: ExternalId | None = None
    description: Description | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    nonce: Annotated[str, Meta(min_length=1, max_length=32_768)] | None = None
    time_zone: TimeZone | None = None
    missed: Missed | None = None
    missed_window: Seconds | None = None
    overlap: Overlap | None = None

    def __post_init__(self) -> None:
        check_data(self.data)
        if (self.function_id is None) == (self.function_external_id is None):
            raise ValueError("Expected exactly one of `functionId` and `functionExternalId`")
        if self.nonce is not None and self.function_external_id is not None:
            raise ValueError("Expected `functionId`, not `functionExternalId`, together with `nonce`")
        if self.missed_window is not None and self.missed not in ("last", "all"):
            raise ValueError("Expected `missed` to be `last` or `all` together with `missedWindow`")

    def input_data(self) -> bytes | None:
        """The JSON text of `data` to the letter; None when it was absent or null."""
        text = bytes(self.data)
        return None if text in (b"", b"null") else text


class ScheduleWrites(Body):
    items: Annotated[list[ScheduleWrite], Meta(min_length=1, max_length=1)]


class Schedule(Body):
    """The policies are there when they were given, `pausedTime` while it is paused: additions to the contract."""

    id: Id
    name: str
    created_time: Milliseconds
    cron_expression: str
    when: str
    function_id: Id
    session_id: Id
    function_external_id: str | None = None
    description: str | None = None
    time_zone: str | None = None
    missed: Missed | None = None
    missed_window: int | None = None
    overlap: Overlap | None = None
    paused_time: Milliseconds | None = None


class ScheduleFilter(Body):
    """Two keys are accepted in the spelling of an old description as well (contract 5.3)."""

    name: Text | None = None
    function_id: Id | None = None
    function_external_id: ExternalId | None = None
    created_time: TimeRange | None = None
    cron_expression: Text | None = None
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


class Tick(Body):
    """How one due time of a schedule ended, or that it waits: an addition to the contract.

    `ran` within a second, `late`, or `skipped` and why. A call that could not run is there too, as Failed.
    """

    schedule_id: Id
    due_time: Milliseconds
    outcome: Outcome
    reason: str | None = None
    fired_time: Milliseconds | None = None
    call_id: Id | None = None
