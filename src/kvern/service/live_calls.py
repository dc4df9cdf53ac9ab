"""A call that has not ended: its state in memory, and how others wait for news of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from kvern.engine import LogLine
from kvern.service.functions import LiveFunction
from kvern.store.calls import CallRecord
from kvern.wire.calls import LogEntry

_encode = msgspec.json.encode


class LiveCall:
    """A call that has not ended, or whose end is just being written."""

    __slots__ = (
        "_log_chunk",
        "_log_kept",
        "_news",
        "accepted",
        "acted",
        "begun",
        "data",
        "ended",
        "function",
        "log",
        "record",
        "response",
        "session_id",
        "task",
    )

    def __init__(self, record: CallRecord, function: LiveFunction, session_id: int | None, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.record = record
        self.function = function
        self.session_id = session_id
        self.acted = False  # whether its handler was given access
        self.data = data
        self.begun = False
        self.response: bytes | None = None
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.log: list[bytes] = []
        self.task: asyncio.Task[None] | None = None
        self._log_kept = 0
        self._log_chunk = 0
        self._news: asyncio.Event | None = None

    @property
    def project(self) -> str:
        return self.function.record.project

    def accept_row(self) -> dict[str, object]:
        """The row of `store.calls.ACCEPT`."""
        record = self.record
        return {
            "id": record.id,
            "project": self.project,
            "function_id": record.function_id,
            "status": record.status,
            "begun": self.begun,
            "start_time": record.start_time,
            "schedule_id": record.schedule_id,
            "scheduled_time": record.scheduled_time,
            "session_id": self.session_id,
            "data": self.data,
        }

    def on_log(self, lines: Sequence[LogLine]) -> None:
        self.log.extend(_encode(LogEntry(timestamp=line.timestamp, message=line.message)) for line in lines)
        if self._news is not None:
            self._news.set()

    def unkept_log(self) -> dict[str, object] | None:
        """The row for the log entries that are not in the store yet."""
        if self._log_kept == len(self.log):
            return None
        row: dict[str, object] = {
            "call_id": self.record.id,
            "chunk": self._log_chunk,
            "entries": b",".join(self.log[self._log_kept :]),
        }
        self._log_kept = len(self.log)
        self._log_chunk += 1
        return row

    async def wait_for_log(self, seen: int, seconds: float) -> None:
        """Return when there are more than `seen` entries, when the call has ended, or after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while len(self.log) <= seen and not self.ended.done():
            self._news = self._news or asyncio.Event()
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait((news, self.ended), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if left <= 0:
                return
