"""Watching a process flush its files: every fsync and fdatasync, just before and just after, with the process held.

Done with ptrace(2), so that the service itself needs no seam for it. The process's threads are traced, its children
are not.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SYSCALL, _SEIZE, _INTERRUPT, _LISTEN, _INFO = 24, 0x4206, 0x4207, 0x4208, 0x420E
_SYSGOOD, _CLONES = 0x01, 0x08
_WALL, _MINE_ONLY = 0x40000000, 0x20000000
_EVENT_STOP = 128
_ENTRY, _EXIT = 1, 2
_SYNCS = {"x86_64": {74, 75}, "aarch64": {82, 83}}.get(platform.machine(), set[int]())

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _SyscallInfo(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


def _ptrace(request: int, task: int, address: int = 0, data: Any = 0) -> None:
    if _libc.ptrace(request, task, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_trace() -> bool:
    """Whether this machine's processor is known here."""
    return bool(_SYNCS)


class SyncWatch:
    """Calls `before(path)` and `after(path)` around each flush that a process makes, on a thread of its own.

    The thread that flushes is held while they run; the process's other threads go on. Ends when the process does.

    Args:
        child: the process to watch. Its `wait` and `poll` are answered from here from now on: the system would tell
            them of every stop.
    """

    def __init__(
        self, child: subprocess.Popen[bytes], before: Callable[[Path], None], after: Callable[[Path], None]
    ) -> None:
        self._child = child
        self._process = child.pid
        self._before = before
        self._after = after
        self._flushing: dict[int, Path] = {}
        self._began = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sync-watch", daemon=True)

    def start(self) -> None:
        """Return when every thread of the process is watched. Raises `OSError` when that is not allowed."""
        self._thread.start()
        self._began.wait()
        if self._fault is not None:
            raise self._fault
        setattr(self._child, "poll", lambda: self._child.returncode)  # noqa: B010 (a method of this one object)
        setattr(self._child, "wait", self._wait)  # noqa: B010

    def _wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired(self._child.args, timeout or 0)
        return int(self._child.returncode)

    def join(self, seconds: float) -> None:
        """Wait for the end of the process; raises what a callback raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the process that is watched has not ended"
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._seize()
        except BaseException as error:  # the one who starts the watch is told
            self._fault = error
            self._began.set()
            return
        self._began.set()
        while True:
            try:
                task, status = os.waitpid(-1, _WALL | _MINE_ONLY)
            except ChildProcessError:
                return
            if task == self._process and not os.WIFSTOPPED(status):
                self._child.returncode = os.waitstatus_to_exitcode(status)
            elif os.WIFSTOPPED(status):
                try:
                    self._stopped(task, status)
                except ProcessLookupError:
                    continue

    def _seize(self) -> None:
        seized: set[int] = set()
        while new := {int(entry.name) for entry in Path(f"/proc/{self._process}/task").iterdir()} - seized:
            for task in new:
                _ptrace(_SEIZE, task, 0, _SYSGOOD | _CLONES)
                _ptrace(_INTERRUPT, task)
            seized |= new

    def _stopped(self, task: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        if number == signal.SIGTRAP | 0x80:
            self._at_syscall(task)
            _ptrace(_SYSCALL, task)
        elif event == _EVENT_STOP and number != signal.SIGTRAP:
            _ptrace(_LISTEN, task)
        elif event:
            _ptrace(_SYSCALL, task)
        else:
            _ptrace(_SYSCALL, task, 0, number)

    def _at_syscall(self, task: int) -> None:
        info = _SyscallInfo()
        _ptrace(_INFO, task, ctypes.sizeof(info), ctypes.byref(info))
        try:
            if info.op == _ENTRY and info.number in _SYNCS:
                path = Path(f"/proc/{self._process}/fd/{info.arguments[0]}").readlink()
                self._flushing[task] = path
                self._before(path)
            elif info.op == _EXIT and (path := self._flushing.pop(task, None)) is not None:
                self._after(path)
        except BaseException as error:  # told by `join`
            self._fault = self._fault or error
