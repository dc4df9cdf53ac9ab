"""The connections of one listener: how many there may be, how long each may keep the service waiting, who goes first.

what a connection does           | it may do so for               | then
---------------------------------|--------------------------------|------------------------------------------------
sends no head, or a part of one  | `head_seconds` in all          | 408, or nothing when no byte came; closed
is idle between two requests     | 75 s                           | closed
sends a body that does not move  | `body_seconds` for each kB     | 408 when nothing is answered yet; closed
still sends what was answered    | `body_seconds` in all          | broken off
does not take an answer          | `answer_seconds` without a byte| broken off
waits for its answer             | as long as the answer takes    |

When there are `most`, a new connection takes the place of one that has nothing under way: the oldest without a whole
head, else the oldest idle one, else one whose body has not moved for seconds. Where all have, the new one gets a 503.

Called on the event loop only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import termios
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

IDLE_SECONDS = 75.0
STALE_SECONDS = 2.0
"""Since when a body has not moved, so that its connection may go for another's sake."""

SOON_SECONDS = 3.0
"""How long one that was refused may take to read why; nothing more of it is read meanwhile."""

_TOLD_EVERY = 60.0

_log = logging.getLogger(__name__)


class Wait(Enum):
    """What a connection waits for, as far as the client is whom it waits for."""

    HEAD = "head"
    IDLE = "idle"
    BODY = "body"
    REST = "rest"
    """Of a body that was answered already."""
    END = "end"
    NOTHING = "nothing"


class Connection(Protocol):
    """One connection."""

    waits: Wait
    since: float
    """From when its time counts, by the clock of the loop."""

    @property
    def held_up(self) -> bool:
        """Whether it is this side that does not take the body now."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes of answers that this process holds."""
        ...

    @property
    def number(self) -> int:
        """Its file descriptor; negative when there is none any more."""
        ...

    def refuse(self, status: int, message: str) -> None:
        """Answer, if that can be, and close."""
        ...

    def drop(self) -> None:
        """Close without a word."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections, and seconds for each wait."""

    most: int
    head_seconds: float
    body_seconds: float
    answer_seconds: float


class Connections:
    """Those of one listener.

    Args:
        now: the clock of the loop, in seconds.
    """

    def __init__(self, patience: Patience, now: Callable[[], float]) -> None:
        self.patience = patience
        self.now = now
        self._all: set[Connection] = set()
        self._waiting: dict[Wait, dict[Connection, None]] = {wait: {} for wait in Wait if wait is not Wait.NOTHING}
        self._stuck: dict[Connection, tuple[int, float]] = {}
        self._turned: Counter[str] = Counter()
        self._told = self._told_of_descriptors = -_TOLD_EVERY

    def enter(self, connection: Connection) -> None:
        """A new one."""
        self._all.add(connection)
        self.wait(connection, Wait.HEAD)
        if len(self._all) > self.patience.most:
            self._make_room(connection)

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self.wait(connection, Wait.NOTHING)
        self._all.discard(connection)
        self._stuck.pop(connection, None)

    def wait(self, connection: Connection, what: Wait) -> None:
        """From now on it waits for this."""
        old = connection.waits
        if old is not Wait.NOTHING:
            self._waiting[old].pop(connection, None)
        connection.waits = what
        if what is not Wait.NOTHING:
            connection.since = self.now()
            self._waiting[what][connection] = None

    def turned(self, why: str) -> None:
        """Note that one was refused; the log tells once a minute how many."""
        self._turned[why] += 1

    def _make_room(self, new: Connection) -> None:
        self.turned(f"more than {self.patience.most} connections")
        for wait in (Wait.END, Wait.HEAD, Wait.REST, Wait.IDLE, Wait.BODY):
            oldest = next(iter(self._waiting[wait]), None)
            if oldest is None or oldest is new:
                continue
            if wait is Wait.BODY and (oldest.held_up or self.now() - oldest.since < STALE_SECONDS):
                continue
            self.wait(oldest, Wait.NOTHING)
            self._all.discard(oldest)
            oldest.drop()
            return
        new.refuse(503, f"The service has {self.patience.most} connections, as many as it may; try again in a moment")

    def look(self) -> None:
        """End what has waited too long. Called every second or so."""
        now, patience = self.now(), self.patience
        for connection in self._late(Wait.HEAD, now - patience.head_seconds):
            self.turned("no whole head in time")
            connection.refuse(408, f"Expected a whole head of a request within {patience.head_seconds:g} s")
        for connection in self._late(Wait.IDLE, now - IDLE_SECONDS):
            if connection.unsent:  # of its last answer
                self.wait(connection, Wait.IDLE)
            else:
                connection.drop()
        for connection in self._late(Wait.BODY, now - patience.body_seconds):
            if connection.held_up:
                self.wait(connection, Wait.BODY)
                continue
            self.turned("a body that does not move")
            connection.refuse(408, f"Expected more of the body within {patience.body_seconds:g} s")
        for connection in self._late(Wait.REST, now - patience.body_seconds):
            connection.drop()
        for connection in self._late(Wait.END, now - SOON_SECONDS):
            connection.drop()
        for connection in [one for one in self._all if one.unsent]:
            self._look_at_answer(connection, now)
        for connection in [one for one in self._stuck if not one.unsent]:
            del self._stuck[connection]
        self._tell(now)

    def _late(self, wait: Wait, before: float) -> list[Connection]:
        late: list[Connection] = []
        for connection in self._waiting[wait]:  # in the order in which they began to
            if connection.since > before:
                break
            late.append(connection)
        return late

    def _look_at_answer(self, connection: Connection, now: float) -> None:
        """The kernel holds megabytes of an answer: only what the client took of those too tells that it reads."""
        left = connection.unsent + _unacknowledged(connection.number)
        before, since = self._stuck.get(connection, (left + 1, now))
        if left != before:
            self._stuck[connection] = (left, now)
        elif now - since > self.patience.answer_seconds:
            self.turned("an answer that nobody takes")
            connection.drop()

    def _tell(self, now: float) -> None:
        if self._turned and now - self._told >= _TOLD_EVERY:
            self._told = now
            _log.warning(
                "connections turned away or closed: %s; %d are open",
                ", ".join(f"{why}: {count}" for why, count in self._turned.most_common()),
                len(self._all),
            )
            self._turned.clear()
        if now - self._told_of_descriptors >= _TOLD_EVERY and not _descriptor_free():
            self._told_of_descriptors = now
            _log.error("no file descriptor is free: connections are refused until one is; raise the limit (ulimit -n)")


def _unacknowledged(number: int) -> int:
    """Bytes in the kernel that the other side has not acknowledged."""
    if number < 0:
        return 0
    with contextlib.suppress(OSError):
        return int(struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    return 0


def _descriptor_free() -> bool:
    """The loop says nothing when it cannot take a connection for want of one."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
