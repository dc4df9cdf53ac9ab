"""SQLite behind the `Store` seam: WAL, `synchronous=FULL`, one writer thread, a few readers; and its twin in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import StoreFault, T, schema, tables
from kvern.store.direct import Direct
from kvern.store.journal import Journal

_READERS = 4
_ID_BLOCK = 1000
"""Ids taken from the database at a time; those of a block that are unused when the service ends are never given."""


class SqliteStore:
    """The default store. All state is in one file; copies of it are good when the service is stopped.

    Args:
        path: the database file; None keeps everything in memory (for tests: same statements, no durability).
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ids: list[int] = []
        self._memory_ids = 0
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
                connect_args={"check_same_thread": False, "timeout": 10},
            )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._direct = Direct(self._engine)
        self._journal = Journal(self._engine, self._direct)
        readers = 1 if path is None else _READERS
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="kvern-reader")

    def start(self) -> None:
        """Open the file and bring its schema up to date.

        Raises:
            StoreFault: the file is no database, or was written by a newer Kvern.
        """
        try:
            schema.upgrade(self._engine)
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
            self._engine.dispose()

    def watch(self, on_group: Callable[[int, float, int], None]) -> None:
        """Have `on_group` told of each group that is written, see `Journal.on_group`."""
        self._journal.on_group = on_group

    def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> Awaitable[None]:
        return asyncio.shield(self._journal.append(statement, row))

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

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    def next_id(self) -> int:
        with self._lock:
            if not self._ids:
                self._ids = self._take_ids()
            return self._ids.pop()

    def _take_ids(self) -> list[int]:
        if self._path is None:
            self._memory_ids += _ID_BLOCK
            return list(range(self._memory_ids, self._memory_ids - _ID_BLOCK, -1))
        block = (
            update(tables.sequences)
            .where(tables.sequences.c.name == "ids")
            .values(next=tables.sequences.c.next + _ID_BLOCK)
            .returning(tables.sequences.c.next)
        )
        try:
            with self._engine.begin() as connection:
                first = connection.execute(block).scalar_one()
        except DBAPIError as error:
            raise StoreFault(f"the database gives no ids: {cast(Any, error).orig}") from error
        return list(range(first - 1, first - _ID_BLOCK - 1, -1))

    def check(self) -> str:
        """The version of SQLite, and that the database answers."""
        with self._engine.connect() as connection:
            connection.execute(select(1)).one()
            return ".".join(str(part) for part in cast(Any, connection.dialect).dbapi.sqlite_version_info)


def _prepare(connection: Any, _record: object) -> None:
    # Transactions are begun by `_begin`, so that a reader's snapshot and a writer's lock are taken when we say.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA cache_size=-16000")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
