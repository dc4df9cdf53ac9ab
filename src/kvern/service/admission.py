"""Admission: how many calls may run at a time, and none at all while the service is about to stop (contract 1.8)."""

from __future__ import annotations

from collections import Counter

from kvern.service.functions import LiveFunction
from kvern.settings import Settings
from kvern.wire.errors import BusyError


class Admission:
    """Counts the calls that were accepted and have not ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.running: Counter[str] = Counter()
        """By project."""
        self.closed = False
        """Whether nothing is let in any more."""

    def check(self, function: LiveFunction, count: int = 1) -> None:
        """Raises `BusyError` unless there is room for `count` more calls of `function`."""
        if self.closed:
            raise BusyError("The service is about to stop; call again in a moment")
        most = self._settings.max_function_calls
        if function.running + count > most:
            raise BusyError(f"Too many running calls for this function ({most}); call again when some have ended")
        most = self._settings.max_calls
        if self.running[function.record.project] + count > most:
            raise BusyError(f"Too many running calls in this project ({most}); call again when some have ended")

    def enter(self, function: LiveFunction) -> None:
        """Count one call more."""
        function.running += 1
        self.running[function.record.project] += 1

    def leave(self, function: LiveFunction) -> None:
        """Count one call less."""
        function.running -= 1
        self.running[function.record.project] -= 1
