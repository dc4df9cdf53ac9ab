"""The logs of builds: followed while they grow, kept as long as the function."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from kvern.wire.calls import LogEntry

MOST = 1_000_000
"""Bytes of the beginning of a log that are kept."""

LAST = 200
"""Lines of the end that are kept beside."""

_decode = msgspec.json.Decoder(list[LogEntry])


class BuildLog:
    """The log of one build. What is between its beginning and its end when it is too long is left out.

    Args:
        now: the time in ms since the epoch.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.entries: list[LogEntry] = []
        self.is_complete = False
        self._now = now
        self._size = 0
        self._left_out = 0
        self._end: deque[LogEntry] = deque(maxlen=LAST)
        self._news = asyncio.Event()

    def add(self, line: str) -> None:
        """Take a line, free of credentials already."""
        entry = LogEntry(timestamp=self._now(), message=line)
        self._size += len(line)
        if self._size > MOST:
            self._left_out += 1
            self._end.append(entry)
            return
        self.entries.append(entry)
        self._tell()

    def finish(self) -> None:
        """Say that no more comes. Harmless when said twice."""
        if self.is_complete:
            return
        if self._left_out > len(self._end):
            left_out = f"… {self._left_out - len(self._end)} lines are left out …"
            self.entries.append(LogEntry(timestamp=self._end[0].timestamp, message=left_out))
        self.entries.extend(self._end)
        self.is_complete = True
        self._tell()

    async def wait(self, seen: int, seconds: float) -> None:
        """Return when there are more than `seen` entries, when the log is complete, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.entries) <= seen and not self.is_complete:
                    await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class BuildLogs:
    """The logs of all functions' builds: those that go on in memory, the others as files.

    Args:
        folder: made when missing; a file for each function.
        now: the time in ms since the epoch.
    """

    def __init__(self, folder: Path, now: Callable[[], int]) -> None:
        self._folder = folder
        self._now = now
        self._live: dict[int, BuildLog] = {}

    def begin(self, function_id: int) -> BuildLog:
        """A new log for a function, in place of the one that it had."""
        log = self._live[function_id] = BuildLog(self._now)
        return log

    async def finish(self, function_id: int, log: BuildLog) -> None:
        """Keep a log that is complete. A disk that is full costs the log, not the build."""
        log.finish()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._write, function_id, msgspec.json.encode(log.entries))
            if self._live.get(function_id) is log:
                del self._live[function_id]

    async def read(self, function_id: int, after: int, seconds: float) -> list[LogEntry]:
        """The entries from number `after` on; waits up to `seconds` for one that is new while the build goes on."""
        log = self._live.get(function_id)
        if log is not None:
            await log.wait(after, seconds)
            return log.entries[after:]
        try:
            return _decode.decode(await asyncio.to_thread(self._path(function_id).read_bytes))[after:]
        except (OSError, msgspec.DecodeError):
            return []

    async def forget(self, function_id: int) -> None:
        """Remove a function's log; nobody waits for more of it then. Harmless when there is none."""
        log = self._live.pop(function_id, None)
        if log is not None:
            log.finish()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._path(function_id).unlink, missing_ok=True)

    def clear(self, kept: set[int]) -> None:
        """Remove the logs of functions that are not among `kept`."""
        for path in self._folder.glob("*.json"):
            if not path.stem.isdecimal() or int(path.stem) not in kept:
                path.unlink(missing_ok=True)

    def _path(self, function_id: int) -> Path:
        return self._folder / f"{function_id}.json"

    def _write(self, function_id: int, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not flushed: a build that a power cut takes the log of begins anew, or has its end in the function.
        aside = self._folder / f".{function_id}"
        aside.write_bytes(content)
        aside.rename(self._path(function_id))
