"""The engine: it decides on which machine a host lives, and runs calls there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kvern.build.revision import Revision


class Verdict(StrEnum):
    """Why a call ended. The contract's status follows from it (wire.md 11.4)."""

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


@dataclass(frozen=True, slots=True)
class Order:
    """One call, as the engine sees it.

    Args:
        call_id: the call.
        data: the JSON text of `data`; it is parsed in the worker only.
        timeout: seconds from the moment that `handle` may begin; past it the worker is killed.
        response_limit: bytes; a longer response makes the call `UNUSABLE`.
        log_limit: bytes of log kept; what comes after is counted and dropped, and a last line says so.
        on_log: takes log lines while the call runs, in order, on the event loop; all come before the outcome.
        access: makes the session's access; called only when `handle` takes `client`.
        schedule_id, scheduled_time: set for scheduled calls only; ms since the epoch.
        on_begin: awaited just before the order goes to a worker; when it raises, the call is not run and `run` raises
            the same. None when nothing has to be done.
    """

    call_id: int
    data: bytes
    timeout: float
    response_limit: int
    log_limit: int
    on_log: Callable[[Sequence[LogLine]], None]
    access: Callable[[], Access]
    schedule_id: int | None = None
    scheduled_time: int | None = None
    on_begin: Callable[[], object] | None = None  # returns an awaitable


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Args:
        verdict: why.
        response: the JSON text that `handle` returned; only when `RETURNED`.
        message: one line for people; empty when `RETURNED`.
        trace: the traceback, cut free of the runner's own frames; may be empty.
    """

    verdict: Verdict
    response: bytes | None = None
    message: str = ""
    trace: str = ""


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


class Engine(Protocol):
    """Runs calls. All methods are called on one event loop.

    Guarantees: `run` begins `handle` at most once and returns exactly one outcome, whatever the handler does; nothing
    that a call started outlives it by more than a moment; after `stop` no process of any function is left.
    """

    async def start(self) -> None:
        """Make ready. Clears away what an earlier server that was killed left on this machine."""
        ...

    async def stop(self) -> None:
        """Kill every host; calls that run end as `INTERRUPTED`. Harmless when called twice."""
        ...

    async def prepare(self, revision: Revision) -> None:
        """Start a host for `revision` and load its handler once, so that the first call finds a warm worker.

        Raises:
            HandlerError: the module cannot be imported, or has no `handle` that can be called with the contract's
                arguments. No process is left.
        """
        ...

    def has_room(self, revision: Revision) -> bool:
        """Whether `run`, called now, would hand the call to a warm worker at once."""
        ...

    async def run(self, revision: Revision, order: Order) -> Outcome:
        """Run one call to its end. Waits for a free worker first; makes the host when there is none."""
        ...

    async def cancel(self, call_id: int) -> bool:
        """Stop a call that runs or waits: its `run` returns `CANCELLED`. False when no such call is here."""
        ...

    async def retire(self, function_id: int) -> None:
        """Stop all hosts of a function; its calls end as `CANCELLED`. Harmless when there are none."""
        ...
