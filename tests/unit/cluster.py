"""Several services in memory on one database, as several `kvern serve` on one PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text, update
from sqlalchemy.sql.expression import UpdateBase

from kvern.service.clock import FakeClock
from kvern.service.identity import Principal
from kvern.service.keys import shared_keys
from kvern.service.service import Service
from kvern.settings import Settings
from kvern.store import Row, Store, StoreFault, T
from kvern.store.blobs import LocalBlobs
from kvern.store.tables import servers
from tests.unit.fakes import PROJECT, FakeBuilder, FakeEngine, Plant, memory_store

HEARTBEAT = 0.02
"""Seconds, so that tests need not wait long for one. Leases end when a test says so."""

MASTER_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Door:
    """One service's way to a database that it shares with others; closed, it is as if the network were gone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._check: Callable[[Connection], None] | None = None
        self._heard: list[Callable[[], None]] = []
        self.closed = False

    shared = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _guarded(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        self._pass()

        def with_check(connection: Connection) -> T:
            if self._check is not None:
                self._check(connection)
            return work(connection)

        return with_check

    def _pass(self) -> None:
        if self.closed:
            raise StoreFault("the database cannot be reached")

    async def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> None:
        kept = dict(row)
        await self._store.transact(self._guarded(lambda connection: _ignore(connection.execute(statement, [kept]))))

    async def write_rows(self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None) -> None:
        kept = [(statement, dict(row)) for statement, row in rows]

        def work(connection: Connection) -> None:
            if check is not None:
                check(connection)
            for statement, row in kept:
                connection.execute(statement, [row])

        await self._store.transact(self._guarded(work))

    async def transact(self, work: Callable[[Connection], T]) -> T:
        return await self._store.transact(self._guarded(work))

    async def apart(self, work: Callable[[Connection], T]) -> T:
        self._pass()
        return await self._store.transact(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        self._pass()
        return await self._store.read(work)

    async def look_up(self, work: Callable[[Connection], T]) -> T:
        self._pass()
        return await self._store.look_up(work)

    def fence(self, check: Callable[[Connection], None] | None) -> None:
        self._check = check

    def listen(self, heard: Callable[[], None]) -> None:
        self._heard.append(heard)


def _ignore(_: object) -> None:
    return


_KEYS = {"clients": "client_id"}

_EVENTS = {
    "clients": ("INSERT", "UPDATE", "DELETE"),
    "groups": ("INSERT", "UPDATE", "DELETE"),
    "functions": ("INSERT", "UPDATE", "DELETE"),
    "schedules": ("INSERT", "UPDATE", "DELETE"),
    "sessions": ("UPDATE",),
    "calls": ("UPDATE OF cancel_time",),
}


def install_feed(connection: Connection) -> None:
    """The triggers that the migrations make on PostgreSQL, for SQLite; who changed something is not told here."""
    for table, events in _EVENTS.items():
        for number, event in enumerate(events):
            row = f"{'OLD' if event == 'DELETE' else 'NEW'}.{_KEYS.get(table, 'id')}"
            connection.execute(
                text(
                    f"CREATE TRIGGER feed_{table}_{number} AFTER {event} ON {table} BEGIN "
                    "INSERT INTO changes (noun, key, server, time) VALUES "
                    f"('{table}', CAST({row} AS TEXT), '', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)); END"
                )
            )


class Cluster:
    """Services `a`, `b`, … on one database, one folder of blobs and one clock; each with its own engine and builder."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self.store = store
        self._clock = FakeClock()
        self.plants: list[Plant] = []

    async def server(self, **settings: Any) -> Plant:
        """One more server, that runs."""
        folder = self._folder / f"server-{len(self.plants)}"
        folder.mkdir(exist_ok=True)
        its = Settings(
            data_dir=folder,
            project=PROJECT,
            **{"heartbeat_seconds": HEARTBEAT, "lease_seconds": 3600, "call_grace_ms": 0, **settings},
        )
        door: Any = Door(self.store)
        engine, builder = FakeEngine(), FakeBuilder()
        blobs = LocalBlobs(self._folder / "blobs")
        keys = await shared_keys(door, folder / "keys", MASTER_KEY)
        duck: Any = builder
        service = Service(its, store=door, blobs=blobs, clock=self._clock, builder=duck, engine=engine, keys=keys)
        await service.start()
        await service.begin(f"http://server-{len(self.plants)}.test")
        nobody = Principal("", PROJECT, "[]", 0)
        made = Plant(its, door, blobs, self._clock, builder, engine, service, nobody, "")
        made.who, made.token = await made.login()
        self.plants.append(made)
        return made

    async def let_die(self, plant: Plant) -> str:
        """Let the lease of a server run out, as its others see it; its id."""
        gone = plant.service.servers.id
        assert gone is not None
        await self.store.transact(
            lambda connection: _ignore(
                connection.execute(update(servers).where(servers.c.id == gone).values(lease_until=0))
            )
        )
        return gone

    async def execute(self, statement: str) -> None:
        await self.store.transact(lambda connection: _ignore(connection.execute(text(statement))))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda connection: [tuple(row) for row in connection.execute(text(statement))])


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A database for services to share; they are stopped at the end."""
    store = memory_store()
    store.start()
    await store.transact(install_feed)
    made = Cluster(folder, store)
    try:
        yield made
    finally:
        for plant in made.plants:
            door: Any = plant.store
            door.closed = False
            plant.engine.end_all()
            await plant.service.stop(drain=0)
        store.stop()
