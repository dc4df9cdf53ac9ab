"""What a call left running: a worker in which something is left is used no more.

A thread that a call started may stay where it can do nothing to the next call by itself: it waits, without a time
limit, for another thread to give it work, as those of a pool do; or it is an installed package's own, such as a
connection pool's, and runs nothing of the bundle's. What the handler's module started when it was loaded may stay. And
so may threads that no Python code runs in, which numerical libraries keep.

Not a `threading.Timer`, not an event loop in a thread of its own, nor a child process, but for the two with which
`multiprocessing` starts others and cleans up.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Any

from .process import children

GRACE = 0.002
"""Seconds that a thread may take to end."""

SETTLE = 0.1
"""Seconds that a thread which was just started may wait for a processor."""

_STANDARD = os.path.dirname(threading.__file__) + os.sep  # noqa: PTH120
_PACKAGES = os.sep + "site-packages" + os.sep


class Leftovers:
    """Compares what runs in and below this process with what ran when it was made, which is after loading."""

    def __init__(self) -> None:
        self._tasks = _tasks()
        self._threads = set(_frames())
        self._children = set(children())
        self._timers = _timers()

    def look(self) -> str:
        """What the call left, in words; empty when nothing."""
        left = self._processes()
        if left:
            return left
        if _timers() != self._timers:
            return "the call left a timer of the kernel running"
        tasks = _tasks()
        if tasks > self._tasks:  # one that was started this moment runs no Python code yet, and no look would find it
            _settle()
        self._tasks = tasks
        return self._running() if tasks > 1 else ""

    def _processes(self) -> str:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ""
        known = self._children | _own_children()
        for pid in children():
            if pid not in known:
                try:
                    if os.waitpid(pid, os.WNOHANG)[0] == pid:
                        continue
                except ChildProcessError:
                    continue
                return "the call left child processes behind"
        return ""

    def _running(self) -> str:
        deadline = time.monotonic() + GRACE
        while True:
            frames = _frames()
            left = {
                ident: frame for ident, frame in frames.items() if ident not in self._threads and not harmless(frame)
            }
            if not left:
                return ""
            if time.monotonic() > deadline:
                names = {thread.ident: thread.name for thread in threading.enumerate()}
                ident = next(iter(left))
                return f"the call left the thread {names.get(ident, str(ident))!r} running"
            del frames, left
            time.sleep(0.001)


def harmless(frame: FrameType) -> bool:
    """Whether the thread in which `frame` runs may stay, see above."""
    if _waits(frame):
        return True
    innermost = frame.f_code.co_filename
    if not innermost.startswith(_STANDARD):
        return False
    package = False
    walked: FrameType | None = frame
    while walked is not None:
        name = walked.f_code.co_filename
        if _PACKAGES in name:
            package = True
        elif not name.startswith(_STANDARD):
            return False
        walked = walked.f_back
    return package


def _waits(frame: FrameType) -> bool:
    """Whether nothing but another thread can have it go on."""
    name, function = frame.f_code.co_filename, frame.f_code.co_name
    if not name.startswith(_STANDARD) or _PACKAGES in name:
        return False
    module = name[len(_STANDARD) :]
    if function == "_worker" and module.startswith("concurrent" + os.sep):
        return True
    if function == "worker" and module == os.path.join("multiprocessing", "pool.py"):  # noqa: PTH118
        return frame.f_locals.get("task") is None
    return module == "threading.py" and function == "wait" and frame.f_locals.get("timeout") is None


def _tasks() -> int:
    """How many threads this process has, native ones too. One look costs a microsecond or two."""
    try:
        return os.stat("/proc/self/task").st_nlink - 2  # noqa: PTH116
    except OSError:
        return threading.active_count()


def _settle() -> None:
    """Wait until no thread waits for a processor: each that Python code started is then at something."""
    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        time.sleep(0.002)
        if not any(_runs(task) for task in os.listdir("/proc/self/task") if int(task) != threading.get_native_id()):  # noqa: PTH208
            return


def _runs(task: str) -> bool:
    try:
        with open(f"/proc/self/task/{task}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


def _timers() -> bytes:
    """The kernel's timers that this process has made (timer_create(2)); those of setitimer(2) are set back anyway."""
    try:
        with open("/proc/self/timers", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:  # a kernel that does not tell
        return b""


def _frames() -> dict[int, FrameType]:
    """What each other thread that runs Python code is at."""
    frames: dict[int, FrameType] = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - public in all but name
    frames.pop(threading.get_ident(), None)
    return frames


def _own_children() -> set[int]:
    """The processes that `multiprocessing` keeps to start others from, and to clean up after them."""
    found: set[int] = set()
    for module, attribute, pid in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        kept: Any = getattr(sys.modules.get(module), attribute, None)
        number = getattr(kept, pid, None)
        if isinstance(number, int):
            found.add(number)
    return found
