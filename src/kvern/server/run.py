"""Running a service: from settings to a process that listens, and back to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from starlette.routing import Route, Router

import kvern
from kvern.build.builder import Builder
from kvern.engine.local import LocalEngine
from kvern.host import cgroups
from kvern.host.limits import Allowance, Limits
from kvern.host.terms import Terms
from kvern.sandbox import Sandbox
from kvern.sandbox.detect import SandboxUnavailableError
from kvern.server.app import build_app
from kvern.server.connections import Patience
from kvern.server.listener import http_server, listen, patience_of, raise_descriptors
from kvern.server.log import configure
from kvern.server.metrics import everything
from kvern.service.clock import RealClock
from kvern.service.keys import Keys, load_keys
from kvern.service.metrics import Metrics
from kvern.service.place import check_place
from kvern.service.projects import Projects, read_projects
from kvern.service.service import DataDirBusyError, Service, data_dir_lock
from kvern.service.tracing import Tracer
from kvern.settings import Settings
from kvern.store import Store, StoreFault
from kvern.store.blobs import Blobs, LocalBlobs
from kvern.store.sqlite import SqliteStore

_SPARE_PARSER = 600.0
"""Seconds for which a started parser, and a started box, wait for the next deploy; each takes some 10 MB."""

_COLLECT_AFTER = 10_000
"""New objects after which cycles are looked for among them."""

_SETTLED = 1.0
"""Seconds from the start until all objects are walked through, for which requests wait some 30 ms."""

_BUILD_PIDS = 1024
"""Processes and threads of one build from source."""

_SCRAPERS = 64
"""Connections that there may be to the address that is for metrics alone."""

_log = logging.getLogger("kvern")


def run(settings: Settings, projects_file: Path, chosen: Callable[[], tuple[Sandbox, str]]) -> int:
    """Serve until SIGINT or SIGTERM; the exit code. What hinders the start is told in one line on stderr.

    Args:
        projects_file: names the projects beside the one of the settings, when it is there.
        chosen: gives the sandbox and the reason for it, see `kvern.sandbox.detect.choose`.
    """
    configure(settings.log_level, settings.log_format)
    os.umask(0o077)
    patience = patience_of(settings, raise_descriptors())
    try:
        with contextlib.ExitStack() as held:
            held.enter_context(data_dir_lock(settings.data_dir))
            listener = held.enter_context(contextlib.closing(listen(settings.host, settings.port)))
            aside = None
            if settings.metrics_port is not None:
                aside = listen(settings.metrics_host, settings.metrics_port)
                held.enter_context(contextlib.closing(aside))
            projects = read_projects(projects_file, settings.project)
            sandbox, reason = chosen()
            uvloop.run(_serve(settings, projects, listener, aside, sandbox, reason, patience))
    except (DataDirBusyError, StoreFault, SandboxUnavailableError, OSError, ValueError) as error:
        print(f"kvern: the service cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def local_url(host: str, port: int) -> str:
    """The URL under which this machine reaches what listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (read, not bound)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _place(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    return (parts.hostname, parts.port) if parts.hostname and parts.port else None


async def _serve(
    settings: Settings,
    projects: Projects,
    listener: socket.socket,
    aside: socket.socket | None,
    sandbox: Sandbox,
    reason: str,
    patience: Patience,
) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop, in_a_hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (in_a_hurry if told_to_stop.is_set() else told_to_stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)

    url = local_url(settings.host, listener.getsockname()[1])
    store = open_store(settings)
    store.start()
    try:
        keys = await load_keys(store, settings.data_dir / "keys", os.environ.get("KVERN_MASTER_KEY"))
        blobs = _open_blobs(settings)
        await check_place(store, blobs, settings.blobs or str(settings.data_dir.resolve() / "blobs"))
        service = _assemble(settings, projects, store, blobs, sandbox, url, keys)
        await service.start()
        server = http_server(build_app(service), patience)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        scraped = None if aside is None else await _scraped(service, aside, replace(patience, most=_SCRAPERS))
        try:
            await service.begin(url)
            _banner(settings, projects, url, aside, sandbox, reason, store.name)
            after = asyncio.create_task(_after_the_start(), name="after the start")
            told = asyncio.ensure_future(told_to_stop.wait())
            await asyncio.wait((told, serving), return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            after.cancel()
        finally:
            _log.info("stopping: running calls get up to %g s", settings.drain_seconds)
            await _stop(service, settings.drain_seconds, in_a_hurry)
            server.should_exit = True
            await serving
            if service.observer.tracer is not None:
                await service.observer.tracer.close()
            if scraped is not None:
                await scraped()
    finally:
        store.stop()
    _log.info("stopped")


async def _after_the_start() -> None:
    """What no start waits for. The first request with a token would wait for what reads it, so that is loaded now."""
    try:
        await asyncio.to_thread(importlib.import_module, "jwt")
        await asyncio.sleep(_SETTLED)
    finally:
        _spare_the_collector()


def _spare_the_collector() -> None:
    """What is here now stays: the collector of cycles need not walk through it again and again, nor after so few new
    objects as is Python's default, which some ten calls at a time make.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
    gc.enable()


def open_store(settings: Settings) -> Store:
    """The database of the settings, not started. Raises `ValueError` when what it takes is not installed."""
    if settings.database is None:
        return SqliteStore(settings.data_dir / "kvern.db", read_seconds=settings.read_seconds)
    try:
        from kvern.store.postgres import PostgresStore
    except ImportError as error:
        raise ValueError(f"a PostgreSQL database needs more packages: install kvern[postgres] ({error})") from error
    return PostgresStore(settings.database, settings.read_seconds)


def _open_blobs(settings: Settings) -> Blobs:
    if settings.blobs is None:
        return LocalBlobs(settings.data_dir.resolve() / "blobs")
    folder = settings.blobs_folder
    if folder is not None:
        return LocalBlobs(folder.resolve())
    try:
        from kvern.store.s3 import S3Blobs
    except ImportError as error:
        raise ValueError(f"blobs in S3 need more packages: install kvern[s3] ({error})") from error
    return S3Blobs(settings.blobs, settings.data_dir.resolve() / "blobs-here")


def open_tracer(settings: Settings, environ: Mapping[str, str]) -> Tracer | None:
    """Makes traces where the settings or the variables of OpenTelemetry ask for them.

    Raises:
        ValueError: the settings ask for them, and what it takes is not installed.
    """
    named = any(environ.get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT") for part in ("", "TRACES_"))
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if settings.otlp_endpoint is None and (off or not named):
        return None
    try:
        from kvern.server.otel import OtelTracer, exporting
    except ImportError as error:
        if settings.otlp_endpoint is not None:
            raise ValueError(f"traces need more packages: install kvern[otel] ({error})") from error
        _log.warning("the environment asks for traces, which need more packages: install kvern[otel] (%s)", error)
        return None
    return OtelTracer(exporting(settings.otlp_endpoint))


async def _scraped(service: Service, listener: socket.socket, patience: Patience) -> Callable[[], Awaitable[None]]:
    """Give the metrics on an address of their own; what is returned ends that."""
    server = http_server(Router([Route("/metrics", everything(service.metrics))]), patience)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")

    async def stop() -> None:
        server.should_exit = True
        await serving

    return stop


def _assemble(
    settings: Settings, projects: Projects, store: Store, blobs: Blobs, sandbox: Sandbox, url: str, keys: Keys
) -> Service:
    data = settings.data_dir.resolve()
    terms = Terms(max_workers=settings.workers_per_function) if settings.workers_per_function else Terms()
    build_limits = Limits(Allowance(pids=_BUILD_PIDS), cgroups.find())
    builder = Builder(
        data / "build",
        sandbox,
        cache=settings.build_cache,
        timeout=settings.build_timeout_minutes * 60,
        parallel=settings.builds,
        lock_age=settings.lock_minutes * 60,
        source_builds=settings.source_builds,
        build_network=settings.build_network == "allow",
        environ={**os.environ, **_indexes(settings)},
        spare_parser=_SPARE_PARSER,
        seat=lambda: build_limits.seat(int(settings.build_memory * 1_000_000_000), os.cpu_count() or 1),
    )
    engine = LocalEngine(
        sandbox,
        data / "run",
        terms,
        network=settings.network,
        egress=settings.egress,
        service=_place(url),
        spare_box=_SPARE_PARSER,
    )
    service = Service(
        settings,
        store=store,
        blobs=blobs,
        clock=RealClock(),
        builder=builder,
        engine=engine,
        keys=keys,
        projects=projects,
    )
    service.observer.tracer = open_tracer(settings, os.environ)
    service.on_stop(builder.close)
    service.on_stop(lambda: asyncio.to_thread(build_limits.close))
    store.watch(service.metrics.journal)
    service.readiness.check("engine", engine.trouble)
    service.metrics.reading(lambda: _read_engine(service.metrics, engine))
    return service


def _read_engine(metrics: Metrics, engine: LocalEngine) -> None:
    hosts, running, idle, starting, waiting = engine.figures()
    metrics.hosts.set(hosts)
    metrics.waiting.set(waiting)
    for state, count in (("running", running), ("idle", idle), ("starting", starting)):
        metrics.workers.labels(state).set(count)


async def _stop(service: Service, drain: float, in_a_hurry: asyncio.Event) -> None:
    """Stop; a second signal ends the waiting for running calls."""
    stopping = asyncio.create_task(service.stop(drain))
    hurry = asyncio.create_task(in_a_hurry.wait())
    await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not stopping.done():
        service.calls.hurry()
    await stopping


def _indexes(settings: Settings) -> dict[str, str]:
    """The operator's package indexes, under the names by which builds know them."""
    named: dict[str, str] = {}
    if settings.index_url is not None:
        named["UV_DEFAULT_INDEX"] = settings.index_url
    if settings.extra_index_url:
        named["UV_INDEX"] = " ".join(settings.extra_index_url)
    return named


def _banner(
    settings: Settings,
    projects: Projects,
    url: str,
    aside: socket.socket | None,
    sandbox: Sandbox,
    reason: str,
    database: str,
) -> None:
    show: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    show(f"Kvern {kvern.__version__} listens on {url}")
    show(f"  projects  {', '.join(projects)}" if len(projects) > 1 else f"  project   {settings.project}")
    show(f"  data      {settings.data_dir.resolve()}")
    if settings.database is not None:
        show(f"  database  {database}")
    show(f"  sandbox   {reason}")
    if aside is not None:
        show(f"  metrics   {local_url(settings.metrics_host, aside.getsockname()[1])}/metrics")
    show(f'  clients   eval "$(kvern env --data-dir {settings.data_dir})"')
    if os.geteuid() == 0:
        _log.warning("the service runs as root; run it as a user of its own, so that a wall that fails opens into less")
    if not sandbox.is_boundary:
        warning = "WARNING: functions run WITHOUT A SANDBOX and can read and change all that this user can."
        print(f"\n{'!' * len(warning)}\n{warning}\n{reason}\n{'!' * len(warning)}\n", file=sys.stderr, flush=True)
