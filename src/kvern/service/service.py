"""The service put together: every part made once, started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import get_args

import msgspec

from kvern.build.builder import Builder
from kvern.engine import Engine
from kvern.service.authority import Authorities
from kvern.service.build_logs import BuildLogs
from kvern.service.calls import Calls
from kvern.service.changes import Changes
from kvern.service.clients import Clients, Credentials
from kvern.service.clock import Clock
from kvern.service.datasets import DataSets
from kvern.service.deployments import Deployments
from kvern.service.files import Files
from kvern.service.functions import Functions
from kvern.service.groups import Groups
from kvern.service.history import History
from kvern.service.issuer import BuiltinIssuer
from kvern.service.keys import Keys, local_keys
from kvern.service.links import UPLOAD_MS, Links
from kvern.service.master_key import MasterKey
from kvern.service.metrics import Metrics
from kvern.service.nonces import Nonces
from kvern.service.observer import Observer
from kvern.service.oidc import foreign_issuers
from kvern.service.oidc_http import Http, RealHttp
from kvern.service.oidc_sessions import OidcSessions
from kvern.service.oidc_tokens import TokenEndpoint
from kvern.service.projects import Projects
from kvern.service.readiness import Readiness
from kvern.service.retention import Retention
from kvern.service.schedules import Schedules
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.service.shared import Shared
from kvern.service.ticks import Ledger
from kvern.service.uploads import Uploads
from kvern.settings import Settings
from kvern.store import Store, StoreFault, files, functions, sessions, uploads
from kvern.store.blobs import Blobs
from kvern.store.vault import write_private
from kvern.wire.errors import UnauthenticatedError
from kvern.wire.functions import Status

CLIENT_FILE = "client.json"
"""In the data folder, mode 0600: how clients of the same user reach the service."""

_DAY_MS = 24 * 3_600_000
_TIDY_EVERY = 60.0
_TIDY_MOST = 500

_YOUNG = 86_400.0
"""Seconds: no request writes a blob and names it so much later."""

_log = logging.getLogger(__name__)


class ClientFile(msgspec.Struct, rename="camel"):
    """What `kvern env` prints, and what the command line uses when nothing else is set."""

    base_url: str
    project: str
    token_url: str
    client_id: str
    client_secret: str
    scopes: str


class DataDirBusyError(Exception):
    """Another service uses the data folder."""


class Service:
    """One service on one data folder.

    Args:
        keys: what is sealed and signed with; None takes those of the data folder.
        projects: what it serves; None serves the project of the setting of that name alone.
        http: how foreign issuers are asked; None asks them over the network.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        builder: Builder,
        engine: Engine,
        keys: Keys | None = None,
        projects: Projects | None = None,
        http: Http | None = None,
    ) -> None:
        self.settings = settings
        self.blobs = blobs
        self._store = store
        self._clock = clock
        self._builder = builder
        self._engine = engine
        self.metrics = Metrics()
        self.observer = observer = Observer(self.metrics)
        self.readiness = Readiness(store, settings.data_dir, settings.megabytes(settings.disk_free_mb))
        keys = keys or local_keys(settings.data_dir / "keys", None)
        vault = keys.vault
        self.servers = Servers(store, settings, settings.data_dir)
        self.changes = Changes(store, self.servers)
        self.projects = projects if projects is not None else Projects(settings.project)
        self.clients = Clients(store, clock, self.projects, self._access_changed)
        self.groups = Groups(store, clock, self.projects, self.clients, self._access_changed)
        self._http = http = http if http is not None else RealHttp()
        foreign = foreign_issuers(self.projects, self.groups, clock, http)
        endpoints = {key: TokenEndpoint(issuer, clock, http) for key, issuer in foreign.items()}
        self.sessions = Sessions(
            store,
            clock,
            self.clients,
            self.groups,
            vault,
            OidcSessions(clock, endpoints),
            Nonces(keys.links),
            self._access_changed,
        )
        self.issuer = BuiltinIssuer(self.clients, self.groups, clock, keys.issuer, self.sessions)
        links = Links(keys.links, clock)
        self.data_sets = DataSets(store, clock)
        self.files = Files(store, blobs, clock, links)
        self.uploads = Uploads(
            store,
            blobs,
            clock,
            links,
            self.files,
            settings.megabytes(settings.file_limit_mb),
            self.clients,
            min(int(settings.upload_link_hours * 3_600_000), UPLOAD_MS),
        )
        self.functions = Functions(store, blobs, vault, clock, self.files, settings, self.servers)
        self.calls = Calls(
            store, clock, engine, self.functions, self.sessions, self.issuer, settings, observer, self.servers
        )
        self.authorities = Authorities(clock, self.sessions.is_alive, self.calls)
        for authority in (self.issuer, *dict.fromkeys(foreign.values())):
            self.authorities.add(authority)
        self.history = History(store, self.functions, self.calls)
        self.schedules = Schedules(store, clock, self.functions, self.calls, self.sessions, settings)
        self.ledger = Ledger(store, self.schedules)
        self.master_key = MasterKey(store, vault, self.functions, self.sessions, self.servers)
        logs = BuildLogs(settings.data_dir / "build-logs", clock.now)
        grace = settings.unused_build_hours * 3600
        self.deployments = Deployments(self.functions, blobs, builder, engine, logs, grace, observer)
        self.metrics.reading(self._read_figures)
        self.retention = Retention(store, clock, settings, self.metrics)
        self._shared = Shared(
            self.servers,
            self.changes,
            self.clients,
            self.groups,
            self.sessions,
            self.functions,
            self.schedules,
            self.calls,
            self.deployments,
            engine,
        )
        self._tidier: asyncio.Task[None] | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    @property
    def database(self) -> str:
        """Which database this is and its version."""
        return self._store.name

    def on_stop(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have `close` awaited when the service has stopped."""
        self._closers.append(close)

    def _access_changed(self) -> None:
        self.authorities.changed()
        self.sessions.review()

    async def start(self) -> None:
        """Take up where the last run left off. The store is open already.

        Raises:
            ValueError: the master key is not the one that the secrets were kept with.
        """
        if not self.settings.without_lost_secrets:
            await self.master_key.check()
        await self._engine.start()
        await self._builder.clear_leftovers()
        await self.servers.join(self._shared)
        await self.changes.start()
        await self.clients.start()
        await self.groups.start()
        await self.sessions.start()
        await self.functions.start(self.deployments, list(await self._builder.runtimes()))
        if not self.servers.shared:
            await self._clear_leftovers()
            await self.calls.load()
        await self.schedules.load()  # they can be asked for as soon as the service listens
        await self.master_key.start()
        self.deployments.start(shared=self.servers.shared)

    async def begin(self, base_url: str) -> None:
        """Run calls and schedules: from now on functions reach the service under `base_url`."""
        self.calls.reached_under(base_url)
        await self._write_client_file(base_url)
        await self.calls.start()
        if self.servers.shared:
            await self.servers.begin(base_url)
            self.changes.follow()
        else:
            await self.schedules.start()
        self._tidier = asyncio.create_task(self._tidy(), name="tidy")
        self.readiness.state = "running"

    async def stop(self, drain: float) -> None:
        """Refuse new calls, wait up to `drain` seconds for those that run, end the rest, close everything."""
        self.readiness.state = "draining"
        await self.schedules.stop()
        await self.servers.step_down()
        await self.calls.drain(drain)
        await self.deployments.stop()
        await self._engine.stop()
        await self.calls.stop()
        await self.sessions.stop()
        await self.history.stop()
        await self.changes.stop()
        if self._tidier is not None:
            self._tidier.cancel()
            await asyncio.gather(self._tidier, return_exceptions=True)
        await self.servers.leave()
        await self._http.close()
        for close in self._closers:
            await close()

    def _read_figures(self) -> None:
        """Set the gauges that are looked up when somebody asks."""
        its = self.metrics
        its.builds.set(self.deployments.running())
        its.disk_free.set(self.readiness.free())
        for gauge, count in ((its.schedules, self.schedules.count()), (its.sessions, self.sessions.count())):
            for project in self.projects:
                gauge.labels(project).set(count.get(project, 0))
        running = self.calls.running()
        functions = Counter((each.record.project, each.record.status) for each in self.functions.everything())
        for project in self.projects:
            its.calls.labels(project).set(running.get(project, 0))
            for status in get_args(Status):
                its.functions.labels(project, status).set(functions[project, status])

    async def _write_client_file(self, base_url: str) -> None:
        """Keep the first client's secret where only its owner reads it; make a client when there is none to use."""
        path = self.settings.data_dir / CLIENT_FILE
        given = self._known_client(path)
        if given is None:
            given = await self.clients.add(self.settings.project, "first client")
        content = ClientFile(
            base_url=base_url,
            project=self.settings.project,
            token_url=f"{base_url}/oauth2/token",
            client_id=given.client_id,
            client_secret=given.client_secret,
            scopes="kvern",
        )
        await asyncio.to_thread(write_private, path, msgspec.json.format(msgspec.json.encode(content)))

    def _known_client(self, path: Path) -> Credentials | None:
        try:
            old = msgspec.json.decode(path.read_bytes(), type=ClientFile)
            given = Credentials(old.client_id, old.client_secret)
            return given if self.clients.authenticate(given).project == self.settings.project else None
        except (OSError, msgspec.DecodeError, UnauthenticatedError):
            return None

    async def _clear_leftovers(self, young: float = 0.0) -> None:
        """Blobs that no row names: of an upload or a deletion that was cut short."""
        kept = await self._store.read(lambda c: files.blobs(c) | uploads.blobs(c) | functions.bundles(c))
        await self.blobs.clear_leftovers(kept, young)

    async def _tidy(self) -> None:
        """Forget, in small steps, what is older than it has to be kept."""
        cleared = 0
        while True:
            await asyncio.sleep(_TIDY_EVERY)
            self.sessions.forget_stale()
            if not self.servers.leads:
                continue
            now = self._clock.now()
            try:
                await self._forget(now)
                if self.servers.shared and now - cleared >= _DAY_MS:
                    # At its start, a server among several cannot: others write meanwhile.
                    await self._clear_leftovers(_YOUNG)
                    cleared = now
            except StoreFault as error:
                _log.error("tidying up did not work, trying again later: %s", error)

    async def _forget(self, now: int) -> None:
        await self.retention.sweep(now)
        await self._store.transact(lambda c: sessions.forget_before(c, now - _DAY_MS, _TIDY_MOST))
        await self.uploads.forget_before(now - UPLOAD_MS)
        await self._store.transact(lambda c: files.forget_empty_before(c, now - UPLOAD_MS))


@contextlib.contextmanager
def data_dir_lock(folder: Path) -> Generator[None]:
    """Make the data folder and hold it. Raises `DataDirBusyError` when another service does."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirBusyError(
                f"the data folder {folder} is in use by another kvern service; "
                "stop that one, or take another --data-dir"
            ) from error
        yield
    finally:
        os.close(descriptor)
