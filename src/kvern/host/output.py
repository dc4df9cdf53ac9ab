"""The read end of a worker's log pipe."""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from collections.abc import Callable, Sequence

from kvern.host.call import LogLine
from kvern.host.lines import Lines

CHUNK = 1 << 16
EARLY_LIMIT = 1 << 16
"""Bytes kept of what is printed before the first call: while the handler is loaded."""


class Output:
    """Reads a worker's log pipe and gives each call its lines.

    What is printed while the handler is loaded comes with the first call. What comes between two calls, from
    something that the first left running, belongs to neither and is dropped.

    Args:
        descriptor: the read end, non-blocking; closed by `close`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: Lines | None = None
        self._on_log: Callable[[Sequence[LogLine]], None] | None = None
        self._early: bytes | None = b""
        self._loop.add_reader(descriptor, self._read)

    def begin(self, limit: int, on_log: Callable[[Sequence[LogLine]], None]) -> None:
        """A call begins, which may log `limit` bytes."""
        self._drain()
        self._lines = Lines(limit)
        self._on_log = on_log
        if self._early:
            self._take(self._early)
        self._early = None

    def end(self) -> None:
        """The call is over: give it all that it has printed."""
        self._drain()
        if self._lines is not None and self._on_log is not None:
            lines = self._lines.finish()
            if lines:
                self._on_log(lines)
        self._lines = self._on_log = None

    def early(self) -> bytes:
        """What was printed while the handler was loaded."""
        self._drain()
        return self._early or b""

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            output = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return
        if output:
            self._take(output)
        else:
            self._loop.remove_reader(self._descriptor)

    def _drain(self) -> None:
        """Read what is in the pipe now; not until it is empty, which may never be."""
        if self._descriptor < 0:
            return
        waiting = int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, b"\0\0\0\0"), "little")
        while waiting > 0:
            try:
                output = os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                return
            if not output:
                return
            waiting -= len(output)
            self._take(output)

    def _take(self, output: bytes) -> None:
        if self._lines is not None and self._on_log is not None:
            lines = self._lines.feed(output)
            if lines:
                self._on_log(lines)
        elif self._early is not None:
            self._early = (self._early + output)[:EARLY_LIMIT]
