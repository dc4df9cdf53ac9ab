"""SQLite behind the `Store` seam: WAL, `synchronous=FULL`, one writer thread, a few readers; and its twin in memory."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import Row, StoreFault, StoreGoneError, T, deadline, ids, schema
from kvern.store.direct import Direct
from kvern.store.journal import Journal

_READERS = 4

_STEPS = 4000
"""Steps of the database's machine after which it looks at the deadline of a read: well under a millisecond."""

_UNUSABLE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)
"""What is wrong with the file or the disk, and not with the statement."""

_WRITES = "kvern_writes"
"""An option of connections: their transactions take the lock for writing as they begin."""


class SqliteStore:
    """The default store. All state is in one file; `snapshot.py` copies it while it is in use.

    Args:
        path: the database file; None keeps everything in memory (for tests: same statements, no durability).
        patience: seconds for which a lock that another program holds on the file is waited for.
        read_seconds: after which a read on behalf of a request is given up, in seconds.
    """

    def __init__(self, path: Path | None, patience: float = 10, read_seconds: float = deadline.READ_SECONDS) -> None:
        self._path = path
        self._read_seconds = read_seconds
        self._memory_ids = 1
        self._ids = ids.Ids(self._fetch_ids)
        self._started = False
        if path is None:
            self._engine: Engine = create_engine(
                "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
            )
        else:
            self._engine = create_engine(
                f"sqlite:///{path}",
                pool_size=_READERS + 3,
                max_overflow=0,
                connect_args={"check_same_thread": False, "timeout": patience},
            )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._direct = Direct(self._engine)
        self._journal = Journal(self._transaction, self._direct)
        readers = 1 if path is None else _READERS
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="kvern-reader")

    def start(self) -> None:
        """Open the file and bring its schema up to date.

        Raises:
            StoreFault: the file is no database, or was written by a newer Kvern.
        """
        try:
            schema.upgrade(self._engine.execution_options(**{_WRITES: True}))
        except DBAPIError as error:
            raise StoreFault(f"the database {self._path} cannot be opened: {cast(Any, error).orig}") from error
        self._journal.start()
        self._started = True

    def stop(self) -> None:
        if self._started:
            self._started = False
            self._journal.stop()
            self._direct.close()
            self._readers.shutdown()
            self._ids.close()
            self._engine.dispose()

    def watch(self, on_group: Callable[[int, float, int], None]) -> None:
        """Have `on_group` told of each group that is written, see `Journal.on_group`."""
        self._journal.on_group = on_group

    def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> Awaitable[None]:
        return self._journal.append(statement, row)  # who stops waiting cancels the future, not the write

    def write_rows(self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None) -> Awaitable[None]:
        return self._journal.append_all(rows, check)

    def transact(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return asyncio.shield(self._journal.submit(work))

    @property
    def shared(self) -> bool:
        """Never: the folder that the file is in belongs to one service."""
        return False

    def fence(self, check: Callable[[Connection], None] | None) -> None:
        self._journal.fence = check

    def apart(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return asyncio.shield(self._journal.submit_unfenced(work))

    def listen(self, heard: Callable[[], None]) -> None:
        return  # there are no others to be heard of

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._path is None:  # one connection for all: the writer's thread keeps readers apart from writes
            return await self._journal.submit_unfenced(work)
        if not self._started:
            raise StoreFault("the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)
        except DBAPIError as error:
            raise StoreFault(f"the database refused a read: {cast(Any, error).orig}") from error

    def look_up(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self.read(lambda connection: _within(connection, self._read_seconds, work))

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    def _transaction(self, work: Callable[[Connection], None], *, alone: bool) -> None:
        # Nobody else writes this file, so every transaction is alone.
        try:
            with self._engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
                work(connection)
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in _UNUSABLE:
                raise StoreGoneError(f"the database cannot be written: {error.orig}") from error
            raise

    def next_id(self) -> int:
        return self._ids.next()

    def _fetch_ids(self) -> int:
        if self._path is None:
            self._memory_ids += ids.BLOCK
            return self._memory_ids - ids.BLOCK
        with self._engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
            return ids.take(connection)

    @property
    def name(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


def _within(connection: Connection, seconds: float, work: Callable[[Connection], T]) -> T:
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    until = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        return deadline.within(connection, seconds, work)
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        raise deadline.ReadTooLongError(f"a read took longer than {seconds:g} s") from error
    finally:
        driver.set_progress_handler(None, 0)


def _prepare(connection: Any, _record: object) -> None:
    # Transactions are begun by `_begin`, so that a reader's snapshot and a writer's lock are taken when we say.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Of a new file only: it writes, and on another would wait for a writer.
    if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-16000")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
