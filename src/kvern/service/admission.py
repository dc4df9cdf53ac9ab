"""Admission: how many calls may run at a time, and none at all while the service is about to stop (contract 1.8)."""

from __future__ import annotations

from collections import Counter

from kvern.service.functions import LiveFunction
from kvern.service.servers import Servers
from kvern.settings import Settings
from kvern.wire.errors import BusyError


class Admission:
    """Counts the calls that were accepted and have not ended: those of this server as they are, those of others as they
    were at the last heartbeat.
    """

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings = settings
        self._servers = servers
        self.running: Counter[str] = Counter()
        """By project."""
        self.closed = False
        """Whether nothing is let in any more."""

    def check(self, function: LiveFunction, count: int = 1) -> None:
        """Raises `BusyError` unless there is room for `count` more calls of `function`."""
        if self.closed:
            raise BusyError("The service is about to stop; call again in a moment")
        if not self._servers.alive:
            raise BusyError("This server is cut off from the database; call again in a moment")
        project, elsewhere = function.record.project, self._servers.elsewhere
        most = self._settings.max_function_calls
        if function.running + elsewhere.get((project, function.record.id), 0) + count > most:
            raise BusyError(f"Too many running calls for this function ({most}); call again when some have ended")
        most = self._settings.max_calls
        others = sum(number for (theirs, _), number in elsewhere.items() if theirs == project)
        if self.running[project] + others + count > most:
            raise BusyError(f"Too many running calls in this project ({most}); call again when some have ended")

    def enter(self, function: LiveFunction) -> None:
        """Count one call more."""
        function.running += 1
        self.running[function.record.project] += 1

    def leave(self, function: LiveFunction) -> None:
        """Count one call less."""
        function.running -= 1
        self.running[function.record.project] -= 1
