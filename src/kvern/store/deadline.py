"""The deadline of a read on behalf of a request: one that takes too long is given up, and its thread is free again."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from kvern.store import StoreFault, T

READ_SECONDS = 10.0

_UNTIL = "kvern_read_until"


class ReadTooLongError(StoreFault):
    """A read took longer than it may."""


def within(connection: Connection, seconds: float, work: Callable[[Connection], T]) -> T:
    """Run `work`, which finds the deadline by `check`. Raises `ReadTooLongError`."""
    info = connection.info  # a connection that is lost meanwhile has none
    info[_UNTIL] = time.monotonic() + seconds
    try:
        return work(connection)
    finally:
        info.pop(_UNTIL, None)


def check(connection: Connection) -> None:
    """For loops over many rows: the database has done its part, and cannot tell. Raises `ReadTooLongError`."""
    until = connection.info.get(_UNTIL)
    if until is not None and time.monotonic() > until:
        raise ReadTooLongError("a read took longer than it may")
