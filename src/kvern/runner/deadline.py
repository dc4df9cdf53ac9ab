"""The soft deadline: `handle` is told to come to an end a while before it is stopped.

A handler that runs, or blocks in a call that a signal can break off, gets a `TimeoutError`, raised where
it is. An async handler that awaits is cancelled as by `asyncio.timeout`: it gets `asyncio.CancelledError`. Either
may be caught, to save what there is and return.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any


class Deadline:
    """Tells `handle` once. To be used in the main thread; `disarm` undoes `arm`.

    Args:
        seconds: after which it is told.
        left: seconds that it then has until it is stopped.
    """

    def __init__(self, seconds: float, left: float) -> None:
        self._seconds = seconds
        self._left = left
        self._old: Any = None
        self.passed = False

    def arm(self) -> None:
        """From now on the time runs."""
        self._old = signal.signal(signal.SIGALRM, self._tell)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def disarm(self) -> None:
        """It is over: nothing is told any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._old or signal.SIG_DFL)

    def error(self) -> TimeoutError:
        """What the handler gets, or its caller when it lets the cancelling pass."""
        return TimeoutError(f"the soft deadline has passed, the call is stopped in {self._left:g} s")

    def _tell(self, number: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_globals.get("__package__") == __package__:
            return  # between the runner's own lines: `handle` has just returned
        self.passed = True
        asyncio: Any = sys.modules.get("asyncio")  # nobody awaits who has not loaded it
        loop = None if asyncio is None else asyncio.events._get_running_loop()
        if asyncio is None or loop is None or asyncio.current_task(loop) is not None:
            raise self.error()
        # The loop itself must not be broken: it wakes, and the handler's task is cancelled from there.
        loop.call_soon_threadsafe(self._cancel, asyncio.all_tasks(loop))

    @staticmethod
    def _cancel(tasks: set[Any]) -> None:
        for task in tasks:
            if task.get_name() == MAIN:
                task.cancel()


MAIN = "handle"
"""The name of the task in which an async `handle` runs."""
