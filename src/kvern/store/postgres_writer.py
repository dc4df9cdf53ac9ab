"""The one connection through which a service writes to PostgreSQL, and what it does when that breaks.

    what goes wrong                            | what becomes of the transaction
    -------------------------------------------|-------------------------------------------------------------
    the connection is lost before the commit   | rolled back by the server; done again on a new connection
    ... while the commit is under way          | the row of this writer in `sequences` tells whether it was kept:
                                               | kept, or done again; StoreGoneError when that cannot be asked
    the server does not answer                 | StoreGoneError, for as long as that lasts
    deadlock, or a conflict with other services | rolled back by the server; done again

Every transaction sets the row of its writer to a number of its own. A transaction whose end nobody knows holds the lock
of that row, so reading the row with a lock waits for that end, whatever it is, and then tells it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from kvern.store import StoreFault, StoreGoneError
from kvern.store.tables import sequences

_TRIES = 5
"""How often a transaction is carried out that the server rolled back for no fault of its own."""

_PATIENCE = 3.0
"""Seconds for which a transaction waits for a server that was there a moment ago: most restarts take no longer."""

_DOUBT = 15.0
"""Seconds in which it has to be found out whether a commit whose answer was lost was kept."""

_PAUSE = 0.05

_MARK_MS = 7 * 24 * 3_600_000
"""The row of a writer that wrote nothing for so long is removed: it was killed."""

_AGAIN = frozenset(("40001", "40P01"))
"""SQLSTATE of what may go well when it is done again: serialization failure, deadlock."""

_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03")
"""SQLSTATE of what ends a connection: its failure, an administrator, a crash, a shutdown, idling for too long."""

_UNUSABLE = ("53", "57", "58", "25006", "55P03", "XX")
"""SQLSTATE of what is no fault of the statement: resources, shutdown, disk, read-only, locks, internal."""

_log = logging.getLogger(__name__)


class Writer:
    """Carries out transactions, one at a time, each of them once or not at all.

    Args:
        lock: the advisory lock that a transaction holds that must run alone.
    """

    def __init__(self, engine: Engine, lock: int) -> None:
        self._engine = engine
        self._lock = lock
        self._mark = f"journal {secrets.token_hex(10)}"
        self._number = 0
        self._gone = False

    def open(self, connection: Connection) -> None:
        """Make the row that tells what became of commits; clear those of writers that are long gone."""
        old = sequences.c.name.like("journal %") & (sequences.c.next < _now() - _MARK_MS)
        connection.execute(delete(sequences).where(old))
        connection.execute(insert(sequences), {"name": self._mark, "next": _now()})

    def close(self, connection: Connection) -> None:
        connection.execute(delete(sequences).where(sequences.c.name == self._mark))

    def transaction(self, work: Callable[[Connection], None], *, alone: bool) -> None:
        """As `journal.Transaction` says."""
        for _ in range(_TRIES):
            connection = self._connected()
            try:
                if self._carry_out(connection, work, alone=alone):
                    return
            finally:
                connection.close()
        raise StoreGoneError(f"the database rolled a write back {_TRIES} times")

    def _connected(self) -> Connection:
        """A connection; a server that was there a moment ago is waited for."""
        deadline = time.monotonic() + (0 if self._gone else _PATIENCE)
        while True:
            try:
                connection = self._engine.connect()
            except DBAPIError as error:
                if time.monotonic() >= deadline:
                    if not self._gone:
                        _log.error("the database is gone: %s", cause(error))
                    self._gone = True
                    raise StoreGoneError(f"the database cannot be reached: {cause(error)}") from error
                time.sleep(_PAUSE)
            else:
                if self._gone:
                    _log.warning("the database is there again")
                self._gone = False
                return connection

    def _carry_out(self, connection: Connection, work: Callable[[Connection], None], *, alone: bool) -> bool:
        """Whether it was kept; False when it was rolled back and may be done again."""
        # Larger than any before it, and tells when it was set.
        self._number = max(self._number + 1, _now())
        try:
            transaction = connection.begin()
            if alone:
                hold(connection, self._lock)
            self._set_mark(connection)
            work(connection)
            driver = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
            if driver.info.transaction_status == TransactionStatus.INERROR:
                raise StoreFault("a work went on after the database had refused one of its statements")
        except DBAPIError as error:
            return self._rolled_back(connection, error)
        try:
            transaction.commit()
        except DBAPIError as error:
            if not is_lost(error):
                return self._rolled_back(connection, error)
            connection.invalidate()
            _log.warning("the connection was lost while a write was committed, asking what became of it")
            return self._was_kept(error)
        return True

    @staticmethod
    def _rolled_back(connection: Connection, error: DBAPIError) -> bool:
        """False when what was rolled back may be done again; else raises what there is to say."""
        if is_lost(error):
            connection.invalidate()
            return False
        state = _state(error)
        if state in _AGAIN:
            return False
        if state.startswith(_UNUSABLE):
            raise StoreGoneError(f"the database cannot be written: {cause(error)}") from error
        raise error

    def _set_mark(self, connection: Connection) -> None:
        mark = update(sequences).where(sequences.c.name == self._mark)
        if connection.execute(mark, {"next": self._number}).rowcount == 0:
            connection.execute(insert(sequences), {"name": self._mark, "next": self._number})

    def _was_kept(self, lost: DBAPIError) -> bool:
        """What became of a commit whose answer was lost. Raises `StoreGoneError` when that cannot be found out."""
        mark = select(sequences.c.next).where(sequences.c.name == self._mark).with_for_update()
        deadline = time.monotonic() + _DOUBT
        while time.monotonic() < deadline:
            try:
                with self._engine.begin() as connection:
                    connection.execute(text(f"SET LOCAL lock_timeout = {int(_DOUBT * 1000)}"))
                    kept = connection.execute(mark).scalar_one_or_none()
                    if kept is not None:
                        return kept == self._number
                    break
            except DBAPIError as error:
                lost = error
                time.sleep(_PAUSE)
        self._gone = True
        raise StoreGoneError(
            f"the connection was lost while a write was committed, and it is unknown whether it was kept: {cause(lost)}"
        ) from lost


def hold(connection: Connection, key: int) -> None:
    """Take an advisory lock until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def is_lost(error: DBAPIError) -> bool:
    """Whether the connection is of no use any more; the server may have said so before it hung up."""
    return error.connection_invalidated or _state(error).startswith(_LOST)


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def cause(error: DBAPIError) -> str:
    """What the server or the driver said, on one line."""
    return " ".join(str(error.orig).split())


def _now() -> int:
    return time.time_ns() // 1_000_000
