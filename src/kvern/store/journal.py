"""The journal: one writer thread that commits in groups.

Whoever wants something written awaits a future; the writer takes all that waits, carries it out in one transaction,
commits once, and only then resolves the futures. Under load one disk flush so serves many.

    what goes wrong                         | the group                      | the one that caused it | the others
    ----------------------------------------|--------------------------------|------------------------|------------------
    a work raises (constraint, own error)   | rolled back, redone one by one | raises its own error | are committed
    a work raises what is no `Exception`    | rolled back, redone one by one | raises StoreFault      | are committed
    disk full, I/O error, locked, gone      | rolled back                    | raises StoreGoneError  | raise the same
    the waiter is cancelled                 | goes on                        | is committed           | are committed
    the fence is closed                     | rolled back                    | raises `FencedError`   | raise the same
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import Row, StoreFault, StoreGoneError, T
from kvern.store.direct import Direct

_log = logging.getLogger(__name__)

_GROUP = 500
"""Entries from which on a transaction takes no more: bounds how long the first of them waits."""


class Transaction(Protocol):
    """How a database carries out a group."""

    def __call__(self, work: Callable[[Connection], None], *, alone: bool) -> None:
        """Run `work` in a transaction and commit it; it may be run again after a rollback.

        Args:
            alone: whether no other service may have a transaction of this kind at the same time.

        Raises:
            StoreGoneError: the database cannot be used now, whatever the work is.
        """
        ...


@dataclass(slots=True, eq=False)
class _Entry:
    future: asyncio.Future[Any]
    work: Callable[[Connection], Any] | None = None
    rows: Sequence[Row] = ()
    is_fenced: bool = True
    result: Any = None
    error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        if self.work is not None:
            self.result = self.work(connection)


class Journal:
    """The one writer of a database. `start` and `stop` once each; `submit` and `append` on the event loop."""

    def __init__(self, transaction: Transaction, direct: Direct | None = None) -> None:
        self._transaction = transaction
        self._direct = direct
        self._entered: list[_Entry] = []
        """What this turn of the event loop has entered: the writer is woken once for all of it, which costs enough."""
        self._waiting: queue.SimpleQueue[list[_Entry] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kvern-journal", daemon=True)
        self._stopped = False
        self.fence: Callable[[Connection], None] | None = None
        """Runs first in every transaction; what it raises fails all of its entries but those of `submit_unfenced`."""
        self.on_group: Callable[[int, float, int], None] | None = None
        """Told by the writer's thread of each group: its entries, the seconds that it took, and how many failed."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits and end the thread."""
        if not self._stopped:
            self._stopped = True
            self._hand_over()
            self._waiting.put(None)
            self._thread.join()

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Run `work` in a transaction, perhaps together with others'."""
        return self._enter(_Entry(_new_future(), work=work))

    def submit_unfenced(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """As `submit`, whatever the fence says."""
        return self._enter(_Entry(_new_future(), work=work, is_fenced=False))

    def append(self, statement: UpdateBase, row: Mapping[str, Any]) -> asyncio.Future[None]:
        """Write one row; rows for the same statement in a group are sent together."""
        return self._enter(_Entry(_new_future(), rows=((statement, row),)))

    def append_all(
        self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None
    ) -> asyncio.Future[None]:
        """Write several rows that do not depend on each other, all or none, once `check` has raised nothing."""
        if check is None:
            return self._enter(_Entry(_new_future(), rows=rows))
        checked = check

        def work(connection: Connection) -> None:
            checked(connection)
            for statement, row in rows:
                connection.execute(statement, [row])

        return self._enter(_Entry(_new_future(), work=work))

    def _enter(self, entry: _Entry) -> asyncio.Future[Any]:
        if self._stopped:
            entry.future.set_exception(StoreFault("the store is closed"))
        else:
            loop = entry.future.get_loop()
            if not self._entered or self._entered[-1].future.get_loop() is not loop:
                loop.call_soon(self._hand_over)
            self._entered.append(entry)
        return entry.future

    def _hand_over(self) -> None:
        entered, self._entered = self._entered, []
        if entered:
            self._waiting.put(entered)

    def _run(self) -> None:
        while True:
            group, last = self._take()
            if group:
                began = time.perf_counter()
                self._commit(group)
                took = time.perf_counter() - began
                _resolve(group)
                if self.on_group is not None:
                    self.on_group(len(group), took, sum(1 for one in group if isinstance(one.error, StoreFault)))
            if last:
                return

    def _take(self) -> tuple[list[_Entry], bool]:
        """All that waits now, at least one; True when the journal was told to stop."""
        group: list[_Entry] = []
        entered = self._waiting.get()
        while entered is not None:
            group += entered
            if len(group) >= _GROUP:
                return group, False
            try:
                entered = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Entry]) -> None:
        if not self._written_directly(group):
            self._commit_commonly(group)

    def _written_directly(self, group: list[_Entry]) -> bool:
        """Whether a group of rows alone was committed the short way."""
        if self._direct is None or self.fence is not None or any(entry.work is not None for entry in group):
            return False
        try:
            self._direct.write([row for entry in group for row in entry.rows])
        except BaseException as error:  # told by the common way, when it meets the same
            _log.debug("a group of %d is redone the common way: %s", len(group), error)
            return False
        return True

    def _commit_commonly(self, group: list[_Entry]) -> None:
        alone = any(entry.work is not None for entry in group)
        fence = self.fence if any(entry.is_fenced for entry in group) else None

        def carry_out(connection: Connection) -> None:
            if fence is not None:
                fence(connection)
            _apply(connection, group)

        try:
            self._transaction(carry_out, alone=alone)
        except StoreGoneError as error:
            for entry in group:
                entry.error = error
        except BaseException as error:  # whatever it is: an end of this thread would leave every waiter waiting
            if len(group) == 1:
                group[0].error = _fault(error)
                return
            _log.debug("a group of %d is redone one by one: %s", len(group), error)
            self._commit_singly(group)

    def _commit_singly(self, group: list[_Entry]) -> None:
        for number, entry in enumerate(group):
            self._commit_commonly([entry])
            if isinstance(entry.error, StoreGoneError):
                for other in group[number:]:
                    other.error = entry.error
                return


def _new_future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _apply(connection: Connection, group: list[_Entry]) -> None:
    """Appended rows first, gathered by statement; then the works, in the order in which they came.

    Of the rows, those that are added come before those that are changed: a row may be added and changed in one group.
    Otherwise rows in one group cannot depend on each other: whoever depends on a row has awaited it.
    """
    rows: dict[int, tuple[UpdateBase, list[Mapping[str, Any]]]] = {}
    for entry in group:
        for statement, row in entry.rows:
            rows.setdefault(id(statement), (statement, []))[1].append(row)
    for statement, values in sorted(rows.values(), key=lambda each: not each[0].is_insert):
        connection.execute(statement, values)
    for entry in group:
        if entry.work is not None:
            entry.run(connection)


def _fault(error: BaseException) -> Exception:
    """Errors of the database become `StoreFault`; a breach of uniqueness and a work's own errors stay what they are.

    What a future cannot hold, or would pass on as if its waiter had been cancelled, becomes `StoreFault` too.
    """
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        fault = StoreFault(f"a write was broken off by {type(error).__name__}")
        fault.__cause__ = error
        return fault
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
        fault = StoreFault(f"the database refused a write: {cast(Any, error).orig}")
        fault.__cause__ = error
        return fault
    return error


def _resolve(group: list[_Entry]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Entry]] = {}
    for entry in group:
        by_loop.setdefault(entry.future.get_loop(), []).append(entry)
    for loop, entries in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, entries)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(entries: list[_Entry]) -> None:
    for entry in entries:
        if entry.future.done():
            continue
        if entry.error is not None:
            entry.future.set_exception(entry.error)
        else:
            entry.future.set_result(entry.result)
