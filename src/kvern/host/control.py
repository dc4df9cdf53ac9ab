"""The socket between the server and a zygote: what each may say, and what the server takes from it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

CREDENTIALS = struct.Struct("3i")
_DESCRIPTOR = struct.Struct("i")

_LONGEST = 4096
_LOADS = 1000
"""Packages that a zygote may say it loads: more is no list of imports but a flood."""


class NonsenseError(Exception):
    """The zygote said what no zygote says: code of the function, loaded in it, wrote to its socket."""


@dataclass(frozen=True, slots=True)
class Up:
    """The zygote's process is there.

    Args:
        pid: as this process sees it.
        listeners: sockets that listen in its box.
    """

    pid: int
    listeners: list[socket.socket]


@dataclass(frozen=True, slots=True)
class Loading:
    """It loads a package."""

    name: str


@dataclass(frozen=True, slots=True)
class Left:
    """It must leave a package to the workers, and ends."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Workers can be forked."""


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker is dead.

    Args:
        number: of the worker.
        code: its exit status, or minus the signal that killed it.
        cpu: seconds that it used.
        peak: bytes, the most that it used.
    """

    number: int
    code: int
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Unforked:
    """A worker could not be forked."""

    number: int
    message: str


Message = Up | Loading | Left | Ready | Exited | Unforked


class Control:
    """The server's end. What a package writes to the other end, which it can reach while it is loaded, is found out.

    `theirs` is the zygote's end, to be closed here once the zygote has it.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._is_up = self._is_ready = False
        self._loads = 0
        self._forked: set[int] = set()

    def fileno(self) -> int:
        """The descriptor to wait on; negative when it is closed."""
        return self._ours.fileno()

    def close(self) -> None:
        """Harmless when it is closed."""
        self._ours.close()

    def begin(self, plan: Mapping[str, object]) -> None:
        """Have the zygote load what the plan says. Nothing happens when it has gone."""
        file = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            os.write(file, json.dumps(plan).encode())
            os.lseek(file, 0, os.SEEK_SET)
            with contextlib.suppress(OSError):
                socket.send_fds(self._ours, [b'{"begin":true}'], [file])
        finally:
            os.close(file)

    def fork(self, number: int, descriptors: list[int]) -> None:
        """Ask for a worker that gets `descriptors`. Raises OSError when the zygote cannot be reached."""
        socket.send_fds(self._ours, [json.dumps({"fork": number}).encode()], descriptors)
        self._forked.add(number)

    def read(self) -> Message | None:
        """The next message; None when the zygote has closed its end.

        Raises:
            BlockingIOError: there is none yet.
            NonsenseError: it is none, or none that comes now.
        """
        room = socket.CMSG_SPACE(CREDENTIALS.size)
        if not self._is_up:  # and later on, when code of the function may have a hand in it, none is taken
            room += socket.CMSG_SPACE(2 * _DESCRIPTOR.size)
        try:
            text, ancillary, _, _ = self._ours.recvmsg(_LONGEST, room, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not text:
            return None
        try:
            told: Any = json.loads(text)
            if not isinstance(told, dict):
                raise NonsenseError
            if not self._is_up:
                return self._up(cast("dict[str, Any]", told), ancillary)
            return self._later(cast("dict[str, Any]", told))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise NonsenseError from None

    def _up(self, told: dict[str, Any], ancillary: list[tuple[int, int, bytes]]) -> Up:
        if told != {"up": True}:
            raise NonsenseError
        pid, listeners = 0, list[socket.socket]()
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid = CREDENTIALS.unpack(content[: CREDENTIALS.size])[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                listeners += [socket.socket(fileno=number) for (number,) in _DESCRIPTOR.iter_unpack(content)]
        self._is_up = True
        return Up(pid, listeners)

    def _later(self, told: dict[str, Any]) -> Message:
        if not self._is_ready:
            if "loading" in told:
                self._loads += 1
                if self._loads > _LOADS:
                    raise NonsenseError
                return Loading(_word(told["loading"]))
            if "left" in told:
                return Left(_word(told["left"]), _word(told["why"]))
            if told == {"ready": True}:
                self._is_ready = True
                return Ready()
            raise NonsenseError
        number = told["exited"] if "exited" in told else told["unforked"]
        self._forked.remove(number)
        if "unforked" in told:
            return Unforked(number, _word(told["message"]))
        status, cpu, peak = told["status"], float(told["cpu"]), int(told["peak"])
        if not (0 <= cpu < 1e9 and 0 <= peak < 1 << 50 and 0 <= status < 1 << 16):
            raise NonsenseError
        return Exited(number, os.waitstatus_to_exitcode(status), cpu, peak)


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise NonsenseError
    return value
