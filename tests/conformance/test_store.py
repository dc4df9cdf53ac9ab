"""What every `Store` guarantees. Each test runs on each of them; those about files only where there is a file."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from kvern.store import (
    Store,
    StoreFault,
    StoreGoneError,
    calls,
    clients,
    files,
    functions,
    schedules,
    schema,
    sessions,
    tables,
)
from kvern.store.deadline import ReadTooLongError, check
from kvern.store.postgres import PostgresStore
from kvern.store.sqlite import SqliteStore
from tests.postgres import execute

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(100), unique=True))
"""A table of the tests' own: what a store guarantees has nothing to do with which rows it holds."""

ADD = insert(NOTES)


class OwnError(Exception):
    """What a work raises itself."""


class Database:
    """Something that a store can be opened on, and that others can look into."""

    def __init__(self, store: Callable[[], Store], url: str) -> None:
        self._store = store
        self._url = url
        self._opened: list[Store] = []

    def open(self) -> Store:
        """A store with the table of notes in it, as often as a test likes."""
        store = self._store()
        store.start()
        self._opened.append(store)
        self.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text VARCHAR(100) UNIQUE)")
        return store

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """As somebody else, on a connection of their own."""
        if self._url.startswith("postgresql"):
            return execute(self._url, statement)
        connection = sqlite3.connect(self._url, isolation_level=None)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        for store in self._opened:
            store.stop()


@pytest.fixture(scope="session")
def emptied_postgres(new_postgres: Callable[[], str]) -> Callable[[], str]:
    """The URL of a database with the newest schema and nothing in it, always the same one."""
    url = new_postgres()
    store = PostgresStore(url)
    store.start()
    store.stop()
    every = ", ".join(table.name for table in tables.metadata.sorted_tables if table.name != "sequences")

    def empty() -> str:
        execute(url, f"DROP TABLE IF EXISTS notes; TRUNCATE {every}; UPDATE sequences SET next = 1001")
        return url

    return empty


@pytest.fixture
def sqlite_file(path: Path) -> Iterator[Database]:
    database = Database(lambda: SqliteStore(path), str(path))
    yield database
    database.close()


@pytest.fixture
def postgres(emptied_postgres: Callable[[], str]) -> Iterator[Database]:
    url = emptied_postgres()
    database = Database(lambda: PostgresStore(url), url)
    yield database
    database.close()


@pytest.fixture(params=["sqlite_file", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each that keeps what is in it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["sqlite_file", "memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param != "memory":
        yield request.getfixturevalue(request.param).open()
        return
    made = SqliteStore(None)
    made.start()
    await made.transact(lambda connection: NOTES.create(connection))
    yield made
    made.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kvern.db"


@pytest.fixture
def commits() -> Iterator[list[Connection]]:
    """One entry for each commit of any store while the test runs."""
    seen: list[Connection] = []

    def see(connection: Connection) -> None:
        seen.append(connection)

    event.listen(Engine, "commit", see)
    yield seen
    event.remove(Engine, "commit", see)


def note(number: int, content: str | None = None) -> dict[str, Any]:
    return {"id": number, "text": content if content is not None else f"note {number}"}


def add(*numbers: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        for number in numbers:
            connection.execute(ADD, [note(number)])

    return work


def kept(connection: Connection) -> list[int]:
    return list(connection.execute(select(NOTES.c.id).order_by(NOTES.c.id)).scalars())


class Plug:
    """Keeps the writer of a store busy until `pull`, so that what is written meanwhile waits for one group."""

    def __init__(self, store: Store) -> None:
        self._pulled = threading.Event()
        self._entered = threading.Event()
        self._store = store

    async def __aenter__(self) -> Plug:
        def hold(_: Connection) -> None:
            self._entered.set()
            assert self._pulled.wait(30)

        self._held = asyncio.ensure_future(self._store.transact(hold))
        await asyncio.to_thread(self._entered.wait, 30)
        return self

    def pull(self) -> None:
        self._pulled.set()

    async def __aexit__(self, *_: object) -> None:
        self.pull()
        await self._held


# What is kept


async def test_a_write_is_seen_by_every_read_that_begins_after_it(store: Store) -> None:
    for number in range(1, 30):
        await store.write(ADD, note(number))
        assert await store.read(kept) == list(range(1, number + 1))


async def test_a_transaction_is_seen_by_every_read_that_begins_after_it(store: Store) -> None:
    for number in range(1, 30):
        await store.transact(add(number))
        assert await store.read(kept) == list(range(1, number + 1))


async def test_a_transaction_gives_back_what_its_work_returned(store: Store) -> None:
    await store.transact(add(1, 2))
    assert await store.transact(kept) == [1, 2]


async def test_what_was_written_survives_closing_and_opening(database: Database) -> None:
    first = database.open()
    await first.write(ADD, note(1))
    await first.transact(add(2))
    first.stop()
    assert await database.open().read(kept) == [1, 2]


async def test_what_was_answered_is_in_the_database_before_the_store_is_closed(
    database: Database,
) -> None:
    """As after kill -9: somebody else looks while nothing has been closed in order."""
    store = database.open()
    await store.write(ADD, note(1))
    assert database.execute("SELECT id FROM notes") == [(1,)]


async def test_each_commit_to_postgres_waits_for_the_disk(postgres: Database) -> None:
    """Whatever the server's own setting is: a database may have been told not to wait."""
    name = postgres.execute("SELECT current_database()")[0][0]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    assert postgres.execute("SHOW synchronous_commit") == [("off",)]
    store = postgres.open()

    def setting(connection: Connection) -> str:
        return connection.execute(text("SHOW synchronous_commit")).scalar_one()

    assert await store.transact(setting) == "on"
    assert await store.apart(setting) == "on"
    postgres.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


async def test_each_commit_is_flushed_to_the_disk(sqlite_file: Database) -> None:
    """`synchronous` FULL (2) flushes the journal at each commit; NORMAL (1) in WAL mode would survive a kill only."""
    store = sqlite_file.open()

    def settings(connection: Connection) -> tuple[str, int]:
        return (
            connection.execute(text("PRAGMA journal_mode")).scalar_one(),
            connection.execute(text("PRAGMA synchronous")).scalar_one(),
        )

    assert await store.transact(settings) == ("wal", 2)
    assert await store.read(settings) == ("wal", 2)


async def test_stop_commits_what_waits(database: Database) -> None:
    store = database.open()
    writes = [asyncio.ensure_future(store.write(ADD, note(number))) for number in range(1, 101)]
    store.stop()
    await asyncio.gather(*writes)
    assert await database.open().read(kept) == list(range(1, 101))


async def test_stop_may_be_called_twice(store: Store) -> None:
    store.stop()
    store.stop()


# All or nothing


async def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    def work(connection: Connection) -> None:
        connection.execute(ADD, [note(1)])
        raise OwnError

    with pytest.raises(OwnError):
        await store.transact(work)
    assert await store.read(kept) == []


async def test_a_breach_of_uniqueness_is_told_as_such_and_changes_nothing(store: Store) -> None:
    await store.write(ADD, note(1))
    with pytest.raises(IntegrityError):
        await store.write(ADD, note(1))
    with pytest.raises(IntegrityError):
        await store.transact(add(2, 1))
    assert await store.read(kept) == [1]


async def test_a_failing_transaction_does_not_disturb_its_group(store: Store) -> None:
    def failing(connection: Connection) -> None:
        connection.execute(ADD, [note(5)])
        raise OwnError

    async with Plug(store) as plug:
        works = [add(1), failing, add(2), add(1), add(3)]
        waiting = [asyncio.ensure_future(store.transact(work)) for work in works]
        plug.pull()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), OwnError, type(None), IntegrityError, type(None)]
    assert await store.read(kept) == [1, 2, 3]


async def test_a_failing_row_does_not_disturb_its_group(store: Store) -> None:
    async with Plug(store) as plug:
        rows = [note(1), note(2), note(1, "another text"), note(3)]
        waiting = [asyncio.ensure_future(store.write(ADD, row)) for row in rows]
        plug.pull()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), IntegrityError, type(None)]
    assert await store.read(kept) == [1, 2, 3]


async def test_a_work_that_raises_what_is_no_database_error_leaves_the_writer_alive(store: Store) -> None:
    with pytest.raises(UnicodeEncodeError):
        await store.write(ADD, note(1, "\udc80"))
    with pytest.raises((OverflowError, StoreFault)):  # some drivers tell it, some databases
        await store.write(ADD, note(10**30))
    await store.write(ADD, note(2))
    assert await store.read(kept) == [2]


@pytest.mark.parametrize("broken_off", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, StopIteration])
async def test_whatever_a_work_raises_all_who_wait_are_told(store: Store, broken_off: type[BaseException]) -> None:
    def work(connection: Connection) -> None:
        add(2)(connection)
        raise broken_off

    async with Plug(store) as plug:
        waiting = [asyncio.ensure_future(store.transact(one)) for one in (add(1), work, add(3))]
        plug.pull()
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
    assert [type(result) for result in results] == [type(None), StoreFault, type(None)]
    assert await store.read(kept) == [1, 3]


@pytest.mark.parametrize(
    "content", ["a\0b", "\0", "\ufffe", "\ufffe0", "\ufffe\0", "\0\ufffe\ufffe\0\0", "å\uffff😀", ""]
)
async def test_any_text_comes_back_as_it_was(store: Store, content: str) -> None:
    await store.write(ADD, note(1, content))
    assert await store.read(lambda connection: connection.execute(select(NOTES.c.text)).scalar_one()) == content
    found = select(NOTES.c.id).where(NOTES.c.text == content)
    assert await store.transact(lambda connection: connection.execute(found).scalar_one()) == 1


async def test_a_work_that_goes_on_after_an_error_of_the_database_is_kept_whole_or_not_at_all(store: Store) -> None:
    await store.write(ADD, note(1))

    def work(connection: Connection) -> None:
        connection.execute(ADD, [note(2)])
        with pytest.raises(IntegrityError):
            connection.execute(ADD, [note(1)])

    try:
        await store.transact(work)
    except StoreFault:
        assert await store.read(kept) == [1]
    else:
        assert await store.read(kept) == [1, 2]


async def test_a_work_apart_waits_for_no_other(postgres: Database) -> None:
    """Of nobody's: the lock under which works run is held by one service for all."""
    store, another = postgres.open(), postgres.open()
    async with Plug(another):
        await store.apart(add(1))
        assert await store.read(kept) == [1]


async def test_a_read_that_fails_disturbs_nobody(store: Store) -> None:
    def work(connection: Connection) -> None:
        raise OwnError

    with pytest.raises(OwnError):
        await store.read(work)
    await store.write(ADD, note(1))
    assert await store.read(kept) == [1]


# One after the other


async def test_transactions_run_one_after_the_other(store: Store) -> None:
    """Each adds one to what it read; were two of them to overlap, an addition would be lost."""
    await store.write(ADD, note(1, "0"))

    def count(connection: Connection) -> int:
        seen = int(connection.execute(select(NOTES.c.text).where(NOTES.c.id == 1)).scalar_one())
        connection.execute(update(NOTES).where(NOTES.c.id == 1).values(text=str(seen + 1)))
        return seen

    seen = await asyncio.gather(*(store.transact(count) for _ in range(300)))
    assert sorted(seen) == list(range(300))


async def test_a_read_sees_all_of_a_transaction_or_nothing(store: Store) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        for number in range(1, 200, 2):
            await store.transact(add(number, number + 1))
        stop.set()

    async def read() -> None:
        while not stop.is_set():
            assert len(await store.read(kept)) % 2 == 0

    await asyncio.gather(write(), read(), read())


async def test_a_read_stays_on_its_snapshot(database: Database) -> None:
    store = database.open()
    await store.write(ADD, note(1))
    looked, written = threading.Event(), threading.Event()

    def look_twice(connection: Connection) -> tuple[list[int], list[int]]:
        first = kept(connection)
        looked.set()
        assert written.wait(30)
        return first, kept(connection)

    reading = asyncio.ensure_future(store.read(look_twice))
    await asyncio.to_thread(looked.wait, 30)
    await store.write(ADD, note(2))
    written.set()
    assert await reading == ([1], [1])
    assert await store.read(kept) == [1, 2]


async def test_readers_do_not_wait_for_each_other_nor_for_the_writer(database: Database) -> None:
    store = database.open()
    await store.write(ADD, note(1))
    together = threading.Barrier(2)

    def meet(connection: Connection) -> list[int]:
        together.wait(30)
        return kept(connection)

    async with Plug(store):
        assert await asyncio.gather(store.read(meet), store.read(meet)) == [[1], [1]]


# Waiting


async def test_a_cancelled_wait_does_not_undo_the_write(store: Store) -> None:
    async with Plug(store) as plug:
        tasks = [
            asyncio.create_task(_awaited(store.write(ADD, note(1)))),
            asyncio.create_task(_awaited(store.transact(add(2)))),
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        other = asyncio.ensure_future(store.write(ADD, note(3)))
        plug.pull()
        await other
    assert await store.read(kept) == [1, 2, 3]


async def _awaited(write: Any) -> Any:
    return await write


async def test_thousands_of_writes_are_committed_in_groups(store: Store, commits: list[Connection]) -> None:
    async with Plug(store) as plug:
        writes = [asyncio.ensure_future(store.write(ADD, note(number))) for number in range(1, 3001)]
        plug.pull()
        await asyncio.gather(*writes)
    assert len(commits) <= 20
    assert await store.read(kept) == list(range(1, 3001))


async def test_rows_of_one_statement_are_written_in_the_order_in_which_they_came(store: Store) -> None:
    change = update(NOTES).where(NOTES.c.id == 1)
    await store.write(ADD, note(1, "first"))
    async with Plug(store) as plug:
        writes = [asyncio.ensure_future(store.write(change, {"text": word})) for word in ("second", "third", "last")]
        plug.pull()
        await asyncio.gather(*writes)
    assert await store.read(lambda c: c.execute(select(NOTES.c.text)).scalar_one()) == "last"


# Ids


async def test_ids_are_given_once_and_grow(store: Store) -> None:
    ids = [store.next_id() for _ in range(2500)]
    assert ids == sorted(set(ids))
    assert ids[0] >= 1
    assert ids[-1] < 2**53


async def test_ids_are_given_once_to_many_threads(store: Store) -> None:
    def take() -> list[int]:
        return [store.next_id() for _ in range(700)]

    portions = await asyncio.gather(*(asyncio.to_thread(take) for _ in range(4)))
    assert len({number for portion in portions for number in portion}) == 2800


async def test_ids_are_never_given_again_after_opening_anew(database: Database) -> None:
    first = database.open()
    given = {first.next_id() for _ in range(10)}
    first.stop()
    second = database.open()
    given |= {second.next_id() for _ in range(1500)}
    assert len(given) == 1510


async def test_ids_are_never_given_again_after_a_crash(database: Database) -> None:
    """A store that was killed closes nothing; here it is simply still open."""
    stores = [database.open() for _ in range(3)]
    given = [store.next_id() for store in stores for _ in range(3)]
    assert len(set(given)) == len(given)


async def test_ids_are_given_while_a_write_is_under_way(database: Database) -> None:
    store = database.open()
    first = store.next_id()
    writes = [asyncio.ensure_future(store.write(ADD, note(number))) for number in range(1, 501)]
    ids = [store.next_id() for _ in range(3000)]
    await asyncio.gather(*writes)
    assert ids == sorted(set(ids))
    assert ids[0] > first


# Faults


async def test_a_table_that_is_gone_is_a_fault_for_readers_and_writers(store: Store) -> None:
    await store.transact(lambda connection: NOTES.drop(connection))
    with pytest.raises(StoreFault, match="notes"):
        await store.write(ADD, note(1))
    with pytest.raises(StoreFault, match="notes"):
        await store.transact(add(1))
    with pytest.raises(StoreFault, match="notes"):
        await store.read(kept)


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """As if the disk had no room for one page more: no file of this process may grow beyond the database's journal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_a_fault_for_the_whole_group_and_nothing_of_it_is_kept(
    sqlite_file: Database, path: Path
) -> None:
    store = sqlite_file.open()
    await store.write(ADD, note(1))
    async with Plug(store) as plug:
        writes: list[Any] = [asyncio.ensure_future(store.write(ADD, note(number))) for number in (2, 3)]
        writes.append(asyncio.ensure_future(store.transact(add(4))))
        with full_disk(path):
            plug.pull()
            results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [StoreGoneError] * 3, results
    assert await store.read(kept) == [1]
    await store.write(ADD, note(2))
    assert await store.read(kept) == [1, 2]


async def test_a_database_that_refuses_a_row_harms_only_that_row(database: Database) -> None:
    store = database.open()
    database.execute("CREATE UNIQUE INDEX refuse ON notes ((text IS NULL)) WHERE id > 0")
    async with Plug(store) as plug:
        writes: list[Any] = [asyncio.ensure_future(store.write(ADD, note(number))) for number in (1, 0, 2)]
        plug.pull()
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), IntegrityError]
    database.execute("DROP INDEX refuse")
    await store.write(ADD, note(2))
    assert await store.read(kept) == [0, 1, 2]


async def test_a_closed_store_refuses_with_a_fault(store: Store) -> None:
    store.stop()
    with pytest.raises(StoreFault, match="closed"):
        await store.write(ADD, note(1))
    with pytest.raises(StoreFault, match="closed"):
        await store.transact(add(1))
    with pytest.raises(StoreFault, match="closed"):
        await store.read(kept)


async def test_ids_that_cannot_be_taken_are_a_fault_until_they_can(database: Database) -> None:
    store = database.open()
    given = store.next_id()
    database.execute("ALTER TABLE sequences RENAME TO hidden")
    with pytest.raises(StoreFault, match="sequences"):
        for _ in range(2000):
            assert store.next_id() > given
    database.execute("ALTER TABLE hidden RENAME TO sequences")
    async with asyncio.timeout(30):
        while True:
            try:
                assert store.next_id() > given
                return
            except StoreFault:
                await asyncio.sleep(0.01)


def test_a_file_that_is_no_database_is_not_opened(path: Path) -> None:
    content = b"these are my notes, not a database" * 100
    path.write_bytes(content)
    with pytest.raises(StoreFault, match=str(path)):
        SqliteStore(path).start()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match="no-such-folder"):
        SqliteStore(tmp_path / "no-such-folder" / "kvern.db").start()


# The schema


def test_a_database_of_a_newer_kvern_is_not_opened(database: Database) -> None:
    database.open().stop()
    newest = schema.latest()
    database.execute("UPDATE alembic_version SET version_num = '9876'")
    with pytest.raises(StoreFault, match="9876"):
        database.open()
    assert database.execute("SELECT version_num FROM alembic_version") == [("9876",)]
    database.execute(f"UPDATE alembic_version SET version_num = '{newest}'")


@pytest.fixture(params=["sqlite_file", "postgres"])
def old(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[Engine, Callable[[], Store]]]:
    """A database that nobody has opened yet, and what opens it."""
    if request.param == "sqlite_file":
        engine, store = create_engine(f"sqlite:///{path}"), SqliteStore(path)
    else:
        url = request.getfixturevalue("new_postgres")()
        engine, store = create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1)), PostgresStore(url)

    def open_() -> Store:
        store.start()
        return store

    yield engine, open_
    store.stop()
    engine.dispose()


def test_a_database_of_another_program_is_left_as_it_is(old: tuple[Engine, Callable[[], Store]]) -> None:
    engine, open_ = old
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE functions (name TEXT)")
    with pytest.raises(StoreFault, match="functions"):
        open_()
    assert inspect(engine).get_table_names() == ["functions"]


ROWS: list[tuple[str, dict[str, Any]]] = [
    ("clients", {"client_id": "kvern-1", "project": "plant", "name": "mine", "secret_hash": "hash", "capabilities": "[]", "created_time": 1}),
    ("functions", {"id": 7, "project": "plant", "name": "f", "status": "Ready", "file_id": 1, "bundle": "b", "function_path": "handler.py", "cpu": 1, "memory": 1.5, "runtime": "py313", "revision": "r", "created_time": 2}),
    ("calls", {"id": 8, "project": "plant", "function_id": 7, "status": "Running", "begun": True, "start_time": 3, "data": b"{}"}),
    ("schedules", {"id": 9, "project": "plant", "function_id": 7, "name": "s", "cron_expression": "* * * * *", "session_id": 10, "created_time": 4}),
    ("sessions", {"id": 10, "project": "plant", "type": "TOKEN_EXCHANGE", "status": "ACTIVE", "subject": "kvern-1", "capabilities": "[]", "creation_time": 5, "expiration_time": 6}),
    ("files", {"id": 11, "project": "plant", "name": "a.zip", "details": "{}", "created_time": 7, "last_updated_time": 7}),
    ("data_sets", {"id": 12, "project": "plant", "write_protected": False, "created_time": 8, "last_updated_time": 8}),
    ("groups", {"id": 13, "project": "plant", "name": "g", "capabilities": "[]", "from_file": False, "created_time": 9}),
    ("ticks", {"schedule_id": 9, "due_time": 10, "outcome": "ran"}),
]  # fmt: skip


def of_version(version: str, engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Make a database as an earlier version did, with a row in each table that it had of `ROWS`; all that is in it."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        there = MetaData()
        there.reflect(connection)
        for name, row in ROWS:
            if name in there.tables:
                connection.execute(insert(there.tables[name]), row)
        connection.execute(update(there.tables["sequences"]).values(next=2000))
        return contents(connection, there)


def contents(connection: Connection, there: MetaData) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in there.sorted_tables
        if table.name not in {"alembic_version", "sequences"}
    }


VERSIONS = sorted(path.stem[1:5] for path in (Path(schema.__file__).parent / "migrations" / "versions").glob("m*.py"))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_database_of_every_earlier_version_is_brought_up_to_date_with_all_that_is_in_it(
    version: str, old: tuple[Engine, Callable[[], Store]]
) -> None:
    engine, open_ = old
    before = of_version(version, engine)
    store = open_()
    assert [record.client_id for record in await store.read(clients.everything)] == ["kvern-1"]
    assert [record.id for record in await store.read(functions.everything)] == [7]
    assert [left.record.id for left in await store.read(calls.unfinished)] == [8]
    assert [record.id for record in await store.read(schedules.everything)] == [9]
    assert [record.id for record in await store.read(sessions.alive)] == [10]
    assert (await store.read(lambda connection: files.get(connection, "plant", 11))) is not None
    assert store.next_id() >= 2000
    after = await store.read(lambda connection: contents(connection, tables.metadata))
    for name, rows in before.items():
        assert [{key: row[key] for key in was} for was, row in zip(rows, after[name], strict=True)] == rows
    differences = await store.transact(
        lambda connection: list(compare_metadata(MigrationContext.configure(connection), tables.metadata))
    )
    assert differences == []


async def test_an_upgrade_that_breaks_off_changes_nothing_and_is_done_at_the_next_start(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = of_version("0008", create_engine(f"sqlite:///{path}"))
    store = SqliteStore(path)

    def break_off(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if "RENAME TO sessions" in statement:
            raise OSError("the power went")

    event.listen(store._engine, "before_cursor_execute", break_off)
    with pytest.raises(OSError, match="the power went"):
        store.start()
    event.remove(store._engine, "before_cursor_execute", break_off)
    there = MetaData()
    with create_engine(f"sqlite:///{path}").connect() as connection:
        there.reflect(connection)
        assert contents(connection, there) == before
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0008"
    store.start()
    assert [left.record.id for left in await store.read(calls.unfinished)] == [8]
    store.stop()
    assert f"from schema 0008 to {schema.latest()}" in caplog.text


async def test_two_that_open_an_empty_database_at_once_make_it_once(new_postgres: Callable[[], str]) -> None:
    url = new_postgres()
    stores = [PostgresStore(url) for _ in range(3)]
    await asyncio.gather(*(asyncio.to_thread(store.start) for store in stores))
    given = [store.next_id() for store in stores for _ in range(3)]
    assert len(set(given)) == len(given)
    for store in stores:
        store.stop()


async def test_the_migrations_make_what_the_tables_say(store: Store) -> None:
    """Columns, types, keys, indexes and constraints are the same whichever way a database came to be."""

    def differences(connection: Connection) -> list[Any]:
        NOTES.drop(connection)
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert await store.transact(differences) == []


def test_what_is_listed_of_a_call_lies_before_what_may_be_large(sqlite_file: Database) -> None:
    sqlite_file.open().stop()
    names = [str(row[1]) for row in sqlite_file.execute("PRAGMA table_info(calls)")]
    assert names[-2:] == ["data", "response"]
    assert names == [column.name for column in tables.calls.c]


def test_opening_an_old_database_again_changes_nothing(sqlite_file: Database, path: Path) -> None:
    def schema() -> list[Any]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return rows

    sqlite_file.open().stop()
    before = schema()
    sqlite_file.open().stop()
    assert schema() == before


# PostgreSQL's answer to a commit gets lost


class Cutter:
    """Stands between a store and its server, on a socket of its own, and cuts the connection at a COMMIT.

    Args:
        passes: whether the COMMIT still reaches the server, so that only its answer is lost.
    """

    def __init__(self, folder: Path, server: str, *, passes: bool) -> None:
        self.address = str(folder)
        self.cuts = 0
        self.armed = False
        self._passes = passes
        self._server = f"{server}/.s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.5432")
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._server)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other, one is near), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_client and self.armed and b"COMMIT" in data:
                    self.armed = False
                    self.cuts += 1
                    source.shutdown(socket.SHUT_RDWR)
                    if self._passes:
                        target.sendall(data)
                    else:
                        target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("passes", [True, False], ids=["after it was kept", "before it was"])
async def test_a_commit_whose_answer_is_lost_is_carried_out_once(
    passes: bool, emptied_postgres: Callable[[], str], postgres_sockets: str
) -> None:
    url = emptied_postgres()
    folder = Path(tempfile.mkdtemp(prefix="kvern-cut-"))
    cutter = Cutter(folder, postgres_sockets, passes=passes)
    store = PostgresStore(url.replace(postgres_sockets, cutter.address))
    store.start()
    try:
        await store.transact(lambda connection: NOTES.create(connection))
        await store.write(ADD, note(1, "0"))

        def count(connection: Connection) -> None:
            seen = int(connection.execute(select(NOTES.c.text).where(NOTES.c.id == 1)).scalar_one())
            connection.execute(update(NOTES).where(NOTES.c.id == 1).values(text=str(seen + 1)))

        for expected in range(1, 6):
            cutter.armed = True
            await asyncio.gather(store.transact(count), store.write(ADD, note(expected + 1)))
            assert execute(url, "SELECT text FROM notes WHERE id = 1") == [(str(expected),)]
        assert await store.read(kept) == [1, 2, 3, 4, 5, 6]
        assert cutter.cuts == 5
    finally:
        store.stop()
        cutter.close()
        shutil.rmtree(folder)


async def test_a_locked_file_is_a_fault_until_it_is_free(path: Path) -> None:
    store = SqliteStore(path, patience=0.05)
    store.start()
    other = sqlite3.connect(path, isolation_level=None)
    try:
        await store.transact(lambda connection: NOTES.create(connection))
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(
            *(store.write(ADD, note(number)) for number in range(20)), store.transact(add(30)), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreGoneError] * 21
        assert await store.read(kept) == []
        other.execute("ROLLBACK")
        await store.write(ADD, note(1))
        assert await store.read(kept) == [1]
    finally:
        other.close()
        store.stop()


# Deadlines of reads


@pytest.fixture(params=["sqlite_file", "memory", "postgres"])
def hurried(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    """A store whose reads for requests may take next to no time."""
    made: Store
    if request.param == "postgres":
        made = PostgresStore(request.getfixturevalue("emptied_postgres")(), 0.05)
    else:
        made = SqliteStore(path if request.param == "sqlite_file" else None, read_seconds=0.05)
    made.start()
    yield made
    made.stop()


def count_to(number: int) -> Callable[[Connection], int]:
    counting = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) SELECT max(i) FROM n"
    )
    return lambda connection: connection.execute(text(counting)).scalar_one()


async def test_a_read_for_a_request_that_takes_too_long_is_given_up(hurried: Store) -> None:
    for _ in range(6):  # more than there are readers
        with pytest.raises(ReadTooLongError):
            await hurried.look_up(count_to(1_000_000_000))
    assert await hurried.look_up(count_to(10)) == 10


async def test_a_loop_over_rows_that_takes_too_long_is_given_up(hurried: Store) -> None:
    def work(connection: Connection) -> None:
        while True:
            check(connection)

    with pytest.raises(ReadTooLongError):
        await hurried.look_up(work)


async def test_a_read_of_the_service_itself_has_no_deadline(hurried: Store) -> None:
    with pytest.raises(ReadTooLongError):
        await hurried.look_up(count_to(1_000_000))
    assert await hurried.read(count_to(1_000_000)) == 1_000_000
