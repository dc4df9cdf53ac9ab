"""Function calls (contract 4)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kvern.wire.base import LIST_DEFAULT, Body, Cursor, Id, ListLimit, Milliseconds, TimeRange

Status: TypeAlias = Literal["Running", "Completed", "Failed", "Timeout"]


class CallWrite(Body):
    """The body of a call. `data` stays raw: it is parsed once, in the worker (contract 4.2)."""

    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    nonce: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class CallError(Body, omit_defaults=False):
    message: str
    trace: str


class Call(Body):
    """`error` is an object, or a string for those who can read nothing else (contract 4.1)."""

    id: Id
    function_id: Id
    status: Status
    start_time: Milliseconds
    end_time: Milliseconds | None = None
    schedule_id: Id | None = None
    scheduled_time: Milliseconds | None = None
    error: CallError | str | None = None


class CallFilter(Body):
    status: Status | None = None
    schedule_id: Id | None = None
    start_time: TimeRange | None = None
    end_time: TimeRange | None = None


class CallQuery(Body):
    filter: CallFilter | None = None
    limit: ListLimit | None = LIST_DEFAULT
    cursor: Cursor | None = None


class CallResponse(Body):
    """`response` is absent until the call completed, and when it did not (contract 4.7)."""

    function_id: Id
    call_id: Id
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class LogEntry(Body, omit_defaults=False):
    """One line of output, without its newline (contract 4.8)."""

    timestamp: Milliseconds
    message: str
