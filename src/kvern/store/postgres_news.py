"""News of what other services changed, as PostgreSQL tells them: a trigger on `changes` notifies."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import psycopg

CHANNEL = "kvern_changes"
"""As the migration of the trigger has it."""

_PAUSE = 1.0
"""Seconds between attempts to listen again."""

_log = logging.getLogger(__name__)


class News:
    """Listens on a connection and a thread of its own until `stop`.

    Args:
        connect: makes a connection.
        heard: called on `loop`; also after the connection was lost, because then there may be news that nobody told.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._loop = loop
        self._heard = heard
        self._told, self._tell = socket.socketpair()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="kvern-news", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._tell.send(b".")
        self._thread.join()
        self._told.close()
        self._tell.close()

    def _run(self) -> None:
        while not self._stopped:
            try:
                with self._connect() as connection:
                    connection.autocommit = True
                    connection.execute(f"LISTEN {CHANNEL}".encode())
                    self._pass_on()
                    self._follow(connection)
            except psycopg.Error as error:
                _log.debug("no news of other services for now: %s", error)
                select.select([self._told], [], [], _PAUSE)

    def _follow(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stopped:
            ready, _, _ = select.select([connection.fileno(), self._told], [], [])
            if connection.fileno() in ready and list(connection.notifies(timeout=0)):
                self._pass_on()

    def _pass_on(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._heard)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stopped = True
