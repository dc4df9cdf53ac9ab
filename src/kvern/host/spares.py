"""A box that was started before it is needed: an interpreter that waits for code, so that a deploy need not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kvern.build.revision import Environment
from kvern.host.limits import Limits
from kvern.host.zygote import Zygote
from kvern.sandbox import Sandbox

START_DELAY = 0.02
"""Seconds after which the next box is started."""


class Spares:
    """Keeps one started box for the environment that was used last. All methods are called on one event loop.

    It is one box for one revision, like any other; only that it is there already. Its interpreter has loaded nothing
    yet.

    Args:
        sandbox: makes it.
        limits: hold what is in it, from when it is taken.
        folder: below which it may have a folder.
        seconds: for which it waits; 0 for none at all.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, folder: Path, seconds: float) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._folder = folder
        self._seconds = seconds if sandbox.is_boundary else 0.0
        self._spare: tuple[Environment, int, Zygote] | None = None  # and the inode of the environment's folder
        self._timer: asyncio.TimerHandle | None = None
        self._begin: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def expect(self, environment: Environment) -> None:
        """Have a box for the next revision in `environment`, soon: whoever was just served goes first."""
        if self._seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        for timer in (self._timer, self._begin):
            if timer is not None:
                timer.cancel()
        self._timer = loop.call_later(self._seconds, self._drop)
        self._begin = loop.call_later(START_DELAY, self._start, environment)

    def _start(self, environment: Environment) -> None:
        if self._fits(environment):
            return
        self._drop()
        folder = self._folder / f"spare-{os.urandom(4).hex()}"
        try:
            inode = environment.path.stat().st_ino
            self._spare = environment, inode, Zygote(self._sandbox, environment, self._limits, folder, None, None)
        except OSError:  # whoever needs a box then starts one, or tells why it cannot
            self._spare = None

    def take(self, environment: Environment) -> Zygote | None:
        """The box that waits for `environment`; None when there is none."""
        if self._begin is not None:  # it would be started beside the one that is needed now
            self._begin.cancel()
        if not self._fits(environment) or self._spare is None:
            return None
        zygote, self._spare = self._spare[2], None
        return zygote

    def _fits(self, environment: Environment) -> bool:
        if self._spare is None:
            return False
        its, inode, zygote = self._spare
        try:  # one that was removed and made anew lies in another folder, which the box does not show
            return its == environment and zygote.waits and environment.path.stat().st_ino == inode
        except OSError:
            return False

    async def close(self) -> None:
        """End what waits. Harmless when there is nothing."""
        for timer in (self._timer, self._begin):
            if timer is not None:
                timer.cancel()
        self._drop()
        while self._ending:
            await asyncio.wait(self._ending)

    def _drop(self) -> None:
        if self._spare is not None:
            task = asyncio.get_running_loop().create_task(self._spare[2].kill())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._spare = None
