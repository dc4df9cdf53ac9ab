"""PostgreSQL behind the `Store` seam: connections that write in groups, a few that read; shared by many services.

Works run one after the other on all services: a group that holds one takes a lock of the database's that ends with its
transaction. Groups of rows alone need none, because each of their statements is whole in itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper, TextLoader
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import Row, StoreFault, T, deadline, ids, schema
from kvern.store.journal import Journal
from kvern.store.postgres_news import News
from kvern.store.postgres_writer import Writer, cause, hold, is_lost

_READERS = 4

_WORKS = 0x6B7665726E01
"""The advisory lock under which works run."""

_APART = 0x6B7665726E02
"""That of works apart: leases must go on while somebody hangs in a work."""

_SCHEMA = 0x6B7665726E03
"""That under which the schema is brought up to date."""

_ON_CONNECT = (
    "SET synchronous_commit = on",
    # A transaction that idles for longer belongs to a service that hangs or was cut off; it must hold nobody up, and
    # must be over before a service gives up asking what became of its commit.
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET lock_timeout = '30s'",
)

_DEFAULTS: dict[str, Any] = {
    "application_name": "kvern",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

_log = logging.getLogger(__name__)


class PostgresStore:
    """A store on a PostgreSQL server that several services may share.

    Args:
        url: a connection string as libpq knows them: `postgresql://user@host:5432/name`. What it does not say is taken
            from `PGPASSWORD`, `PGPASSFILE` and their like. The password is never shown.
        read_seconds: after which a read on behalf of a request is given up, in seconds.

    Raises:
        ValueError: the connection string cannot be read.
    """

    def __init__(self, url: str, read_seconds: float = deadline.READ_SECONDS) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its message holds the string, and so perhaps the password
            raise ValueError("Expected a database such as postgresql://user@host/name, given what is no URL") from None
        self._url = url
        self._read_seconds = read_seconds
        self._arguments = {name: value for name, value in _DEFAULTS.items() if name not in given}
        self._writers = self._new_engine(3)
        self._reading = self._new_engine(_READERS, isolation_level="REPEATABLE READ")
        event.listen(self._reading, "connect", _read_only)
        self._started = False
        self._name = "PostgreSQL"
        self._writer, self._other = Writer(self._writers, _WORKS), Writer(self._writers, _APART)
        self._journal, self._apart = Journal(self._writer.transaction), Journal(self._other.transaction)
        self._news: list[News] = []
        self._ids = ids.Ids(self._fetch_ids)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="kvern-reader")

    def _new_engine(self, size: int, **options: Any) -> Engine:
        pool: dict[str, Any] = {"creator": self._connect, "pool_size": size, "max_overflow": 0}
        return create_engine("postgresql+psycopg://", hide_parameters=True, **pool, **options)

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._url, autocommit=True, **self._arguments)
        try:
            for statement in _ON_CONNECT:
                connection.execute(statement)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        connection.adapters.register_dumper(str, _Text)
        for kind in ("text", "varchar"):
            connection.adapters.register_loader(kind, _LoadText)
        return connection

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        """Connect and bring the schema up to date; one service at a time does that.

        Raises:
            StoreFault: the server cannot be reached or refuses, or the database was written by a newer Kvern.
        """
        try:
            schema.upgrade(self._writers, lambda connection: hold(connection, _SCHEMA))
            with self._writers.begin() as connection:
                self._name = f"PostgreSQL {connection.execute(text('SHOW server_version')).scalar_one().split()[0]}"
                self._writer.open(connection)
                self._other.open(connection)
        except DBAPIError as error:
            raise StoreFault(f"the database {_address(self._url)} cannot be opened: {cause(error)}") from error
        self._journal.start()
        self._apart.start()
        self._started = True

    def look(self) -> str:
        """What is there, for people; nothing is changed. Raises `StoreFault` when the server cannot be used."""
        try:
            with self._reading.connect() as connection:
                version = connection.execute(text("SHOW server_version")).scalar_one().split()[0]
        except DBAPIError as error:
            raise StoreFault(f"the database {_address(self._url)} cannot be used: {cause(error)}") from error
        finally:
            self._reading.dispose()
        return f"PostgreSQL {version}, {_address(self._url)}"

    def stop(self) -> None:
        if not self._started:
            return
        self._started = False
        for news in self._news:
            news.stop()
        self._journal.stop()
        self._apart.stop()
        self._readers.shutdown()
        self._ids.close()
        try:
            with self._writers.begin() as connection:
                self._writer.close(connection)
                self._other.close(connection)
        except SQLAlchemyError as error:
            _log.debug("the rows of this service's writers stay for a while: %s", error)
        self._writers.dispose()
        self._reading.dispose()

    def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> Awaitable[None]:
        return asyncio.shield(self._journal.append(statement, row))

    def write_rows(self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None) -> Awaitable[None]:
        return asyncio.shield(self._journal.append_all(rows, check))

    def transact(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return asyncio.shield(self._journal.submit(work))

    def watch(self, on_group: Callable[[int, float, int], None]) -> None:
        """Have `on_group` told of each group that is written, see `Journal.on_group`."""
        self._journal.on_group = on_group

    @property
    def shared(self) -> bool:
        return True

    def fence(self, check: Callable[[Connection], None] | None) -> None:
        self._journal.fence = check

    def apart(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return asyncio.shield(self._apart.submit(work))

    def listen(self, heard: Callable[[], None]) -> None:
        self._news.append(News(self._connect, asyncio.get_running_loop(), heard))
        self._news[-1].start()

    async def read(self, work: Callable[[Connection], T]) -> T:
        if not self._started:
            raise StoreFault("the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)
        except DBAPIError as error:
            raise StoreFault(f"the database refused a read: {cause(error)}") from error

    def look_up(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self.read(lambda connection: _within(connection, self._read_seconds, work))

    def _read(self, work: Callable[[Connection], T]) -> T:
        """Once more when the connection turns out to be dead: connections that lie idle die unnoticed."""
        with self._reading.connect() as connection:
            try:
                return work(connection)
            except DBAPIError as error:
                if not is_lost(error):
                    raise
                connection.invalidate()
        with self._reading.connect() as connection:
            return work(connection)

    def next_id(self) -> int:
        return self._ids.next()

    def _fetch_ids(self) -> int:
        with self._writers.begin() as connection:
            return ids.take(connection)


def _within(connection: Connection, seconds: float, work: Callable[[Connection], T]) -> T:
    connection.execute(text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))
    try:
        return deadline.within(connection, seconds, work)
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise
        raise deadline.ReadTooLongError(f"a read took longer than {seconds:g} s") from error


class _Text(StrDumper):
    """Text as the server takes it: NUL, which it refuses, is written as U+FFFE (which is no character) and `0`.

    Where U+FFFE stands all the same, it is doubled.
    """

    def dump(self, obj: str) -> bytes:
        if "\0" in obj or "\ufffe" in obj:
            obj = obj.replace("\ufffe", "\ufffe\ufffe").replace("\0", "\ufffe0")
        return obj.encode()


class _LoadText(TextLoader):
    def load(self, data: Any) -> str:
        loaded = bytes(data).decode()
        if "\ufffe" not in loaded:
            return loaded
        parts = loaded.split("\ufffe\ufffe")
        return "\ufffe".join(part.replace("\ufffe0", "\0") for part in parts)


def _read_only(connection: Any, _record: object) -> None:
    connection.read_only = True


def _address(url: str) -> str:
    """Where a database is, for people: without password and options."""
    given = conninfo_to_dict(url)
    host, port = given.get("host") or given.get("hostaddr"), given.get("port")
    where = "" if host is None else f" on {host}" if port is None else f" on {host}:{port}"
    return f"{given.get('dbname') or given.get('user') or 'of the default name'}{where}"
