"""Durable state.

`Store` is the seam: writes go through the journal, which commits in groups; reads see every committed write. The
statements stand one file a noun (`functions.py`, `calls.py`, …) and are the same for every database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection
from sqlalchemy.sql.expression import UpdateBase

T = TypeVar("T")

Row: TypeAlias = tuple[UpdateBase, Mapping[str, Any]]
"""An insert or update, and the values of its parameters."""


class StoreFault(Exception):
    """The database could not carry out a write or a read; nothing of it was kept."""


class FencedError(StoreFault):
    """This service may not write: others took it for dead, and what was its is theirs now."""


class StoreGoneError(StoreFault):
    """The database cannot be used now: gone, full, locked or failing. Whatever waits for it fails alike.

    Nothing of the write was kept, unless the message says that this is unknown: the connection was lost while a commit
    was under way, and did not come back in time to ask.
    """


class Store(Protocol):
    """Where state lives. Methods are called on one event loop; `write` and `transact` may be awaited by thousands.

    Guarantees:
        - When `write` or `transact` returns, its changes survive kill -9 and power loss.
        - Each is atomic. Works run one after the other, also those of other services on the same database; a row that
          another service writes may come between two statements of a work.
        - An await that is cancelled does not undo or stop the write; it only stops the waiting.
        - One that fails changes nothing and does not disturb the others in its group.
    """

    def start(self) -> None:
        """Open the database, bring its schema up to date."""
        ...

    def stop(self) -> None:
        """Commit what waits, then close. Harmless when called twice."""
        ...

    def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> Awaitable[None]:
        """One row for an insert or update with bound parameters; equal statements of a group are sent as one."""
        ...

    def write_rows(self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None) -> Awaitable[None]:
        """Several rows, all or none. They cannot depend on each other: equal statements are sent together.

        Args:
            check: runs before them in their transaction; what it raises is raised here, and nothing is written.
        """
        ...

    def transact(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """Run `work` in a transaction. It may be run again after a rollback, so it changes nothing but the database."""
        ...

    @property
    def name(self) -> str:
        """Which database this is and its version, for people; no address and nothing secret."""
        ...

    def read(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """Run `work` on a reader thread, on a snapshot that holds all that was committed before the call."""
        ...

    def look_up(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """As `read`, on behalf of a request: given up with `ReadTooLongError` when it takes too long."""
        ...

    def next_id(self) -> int:
        """An id that was never given before, not even before a crash (contract 1.4). Raises `StoreFault`."""
        ...

    def watch(self, on_group: Callable[[int, float, int], None]) -> None:
        """Have `on_group` told of each group of `write` and `transact`: see `Journal.on_group`."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other services may work on the same database at the same time."""
        ...

    def fence(self, check: Callable[[Connection], None] | None) -> None:
        """Have `check` run first in every transaction of `write` and `transact`; what it raises fails them all."""
        ...

    def apart(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """As `transact`, but it waits for no other write of this service, and is not fenced: for leases."""
        ...

    def listen(self, heard: Callable[[], None]) -> None:
        """Have `heard` called on the event loop soon after another service has committed a change, where that is told.

        It may be called when there is nothing new; that it is not called says nothing.
        """
        ...
