"""Twins in memory of what stands around the service, and a service put together from them.

Nothing here starts a process, opens a socket or waits for real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.sql.expression import UpdateBase

from kvern.build.builder import BuildRequest
from kvern.build.errors import BuildError
from kvern.build.revision import Environment, Interpreter, Revision
from kvern.engine import Access, Engine, HandlerError, LogLine, Order, Outcome, Verdict
from kvern.service.clock import FakeClock
from kvern.service.functions import LiveFunction
from kvern.service.identity import Principal, every_capability
from kvern.service.live_calls import LiveCall
from kvern.service.oidc_http import Http
from kvern.service.projects import Projects
from kvern.service.service import Service
from kvern.settings import Settings
from kvern.store import Row, Store, StoreFault, T
from kvern.store.blobs import Blobs, LocalBlobs
from kvern.store.calls import CallRecord
from kvern.store.sqlite import SqliteStore
from kvern.wire import files as wire_files
from kvern.wire import functions as wire_functions
from kvern.wire import schedules as wire_schedules
from kvern.wire import sessions as wire_sessions
from kvern.wire.base import encode

PROJECT = "plant"
BASE_URL = "http://kvern.test"
RUNTIMES = ("py310", "py311", "py312", "py313", "py314")

Ending: TypeAlias = Outcome | BaseException | Callable[[Order], Outcome]


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Return as soon as `holds()` is true; what is waited for must need no real time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        assert loop.time() < deadline, "what was waited for did not come"
        await asyncio.sleep(0.001)


def returned(response: bytes = b"null") -> Outcome:
    return Outcome(Verdict.RETURNED, response)


def raised(message: str = "ValueError: no", trace: str = "Traceback …\nValueError: no") -> Outcome:
    return Outcome(Verdict.RAISED, message=message, trace=trace)


@dataclass(eq=False)
class _Running:
    revision: Revision
    order: Order
    ending: asyncio.Future[Outcome]


class FakeEngine:
    """An `Engine` whose calls end as a test says.

    A call ends at once with the next of `endings`, or by returning null when there is none. While `holding`, calls
    that began run until `end` is told their outcome; while there is no `room`, they wait and have not begun.
    """

    def __init__(self) -> None:
        self.endings: deque[Ending] = deque()
        self.holding = False
        self.orders: list[Order] = []
        """Orders of calls that began, in order."""
        self.prepared: list[Revision] = []
        self.retired: list[int] = []
        self.cancelled: list[int] = []
        self.refuses_to_prepare: HandlerError | None = None
        self.stopped = False
        self.workers = 100
        self._room = asyncio.Event()
        self._room.set()
        self._calls: dict[int, _Running] = {}

    @property
    def room(self) -> bool:
        return self._room.is_set()

    @room.setter
    def room(self, there_is: bool) -> None:
        self._room.set() if there_is else self._room.clear()

    @property
    def running(self) -> list[int]:
        """Calls that are here and have not ended, those that wait for room among them."""
        return list(self._calls)

    def began(self, call_id: int) -> bool:
        return any(order.call_id == call_id for order in self.orders)

    def order(self, call_id: int) -> Order:
        return next(order for order in self.orders if order.call_id == call_id)

    def end(self, call_id: int, outcome: Outcome | None = None) -> None:
        """End a call that is held."""
        self._calls[call_id].ending.set_result(outcome or returned())

    def end_all(self) -> None:
        self.holding = False
        for call in self._calls.values():
            if not call.ending.done():
                call.ending.set_result(returned())

    async def start(self) -> None:
        self.stopped = False

    async def stop(self) -> None:
        self.stopped = True
        self._stop(list(self._calls.values()), Outcome(Verdict.INTERRUPTED, message="the service was stopped"))

    async def prepare(self, revision: Revision) -> None:
        if self.refuses_to_prepare is not None:
            raise self.refuses_to_prepare
        self.prepared.append(revision)

    def has_room(self, revision: Revision, besides: int = 0) -> bool:
        return self.room and besides < self.workers

    async def run(self, revision: Revision, order: Order) -> Outcome:
        if self.stopped:
            return Outcome(Verdict.INTERRUPTED, message="the service was stopped")
        call = _Running(revision, order, asyncio.get_running_loop().create_future())
        self._calls[order.call_id] = call
        try:
            return await self._run(call)
        finally:
            del self._calls[order.call_id]

    async def _run(self, call: _Running) -> Outcome:
        room = asyncio.ensure_future(self._room.wait())
        await asyncio.wait((room, call.ending), return_when=asyncio.FIRST_COMPLETED)
        room.cancel()
        if call.ending.done():
            return call.ending.result()
        if call.order.on_begin is not None:
            await call.order.on_begin()
        self.orders.append(call.order)
        if not self.holding and not call.ending.done():
            ending = self.endings.popleft() if self.endings else returned()
            if isinstance(ending, BaseException):
                raise ending
            return ending if isinstance(ending, Outcome) else ending(call.order)
        return await call.ending

    async def cancel(self, call_id: int) -> bool:
        call = self._calls.get(call_id)
        if call is None:
            return False
        self.cancelled.append(call_id)
        self._stop([call], Outcome(Verdict.CANCELLED, message="the call was cancelled"))
        return True

    async def retire(self, function_id: int) -> None:
        self.retired.append(function_id)
        theirs = [call for call in self._calls.values() if call.revision.function_id == function_id]
        self._stop(theirs, Outcome(Verdict.CANCELLED, message="the function was deleted"))

    def _stop(self, calls: Iterable[_Running], outcome: Outcome) -> None:
        for call in calls:
            if not call.ending.done():
                call.ending.set_result(outcome)


class FakeBuilder:
    """A builder whose builds succeed at once, unless `fails` says how they fail or `holding` keeps them waiting."""

    def __init__(self, runtimes: Sequence[str] = RUNTIMES) -> None:
        self.fails: Exception | None = None
        self.requests: list[BuildRequest] = []
        """Builds that began, in order."""
        self.bundles: list[bytes] = []
        self.cancelled: list[int] = []
        self.discarded: list[str] = []
        self.collected: list[tuple[set[str], float]] = []
        """What was to be kept, and for how many seconds what nobody uses, each time that was cleared away."""
        self.made: set[str] = set()
        """The revisions that are on the disk, so to speak."""
        self._runtimes = runtimes
        self._go = asyncio.Event()
        self._go.set()

    @property
    def holding(self) -> bool:
        return not self._go.is_set()

    @holding.setter
    def holding(self, holds: bool) -> None:
        self._go.clear() if holds else self._go.set()

    async def build(self, request: BuildRequest, on_output: Callable[[str], None] | None = None) -> Revision:
        self.requests.append(request)
        self.bundles.append(request.bundle.read_bytes())
        if on_output is not None:
            on_output("Resolved 1 package")
        try:
            await self._go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.function_id)
            raise
        if self.fails is not None:
            raise self.fails
        self.made.add(request.revision_id)
        return _revision(request)

    def restore(self, request: BuildRequest) -> Revision | None:
        return _revision(request) if request.revision_id in self.made else None

    async def discard(self, revision_id: str) -> None:
        self.discarded.append(revision_id)
        self.made.discard(revision_id)

    async def runtimes(self) -> Mapping[str, Interpreter]:
        return {name: _interpreter(name) for name in self._runtimes}

    async def clear_leftovers(self) -> None:
        return

    async def collect(self, revisions: set[str], grace: float) -> int:
        self.collected.append((revisions, grace))
        return 0


def _interpreter(runtime: str) -> Interpreter:
    return Interpreter(runtime, f"3.{runtime[3:]}.5", Path("/python/bin/python3"), Path("/python"))


def _revision(request: BuildRequest) -> Revision:
    return Revision(
        id=request.revision_id,
        function_id=request.function_id,
        code=Path("/code"),
        handler=request.function_path,
        environment=Environment("environment-key", Path("/environment"), _interpreter(request.runtime), ""),
        env_vars=request.env_vars,
        secrets=request.secrets,
        cpu=request.cpu,
        memory=request.memory,
    )


class GatedStore:
    """A store with a gate before its writer: closed, writes wait; `refusing`, they are refused, as by a full disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._rows_pass = False
        self.refusing = False
        self.refuses: UpdateBase | None = None
        """The one statement whose rows are refused."""
        self.refused = 0
        self.waiting = 0

    @contextlib.contextmanager
    def closed(self, *, rows_pass: bool = False) -> Iterator[None]:
        """Hold all writes back while the context lasts, or transactions only."""
        self._open.clear()
        self._rows_pass = rows_pass
        try:
            yield
        finally:
            self._rows_pass = False
            self._open.set()

    async def _through(self, write: Callable[[], Awaitable[T]]) -> T:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        if self.refusing:
            return await self._refuse()
        return await write()

    async def _refuse(self) -> Any:
        self.refused += 1
        raise StoreFault("the database refused a write: database or disk is full")

    def _enter(self, write: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        if self._open.is_set() and not self.refusing:
            return write()
        return asyncio.shield(asyncio.ensure_future(self._through(write)))

    def start(self) -> None:
        self._store.start()

    def stop(self) -> None:
        self._store.stop()

    def write(self, statement: UpdateBase, row: Mapping[str, Any]) -> Awaitable[None]:
        if statement is self.refuses:
            return asyncio.ensure_future(self._refuse())
        if self._rows_pass:
            return self._store.write(statement, row)
        return self._enter(lambda: self._store.write(statement, dict(row)))

    def write_rows(self, rows: Sequence[Row], check: Callable[[Connection], None] | None = None) -> Awaitable[None]:
        if any(statement is self.refuses for statement, _ in rows):
            return asyncio.ensure_future(self._refuse())
        if self._rows_pass and check is None:
            return self._store.write_rows(rows)
        return self._enter(lambda: self._store.write_rows([(statement, dict(row)) for statement, row in rows], check))

    def transact(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self._enter(lambda: self._store.transact(work))

    def read(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self._store.read(work)

    def look_up(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self._store.look_up(work)

    def next_id(self) -> int:
        return self._store.next_id()

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def shared(self) -> bool:
        return self._store.shared

    def fence(self, check: Callable[[Connection], None] | None) -> None:
        self._store.fence(check)

    def apart(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        return self._store.apart(work)

    def listen(self, heard: Callable[[], None]) -> None:
        self._store.listen(heard)


@dataclass(eq=False)
class Plant:
    """A service in memory with all that a test may want to turn.

    `service` changes with `restart` and `crash`; the others stay.
    """

    settings: Settings
    store: GatedStore
    blobs: Blobs
    clock: FakeClock
    builder: FakeBuilder
    engine: FakeEngine
    service: Service
    who: Principal
    token: str
    projects: Projects | None = None
    http: Http | None = None
    _before: set[asyncio.Task[Any]] = field(default_factory=set["asyncio.Task[Any]"])

    async def upload(self, content: bytes = b"a zip", **fields: Any) -> int:
        """A file with content; its id."""
        who = fields.pop("who", self.who)
        wanted = wire_files.FileWrite(name=fields.pop("name", "code.zip"), **fields)
        made = await self.service.files.create(who, wanted, overwrite=True)
        await self.service.uploads.take(self.service.uploads.link(who.project, made.id), once(content))
        return made.id

    async def create(self, **fields: Any) -> wire_functions.Function:
        """A function from a file of its own, as `POST /functions` makes it."""
        who = fields.pop("who", self.who)
        if "file_id" not in fields:
            fields["file_id"] = await self.upload()
        wanted = wire_functions.FunctionWrite(name=fields.pop("name", "a function"), **fields)
        return await self.service.functions.create(who, wanted)

    async def function(self, **fields: Any) -> LiveFunction:
        """A function that is Ready."""
        made = await self.create(**fields)
        function = self.service.functions.get(PROJECT, made.id)
        await until(lambda: function.record.status == "Ready")
        return function

    async def call(self, function: LiveFunction, data: bytes = b"{}", nonce: str | None = None) -> LiveCall:
        return await self.service.calls.call(self.who, function.record.id, data, nonce)

    async def began(self, live: LiveCall) -> Order:
        """The order of a call, once it has begun."""
        await until(lambda: self.engine.began(live.record.id))
        return self.engine.order(live.record.id)

    async def ended(self, function: LiveFunction, data: bytes = b"{}", nonce: str | None = None) -> CallRecord:
        """Call and wait for the end."""
        live = await self.call(function, data, nonce)
        await asyncio.wait_for(live.ended, 5)
        return await self.service.history.get(PROJECT, function.record.id, live.record.id)

    async def schedule(self, function: LiveFunction, cron: str = "* * * * *", **fields: Any) -> wire_schedules.Schedule:
        """A schedule; with a session of its own, as clients make one, unless `nonce` says otherwise."""
        who = fields.pop("who", self.who)
        if "nonce" not in fields:
            wanted = wire_sessions.SessionWrite(token_exchange=True)
            fields["nonce"] = (await self.service.sessions.create(who, wanted)).nonce
        named = {"function_id": function.record.id, "cron_expression": cron, "name": "a schedule", **fields}
        return await self.service.schedules.create(who, wire_schedules.ScheduleWrite(**named))

    async def calls_of(self, function: LiveFunction) -> list[CallRecord]:
        """All calls, oldest first."""
        from kvern.wire.calls import CallQuery

        records, _ = await self.service.history.page(PROJECT, function.record.id, CallQuery(limit=1000))
        return records[::-1]

    async def restart(self, **settings: Any) -> None:
        """Stop in order, and start anew on the same data."""
        await self.service.stop(drain=0)
        await self._anew(**settings)

    async def crash(self, *, down: int = 0) -> None:
        """Go down without a word, as by kill -9, and start anew on the same data `down` ms later."""
        await self._die()
        await self.clock.advance(down)
        await self._anew()

    async def _die(self) -> None:
        tasks = asyncio.all_tasks() - self._before - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _anew(self, **settings: Any) -> None:
        self.settings = Settings(**{**_fields(self.settings), **settings})
        self.service = _assemble(
            self.settings, self.store, self.blobs, self.clock, self.builder, self.engine, self.projects, self.http
        )
        await self.service.start()
        await self.service.begin(BASE_URL)

    async def login(self) -> tuple[Principal, str]:
        """A client that may do everything in the project: who it is, and its token."""
        made = await self.service.clients.add(PROJECT, "a client")
        token = self.service.issuer.client_token(self.service.clients.authenticate(made))
        return await self.known(token), token

    async def client(self, *capabilities: str) -> Principal:
        """A client that may do only this."""
        made = await self.service.clients.add(PROJECT, "a client", acls(capabilities))
        return await self.known(self.service.issuer.client_token(self.service.clients.authenticate(made)))

    async def known(self, token: str) -> Principal:
        """Who a token is in the project."""
        known = self.service.authorities.known(token)
        identity = known or await self.service.authorities.verify(token)
        return identity.principals[PROJECT]

    def principal(self, *capabilities: str, project: str = PROJECT, subject: str = "somebody") -> Principal:
        """Somebody with these capabilities, such as `functionsAcl:READ`, only."""
        return Principal(subject, project, encode(acls(capabilities)).decode(), expires=2**52)


def acls(capabilities: Iterable[str]) -> list[dict[str, Any]]:
    parted = (capability.partition(":") for capability in capabilities)
    return [{name: {"actions": [action], "scope": {"all": {}}}} for name, _, action in parted]


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Bytes as they come from a request."""
    yield content


def _assemble(
    settings: Settings,
    store: Store,
    blobs: Blobs,
    clock: FakeClock,
    builder: FakeBuilder,
    engine: Engine,
    projects: Projects | None = None,
    http: Http | None = None,
) -> Service:
    duck: Any = builder
    return Service(
        settings, store=store, blobs=blobs, clock=clock, builder=duck, engine=engine, projects=projects, http=http
    )


def memory_store() -> SqliteStore:
    """A store in memory on which the migrations ran already: they would take most of a test's time."""
    store = SqliteStore(None)
    _migrated().backup(_connection(store))
    return store


@cache
def _migrated() -> sqlite3.Connection:
    store = SqliteStore(None)
    store.start()
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    _connection(store).backup(copy)
    store.stop()
    return copy


def _connection(store: SqliteStore) -> sqlite3.Connection:
    found: Any = store._engine.raw_connection().driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


@contextlib.asynccontextmanager
async def plant(
    folder: Path,
    *,
    begin: bool = True,
    projects: Projects | None = None,
    http: Http | None = None,
    state: Store | None = None,
    **settings: Any,
) -> AsyncIterator[Plant]:
    """A service that runs, in a folder of its own.

    Args:
        state: where it keeps its state, not started; None for a store in memory.
        begin: whether it runs calls and schedules already.
        projects: what it serves beside its own project, and whom each trusts.
        http: how foreign issuers are asked.
        settings: those that differ from the defaults.
    """
    its = Settings(data_dir=folder, project=PROJECT, **settings)
    folder.mkdir(exist_ok=True)
    store = GatedStore(state if state is not None else memory_store())
    store.start()
    clock, builder, engine = FakeClock(), FakeBuilder(), FakeEngine()
    blobs = LocalBlobs(folder / "blobs")
    before = set(asyncio.all_tasks())
    service = _assemble(its, store, blobs, clock, builder, engine, projects, http)
    await service.start()
    if begin:
        await service.begin(BASE_URL)
    nobody = Principal("", PROJECT, "[]", 0)
    made = Plant(its, store, blobs, clock, builder, engine, service, nobody, "", projects, http, before)
    made.who, made.token = await made.login()
    try:
        yield made
    finally:
        store.refusing = False
        engine.end_all()
        await made.service.stop(drain=0)
        store.stop()


__all__ = [
    "BASE_URL",
    "PROJECT",
    "Access",
    "BuildError",
    "FakeBuilder",
    "FakeEngine",
    "GatedStore",
    "HandlerError",
    "LogLine",
    "Outcome",
    "Plant",
    "Verdict",
    "acls",
    "every_capability",
    "once",
    "plant",
    "raised",
    "returned",
    "until",
]
