"""Function calls (contract 4)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kvern.wire.base import (
    LIST_DEFAULT,
    Body,
    ById,
    Cursor,
    Id,
    ListLimit,
    Milliseconds,
    TimeRange,
    first_twice,
)
from kvern.wire.data import check_data

Status: TypeAlias = Literal["Running", "Completed", "Failed", "Timeout"]
Verdict: TypeAlias = Literal[
    "returned",
    "raised",
    "unusable",
    "not loaded",
    "timed out",
    "out of memory",
    "crashed",
    "cancelled",
    "interrupted",
]
"""Why a call ended: what `kvern.engine.Verdict` says, which tells more of each."""


class CallWrite(Body):
    """The body of a call. `data` stays raw: it is parsed once, in the worker (contract 4.2)."""

    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    nonce: Annotated[str, Meta(min_length=1, max_length=32_768)] | None = None

    def __post_init__(self) -> None:
        check_data(self.data)


class CallError(Body, omit_defaults=False):
    message: str
    trace: str


class CallOutcome(Body):
    """Why a call ended and what it used; an addition to the contract. What nobody could tell is absent.

    Args:
        verdict: why it ended.
        queue_seconds: how long it waited for a worker.
        run_seconds: how long a worker had it.
        cpu_seconds: CPU time, child processes that were waited for included.
        peak_memory: most memory that its worker ever had, in bytes.
        cold: whether a worker had to be started for it.
        worker: which worker ran it.
        attempt: which attempt this was, from 1.
    """

    verdict: Verdict
    queue_seconds: float | None = None
    run_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    cold: bool | None = None
    worker: str | None = None
    attempt: int | None = None


class Call(Body):
    """`error` is an object, or a string for those who can read nothing else (contract 4.1).

    The rest are additions to the contract.

    Args:
        outcome: there once the call has ended.
        rerun_of: the call whose data this one runs again.
        next_attempt_time: when it is tried again; there while it waits for that.
        dead_time: when its attempts were used up; in the list of such calls only.
    """

    id: Id
    function_id: Id
    status: Status
    start_time: Milliseconds
    end_time: Milliseconds | None = None
    schedule_id: Id | None = None
    scheduled_time: Milliseconds | None = None
    error: CallError | str | None = None
    outcome: CallOutcome | None = None
    rerun_of: Id | None = None
    next_attempt_time: Milliseconds | None = None
    dead_time: Milliseconds | None = None


class Attempt(Body):
    """One attempt of a call; `endTime`, `outcome` and `error` are there once it has ended."""

    attempt: int
    start_time: Milliseconds
    end_time: Milliseconds | None = None
    error: CallError | None = None
    outcome: CallOutcome | None = None


class CallIds(Body):
    """Calls to run again, each once."""

    items: Annotated[list[ById], Meta(min_length=1, max_length=100)]

    def __post_init__(self) -> None:
        twice = first_twice(item.id for item in self.items)
        if twice is not None:
            raise ValueError(f"Expected each id once in `items`, given {twice} more than once")


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
