"""What every `Store` guarantees. Each test runs on each of them; those about files only where there is a file."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
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
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from kvern.store import Store, StoreFault, calls, clients, files, functions, schedules, schema, sessions, tables
from kvern.store.sqlite import SqliteStore

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(100), unique=True))
"""A table of the tests' own: what a store guarantees has nothing to do with which rows it holds."""

ADD = insert(NOTES)


class OwnError(Exception):
    """What a work raises itself."""


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = SqliteStore(tmp_path / "kvern.db" if request.param == "file" else None)
    made.start()
    await made.transact(lambda connection: NOTES.create(connection))
    yield made
    made.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kvern.db"


@pytest.fixture
def open_file(path: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Opens the same file as often as a test likes, with the table of notes in it; closes what is left open."""
    opened: list[SqliteStore] = []

    def open_() -> SqliteStore:
        store = SqliteStore(path)
        store.start()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text VARCHAR(100) UNIQUE)")
        connection.close()
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.stop()


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


async def test_what_was_written_survives_closing_and_opening(open_file: Callable[[], SqliteStore]) -> None:
    first = open_file()
    await first.write(ADD, note(1))
    await first.transact(add(2))
    first.stop()
    assert await open_file().read(kept) == [1, 2]


async def test_what_was_answered_is_in_the_file_before_the_store_is_closed(
    open_file: Callable[[], SqliteStore], path: Path
) -> None:
    """As after kill -9: somebody else opens the file while nothing has been closed in order."""
    store = open_file()
    await store.write(ADD, note(1))
    other = sqlite3.connect(path)
    assert other.execute("SELECT id FROM notes").fetchall() == [(1,)]
    other.close()


async def test_each_commit_is_flushed_to_the_disk(open_file: Callable[[], SqliteStore]) -> None:
    """`synchronous` FULL (2) flushes the journal at each commit; NORMAL (1) in WAL mode would survive a kill only."""
    store = open_file()

    def settings(connection: Connection) -> tuple[str, int]:
        return (
            connection.execute(text("PRAGMA journal_mode")).scalar_one(),
            connection.execute(text("PRAGMA synchronous")).scalar_one(),
        )

    assert await store.transact(settings) == ("wal", 2)
    assert await store.read(settings) == ("wal", 2)


async def test_stop_commits_what_waits(open_file: Callable[[], SqliteStore]) -> None:
    store = open_file()
    writes = [asyncio.ensure_future(store.write(ADD, note(number))) for number in range(1, 101)]
    store.stop()
    await asyncio.gather(*writes)
    assert await open_file().read(kept) == list(range(1, 101))


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
    with pytest.raises(OverflowError):
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


async def test_a_read_stays_on_its_snapshot(open_file: Callable[[], SqliteStore]) -> None:
    store = open_file()
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


async def test_readers_do_not_wait_for_each_other_nor_for_the_writer(open_file: Callable[[], SqliteStore]) -> None:
    store = open_file()
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


async def test_ids_are_never_given_again_after_opening_anew(open_file: Callable[[], SqliteStore]) -> None:
    first = open_file()
    given = {first.next_id() for _ in range(10)}
    first.stop()
    second = open_file()
    given |= {second.next_id() for _ in range(1500)}
    assert len(given) == 1510


async def test_ids_are_never_given_again_after_a_crash(open_file: Callable[[], SqliteStore]) -> None:
    """A store that was killed closes nothing; here it is simply still open."""
    stores = [open_file() for _ in range(3)]
    given = [store.next_id() for store in stores for _ in range(3)]
    assert len(set(given)) == len(given)


async def test_ids_are_given_while_a_write_is_under_way(open_file: Callable[[], SqliteStore]) -> None:
    store = open_file()
    first = store.next_id()
    writes = [asyncio.ensure_future(store.write(ADD, note(number))) for number in range(1, 501)]
    ids = [store.next_id() for _ in range(3000)]
    await asyncio.gather(*writes)
    assert ids == sorted(set(ids))
    assert ids[0] > first


# Faults


def refuse_writes(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON notes WHEN new.id > 0 BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
        )
    connection.close()


def allow_writes(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER refuse")
    connection.close()


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
    open_file: Callable[[], SqliteStore], path: Path
) -> None:
    store = open_file()
    await store.write(ADD, note(1))
    async with Plug(store) as plug:
        writes: list[Any] = [asyncio.ensure_future(store.write(ADD, note(number))) for number in (2, 3)]
        writes.append(asyncio.ensure_future(store.transact(add(4))))
        with full_disk(path):
            plug.pull()
            results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [StoreFault] * 3, results
    assert await store.read(kept) == [1]
    await store.write(ADD, note(2))
    assert await store.read(kept) == [1, 2]


async def test_a_database_that_refuses_a_row_harms_only_that_row(
    open_file: Callable[[], SqliteStore], path: Path
) -> None:
    store = open_file()
    refuse_writes(path)
    async with Plug(store) as plug:
        writes: list[Any] = [asyncio.ensure_future(store.write(ADD, note(number))) for number in (1, 0, 2)]
        plug.pull()
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [IntegrityError, type(None), IntegrityError]
    allow_writes(path)
    await store.write(ADD, note(1))
    assert await store.read(kept) == [0, 1]


async def test_a_closed_store_refuses_with_a_fault(store: Store) -> None:
    store.stop()
    with pytest.raises(StoreFault, match="closed"):
        await store.write(ADD, note(1))
    with pytest.raises(StoreFault, match="closed"):
        await store.transact(add(1))
    with pytest.raises(StoreFault, match="closed"):
        await store.read(kept)


async def test_ids_that_cannot_be_taken_are_a_fault(open_file: Callable[[], SqliteStore], path: Path) -> None:
    store = open_file()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE sequences")
    connection.close()
    with pytest.raises(StoreFault, match="sequences"):
        for _ in range(2000):
            store.next_id()


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


def test_a_database_of_a_newer_kvern_is_not_opened(open_file: Callable[[], SqliteStore], path: Path) -> None:
    open_file().stop()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9876'")
    connection.close()
    with pytest.raises(StoreFault, match="9876"):
        SqliteStore(path).start()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9876",)]
    connection.close()


def test_a_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE functions (name TEXT)")
    connection.close()
    with pytest.raises(StoreFault, match="functions"):
        SqliteStore(path).start()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("functions",)]
    connection.close()


def of_the_first_version(path: Path) -> None:
    """A database as the first schema had it, with a row of each kind that lasts."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO clients VALUES ('kvern-1', 'plant', 'mine', 'hash', '[]', 1)",
            "INSERT INTO functions (id, project, name, status, file_id, bundle, function_path, cpu, memory, runtime, "
            "revision, created_time) VALUES (7, 'plant', 'f', 'Ready', 1, 'b', 'handler.py', 1, 1.5, 'py313', 'r', 2)",
            "INSERT INTO calls (id, project, function_id, status, begun, start_time, data) "
            "VALUES (8, 'plant', 7, 'Running', 1, 3, x'7b7d')",
            "INSERT INTO schedules (id, project, function_id, name, cron_expression, session_id, created_time) "
            "VALUES (9, 'plant', 7, 's', '* * * * *', 10, 4)",
            "INSERT INTO sessions (id, project, type, status, subject, capabilities, creation_time, expiration_time) "
            "VALUES (10, 'plant', 'TOKEN_EXCHANGE', 'ACTIVE', 'kvern-1', '[]', 5, 6)",
            "INSERT INTO files (id, project, name, details, created_time, last_updated_time) "
            "VALUES (11, 'plant', 'a.zip', '{}', 7, 7)",
            "UPDATE sequences SET next = 2000",
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()


async def test_a_database_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it(path: Path) -> None:
    of_the_first_version(path)
    store = SqliteStore(path)
    store.start()
    try:
        assert [record.client_id for record in await store.read(clients.everything)] == ["kvern-1"]
        assert [record.id for record in await store.read(functions.everything)] == [7]
        assert [left.record.id for left in await store.read(calls.unfinished)] == [8]
        assert [record.id for record in await store.read(schedules.everything)] == [9]
        assert [record.id for record in await store.read(sessions.alive)] == [10]
        assert (await store.read(lambda connection: files.get(connection, "plant", 11))) is not None
        assert store.next_id() >= 2000
    finally:
        store.stop()


async def test_the_migrations_make_what_the_tables_say(store: Store) -> None:
    """Columns, types, keys, indexes and constraints are the same whichever way a database came to be."""

    def differences(connection: Connection) -> list[Any]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        NOTES.drop(connection)
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert await store.transact(differences) == []


def test_opening_an_old_database_again_changes_nothing(open_file: Callable[[], SqliteStore], path: Path) -> None:
    def schema() -> list[Any]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return rows

    open_file().stop()
    before = schema()
    open_file().stop()
    assert schema() == before
