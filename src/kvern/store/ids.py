"""Ids in blocks: taken from the database ahead of need, so that giving one waits for no disk and no network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import Connection, update

from kvern.store import StoreFault, tables

BLOCK = 1000
"""Ids taken at a time; those of a block that are unused when the service ends are never given."""

_PATIENCE = 5.0
"""Seconds for which an id that is needed at once is waited for."""


def take(connection: Connection) -> int:
    """The first id of a block that nobody else gets."""
    block = (
        update(tables.sequences)
        .where(tables.sequences.c.name == "ids")
        .values(next=tables.sequences.c.next + BLOCK)
        .returning(tables.sequences.c.next)
    )
    return connection.execute(block).scalar_one() - BLOCK


class Ids:
    """Gives ids, from any thread. The next block is fetched when half of this one is used.

    Args:
        fetch: the first id of a fresh block; runs on a thread of its own.
    """

    def __init__(self, fetch: Callable[[], int]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kvern-ids")
        self._next = self._end = 0
        self._coming: Future[int] | None = None
        self._failed = False

    def next(self) -> int:
        """One id. Raises `StoreFault` when there is none: after a first failure without waiting for the database."""
        with self._lock:
            if self._end - self._next <= BLOCK // 2 and (self._coming is None or _has_failed(self._coming)):
                self._coming = self._submit()
            if self._next == self._end:
                self._turn()
            number = self._next
            self._next += 1
            return number

    def _submit(self) -> Future[int]:
        try:
            return self._thread.submit(self._fetch)
        except RuntimeError as error:
            raise StoreFault("the store is closed") from error

    def _turn(self) -> None:
        """Begin with the block that was fetched."""
        coming = self._coming
        assert coming is not None
        try:
            first = coming.result(0 if self._failed else _PATIENCE)
        except TimeoutError as error:
            self._failed = True
            raise StoreFault("the database gives no ids now") from error
        except BaseException as error:
            self._failed = True
            raise StoreFault(f"the database gives no ids: {getattr(error, 'orig', error)}") from error
        self._failed, self._coming = False, None
        self._next, self._end = first, first + BLOCK

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def _has_failed(coming: Future[int]) -> bool:
    return coming.done() and coming.exception() is not None
