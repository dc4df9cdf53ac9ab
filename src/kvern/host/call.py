"""A call as a host sees it: the order, the lines it prints, how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Why a call ended. The contract's status follows from it (contract 11.4)."""

    RETURNED = "returned"
    RAISED = "raised"
    """`handle` raised, or left by `sys.exit`."""
    UNUSABLE = "unusable"
    """`handle` returned what is not JSON, or more than the limit."""
    NOT_LOADED = "not loaded"
    """The handler's module could not be imported, or has no usable `handle`."""
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    """The worker died by a signal or left by `os._exit`."""
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The service stopped while the call ran."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output, without its newline; `timestamp` in ms since the epoch, taken when it was read."""

    timestamp: int
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """What a `CogniteClient` in the worker needs to act for the call's session."""

    base_url: str
    project: str
    token: str


@dataclass(slots=True, eq=False)
class Order:
    """One call, as the engine sees it.

    Args:
        call_id: the call.
        data: the JSON text of `data`; it is parsed in the worker only.
        timeout: seconds from the moment that `handle` may begin; past it the worker is killed.
        response_limit: bytes; a longer response makes the call `UNUSABLE`.
        log_limit: bytes of log kept; what comes after is counted and dropped, and a last line says so.
        on_log: takes log lines while the call runs, in order, on the event loop; all come before the outcome.
        access: makes the session's access; called only when `handle` takes `client`, before `on_begin`; when it
            raises, the call is not run and `run` raises the same.
        soft_timeout: seconds from the same moment after which `handle` is told to come to an end, see
            `runner/deadline.py`; it then also knows its time limit. None: it is not told.
        schedule_id, scheduled_time: set for scheduled calls only; ms since the epoch.
        on_begin: awaited just before the order goes to a worker; when it raises, the call is not run and `run` raises
            the same. None when nothing has to be done.
        traceparent: what names the run in a trace (W3C Trace Context); `handle` finds it in `TRACEPARENT`.
    """

    call_id: int
    data: bytes
    timeout: float
    response_limit: int
    log_limit: int
    on_log: Callable[[Sequence[LogLine]], None]
    access: Callable[[], Access]
    soft_timeout: float | None = None
    schedule_id: int | None = None
    scheduled_time: int | None = None
    on_begin: Callable[[], Awaitable[object]] | None = None
    traceparent: str | None = None

    def meta(self) -> dict[str, object]:
        """What the worker is told beside `data`."""
        meta: dict[str, object] = {"limit": self.response_limit}
        if self.soft_timeout is not None:
            meta["soft"], meta["timeout"] = self.soft_timeout, self.timeout
        if self.schedule_id is not None:
            meta["schedule_id"] = self.schedule_id
        if self.scheduled_time is not None:
            meta["scheduled_time"] = self.scheduled_time
        if self.traceparent is not None:
            meta["traceparent"] = self.traceparent
        return meta


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    Args:
        verdict: why.
        response: the JSON text that `handle` returned; only when `RETURNED`.
        message: one line for people; empty when `RETURNED`.
        trace: the traceback, cut free of the runner's own frames; may be empty.
        cpu_seconds: CPU time that the call used, that of child processes it waited for included. Told by the worker
            when it answered, by the kernel when it died. None when it is not known, as when the call did not begin.
        peak_memory: the most memory that the worker's process, or one of its children, has had in its life so far,
            in bytes; what it shares with the zygote counts. None as above.
        queue_seconds: from `run` until a worker was given the call; when none was, until the end.
        run_seconds: from then until the end; 0 when the call did not begin.
        cold: whether a worker had to be started for it.
        worker: which worker ran it: its host's name and its number there, such as `6f1c09d2/3`, used for no other
            process. Empty when the call did not begin.
    """

    verdict: Verdict
    response: bytes | None = None
    message: str = ""
    trace: str = ""
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    cold: bool = False
    worker: str = ""


class HandlerError(Exception):
    """The handler could not be loaded.

    Args:
        message: one line for people, such as `ModuleNotFoundError: No module named 'foo'`.
        trace: the traceback, or the output of the process that died.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.trace = trace
