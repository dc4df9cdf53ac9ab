"""What listens: the socket, the server of HTTP on it, and how many files it may have open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Generator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from kvern.server.connections import Connections, Patience
from kvern.server.http import HttpProtocol
from kvern.settings import Settings

_CLOSE_SECONDS = 5
"""How long answers that are under way may take when the service stops."""

_DESCRIPTORS = 65_536
"""Files that the service's process may have open, where the machine allows as many."""

_DESCRIPTORS_KEPT = 200
"""Of these, not for connections: the database, files, and pipes to hosts; of the rest it is every second one."""

_LOOK_SECONDS = 0.5
"""Between two looks at what connections wait for."""

_log = logging.getLogger("kvern")


def raise_descriptors() -> int:
    """Let this process have more files open; how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def patience_of(settings: Settings, descriptors: int) -> Patience:
    """What the settings allow connections, within the files that the process may have open."""
    most = min(settings.max_connections, max(descriptors - _DESCRIPTORS_KEPT, 2) // 2)
    if most < settings.max_connections:
        _log.warning(
            "%d connections are taken at a time, not %d: the process may have %d files open (ulimit -n)",
            most,
            settings.max_connections,
            descriptors,
        )
    return Patience(most, settings.head_seconds, settings.body_seconds, settings.answer_seconds)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `OSError`, which says what to try."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}; try --port 0") from error
    return listener


class HttpServer(uvicorn.Server):
    """Leaves signals to us: calls are drained while the service still answers."""

    def __init__(self, connections: Connections, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._connections = connections
        self._looked = 0.0

    async def on_tick(self, counter: int) -> bool:
        now = self._connections.now()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._connections.look()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def http_server(app: ASGIApp, patience: Patience) -> HttpServer:
    """A server of HTTP, for one listener; made in the loop in which it serves."""
    connections = Connections(patience, asyncio.get_running_loop().time)
    return HttpServer(
        connections,
        uvicorn.Config(
            app,
            http=cast("type[Any]", partial(HttpProtocol, among=connections)),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
            limit_concurrency=None,
            backlog=2048,
        ),
    )
