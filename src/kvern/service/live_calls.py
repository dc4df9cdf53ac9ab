"""A call that has not ended: its state in memory, and how others wait for news of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from kvern.engine import LogLine
from kvern.service.functions import LiveFunction
from kvern.service.redrives import Redrive
from kvern.store.attempts import CHUNKS
from kvern.store.calls import CallRecord
from kvern.wire.calls import LogEntry

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key, and the hash of the data that came with it."""

    word: str
    digest: str


class LiveCall:
    """A call that has not ended, or whose end is just being written.

    Args:
        record: its row, as far as it is shown.
        session_id: what it acts with.
        key: under which it may be asked for again.
        redrive: with which it is accepted, when what it runs again has to be a call whose attempts are used up.

    `attempt` is the one that runs or is waited for, `attempt_time` when it began or is due (ms since the epoch),
    `attempt_line` where its log begins. `cancelled` is done when somebody wants the call to end.
    """

    __slots__ = (
        "_held",
        "_log_chunk",
        "_log_kept",
        "_news",
        "_patience",
        "_timer",
        "accepted",
        "acted",
        "attempt",
        "attempt_line",
        "attempt_time",
        "begun",
        "cancelled",
        "data",
        "ended",
        "function",
        "key",
        "log",
        "lost",
        "record",
        "redrive",
        "response",
        "running_since",
        "server",
        "session_id",
        "task",
    )

    def __init__(
        self,
        record: CallRecord,
        function: LiveFunction,
        session_id: int | None,
        data: bytes,
        key: Key | None = None,
        *,
        redrive: Redrive | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.record = record
        self.function = function
        self.session_id = session_id
        self.acted = False  # whether its handler was given access
        self.data = data
        self.key = key
        self.redrive = redrive
        self.begun = False
        self.running_since: float | None = None
        """When its attempt began, by the loop's clock; None while it waits for a worker."""
        self.attempt = record.attempt or 1
        self.attempt_time = record.next_attempt_time or record.start_time
        self.attempt_line = 0
        self.cancelled: asyncio.Future[None] = loop.create_future()
        self.server: str | None = None
        """Which of the servers that share a database runs it."""
        self.lost = False
        """Whether that server was cut off: others write how it ends."""
        self.response: bytes | None = None
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.log: list[bytes] = []
        self.task: asyncio.Task[None] | None = None
        self._held: asyncio.Future[None] | None = None
        self._patience = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._log_kept = 0
        self._log_chunk = (self.attempt - 1) * CHUNKS
        self._news: asyncio.Event | None = None

    async def hold(self, seconds: float) -> None:
        """Return once it is kept and has ended, or `seconds` after it was kept; for who made it. Raises why it was
        refused.
        """
        self._held, self._patience = asyncio.get_running_loop().create_future(), seconds
        try:
            await self._held
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._held = self._timer = None

    def _release(self) -> None:
        if self._held is not None and not self._held.done():
            self._held.set_result(None)

    def mark_accepted(self) -> None:
        """It is kept for good."""
        self.accepted.set_result(None)
        if self.begun:
            self.mark_running()
        if self._held is not None and not self._held.done():
            if self._patience > 0:
                self._timer = self._held.get_loop().call_later(self._patience, self._release)
            else:
                self._release()

    def mark_running(self) -> None:
        """An attempt begins: it has a worker."""
        self.running_since = asyncio.get_running_loop().time()

    def mark_refused(self, error: BaseException) -> None:
        """It is not kept, and did not run."""
        self.accepted.set_exception(error)
        self.accepted.exception()  # whoever waits is told; when nobody does, it is no fault of the task
        if self._held is not None and not self._held.done():
            self._held.set_exception(error)

    def mark_ended(self) -> None:
        """Nothing happens to it any more; of a call that is refused, `mark_refused` comes next."""
        if self._news is not None:
            self._news.set()
        if not self.ended.done():
            self.ended.set_result(None)
        if self.accepted.done():
            self._release()

    async def wait_for_end(self, seconds: float) -> None:
        """Return when it has ended, or after `seconds`."""
        if seconds > 0 and not self.ended.done():
            await asyncio.wait((self.ended,), timeout=seconds)

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
            "server": self.server,
            "data": self.data,
        }

    def marked_row(self) -> dict[str, object]:
        """The row of `store.calls.ACCEPT_MARKED`."""
        word, digest = (self.key.word, self.key.digest) if self.key is not None else (None, None)
        marks = {"idempotency_key": word, "idempotency_hash": digest, "rerun_of": self.record.rerun_of}
        return {**self.accept_row(), **marks}

    @property
    def later_attempt_time(self) -> int | None:
        """When an attempt after the first started, as it is kept: that of the first is the call's own."""
        return None if self.attempt == 1 else self.attempt_time

    def put_off(self, due: int) -> None:
        """The attempt has failed, and there is another one at `due` (ms since the epoch)."""
        self.begun = False
        self.running_since = None
        self.attempt += 1
        self.attempt_time = self.record.next_attempt_time = due
        self.attempt_line = len(self.log)
        self._log_chunk = (self.attempt - 1) * CHUNKS

    def restore_log(self, runs: Sequence[bytes]) -> None:
        """Take over the lines of attempts in an earlier run of the service."""
        entries = msgspec.json.decode(b"[" + b",".join(run for run in runs if run) + b"]", type=list[msgspec.Raw])
        self.log = [bytes(entry) for entry in entries]
        self._log_kept = self.attempt_line = len(self.log)

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
