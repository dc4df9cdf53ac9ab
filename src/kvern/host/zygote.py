"""The server's side of a zygote: it starts the box, asks for workers, and sees to it that all in the box dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from kvern.build.revision import Environment, Revision
from kvern.host import processes
from kvern.host.box import BoxDiedError, BoxError, SpoiledError, StartedBox
from kvern.host.control import Exited, Left, Loading, NonsenseError, Ready, Unforked, Up
from kvern.host.egress import Egress
from kvern.host.limits import Limits, Seat
from kvern.sandbox import Sandbox

START_TIMEOUT = 30.0
"""Seconds for the box to stand and the interpreter in it to start."""

LEFT_MOST = 4
"""Packages that may spoil one zygote after another, until none is loaded in it any more."""

ALL = "*"
"""Stands for every package among those that are left to the workers."""

TAIL = 8192

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """What a zygote is for.

    Args:
        host: the name of its host.
        revision: whose workers it forks.
        left: packages that are left to the workers, and why; what is found out is added.
        load_timeout: seconds that loading the packages may take.
        on_end: told of each worker that died while the box lived, or could not be forked.
        on_death: told that the box is dead, and all that was in it, with the reason in words.
    """

    host: str
    revision: Revision
    left: dict[str, str]
    load_timeout: float
    on_end: Callable[[Exited | Unforked], None]
    on_death: Callable[[str], None]


class Zygote:
    """A running box with a zygote in it: an interpreter that waits, until `adopt` tells which revision it is for.

    Args:
        sandbox: what makes the box.
        environment: its interpreter and packages.
        limits: hold the zygote itself, which loads the function's packages.
        folder: for the temporary files of a plain box, or the code of one that is told it later; made here, removed
            when the box is dead.
        code: the bundle that it shows; None for one that is told later, for which the sandbox must be a boundary.
        egress: what it may reach by way of a `Gateway`; None when the network is open to it, or closed.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        environment: Environment,
        limits: Limits,
        folder: Path,
        code: Path | None,
        egress: Egress | None,
    ) -> None:
        self._limits = limits
        self._task: Task | None = None
        self._seat: Seat | None = None
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._began = self._loop.time()
        self._pid = 0
        self._loading = ""
        self._why = ""
        self._killed = False
        self.cost = 0.0
        self._tail = b""
        self._listeners: list[socket.socket] = []
        allowance = limits.allowance
        self._box = box = StartedBox(
            sandbox, environment, folder, code, egress, network=allowance.network, tmp_size=allowance.tmp_size
        )
        self.code, self.user = box.code, box.user
        self._control = box.control
        self._loop.add_reader(box.output, self._read_output)
        self._loop.add_reader(self._control, self._read_control)
        self._loop.add_reader(box.pidfd, self._died)
        self._timer = self._loop.call_later(
            START_TIMEOUT, self._end, f"the sandbox did not start within {START_TIMEOUT:.0f} s"
        )

    def adopt(self, task: Task) -> None:
        """Have it load what the revision of `task` imports. Once only."""
        self._task = task
        self._seat = self._limits.seat(task.revision.memory, task.revision.cpu, task.host)
        self._keep(self._begin(task, self._seat))

    @property
    def waits(self) -> bool:
        """Whether it lives and is for no revision yet."""
        return self._task is None and not self._killed and not self._ready.done()

    async def ready(self) -> None:
        """Wait until workers can be forked. Raises BoxError; the box is dead then."""
        await asyncio.shield(self._ready)

    @property
    def pid(self) -> int:
        """The zygote's process as this process sees it; 0 before it has told."""
        return self._pid

    async def gone(self) -> None:
        """Wait until the box is dead and cleared away."""
        await asyncio.shield(self._gone)

    def look(self) -> None:
        """The watchdog's look, where the kernel holds no limits: while packages are loaded, the zygote is alone."""
        if self._pid and not self._ready.done() and self._seat is not None and self._seat.watched:
            over = self._seat.look(self._pid)
            if over:
                self._end("it needs too much memory" if over == "memory" else "it starts too many processes")

    def fork(self, number: int, call: socket.socket, log: int) -> None:
        """Ask for a worker with the call socket `call` and the write end `log` of its log pipe.

        Raises:
            BoxDiedError: the box is dead, or dying.
            BoxError: the zygote cannot be asked.
        """
        try:
            self._control.fork(number, [call.fileno(), log])
        except OSError as error:
            message = f"the zygote cannot be reached: {error.strerror}"
            if self._control.fileno() < 0 or isinstance(error, ConnectionError):
                if not self._gone.done():
                    self._end(message)
                raise BoxDiedError(self._why or message) from None
            raise BoxError(message) from None
        # The kernel takes some 10 ms to move the first process after a while, and hardly any for one that follows.
        # Putting the zygote where it is already has the worker find that time gone by.
        assert self._seat is not None
        self._loop.run_in_executor(None, self._seat.rouse, self._pid)

    async def kill(self) -> None:
        """Kill all in the box, and wait until it is dead. Harmless when it is."""
        self._killed = True
        if not self._gone.done():
            if self._box.is_boundary:
                self._box.kill_first()
            else:
                self._close_control()  # the zygote then kills all its descendants and leaves
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._gone), 3)
        if not self._gone.done():
            self._box.kill_group()
        await self._gone

    def kill_soon(self) -> None:
        """Kill the box without waiting, when it does not answer."""
        self._box.kill()

    def _end(self, why: str) -> None:
        """Kill a box that is not ready, or cannot be relied upon, and say why."""
        self._why = self._why or why
        self.kill_soon()

    def _read_control(self) -> bool:
        """Take one message; False when there is none."""
        try:
            message = self._control.read()
        except BlockingIOError:
            return False
        except NonsenseError:
            self._close_control()  # what it says after that counts no more
            self._end("the zygote said what it should not: did a package write to a descriptor that is not its own?")
            return False
        if message is None:
            self._loop.remove_reader(self._control)
            return False
        match message:
            case Exited() | Unforked() if self._task is not None:
                self._task.on_end(message)
            case Up(pid, listeners):
                self._pid = pid
                self._listeners.extend(listeners)
                self._timer.cancel()
                self.cost = self._loop.time() - self._began
                self._began = 0.0
                if not self._up.done():
                    self._up.set_result(None)
            case Loading(name):
                self._loading = name
            case Left(name, why):
                self._loading, self._why = name, why
            case Ready() if not self._ready.done():
                self._timer.cancel()
                self.cost += self._loop.time() - self._began
                self._ready.set_result(None)
            case _:
                pass
        return True

    async def _begin(self, task: Task, seat: Seat) -> None:
        """When the zygote's process is there: hold it to its limits, then have it load packages."""
        if not self._box.has_code:
            try:
                await self._loop.run_in_executor(None, self._box.fill, task.revision.code)
            except OSError as error:
                self._end(f"its code cannot be shown: {error}")
                return
        await asyncio.shield(self._up)
        self._began = self._loop.time()
        self._timer.cancel()
        self._timer = self._loop.call_later(
            task.load_timeout, self._end, f"it was not loaded within {task.load_timeout:g} s"
        )
        if self._box.gateway is not None:
            await self._box.gateway.serve(self._listeners)
        await self._loop.run_in_executor(None, self._settle, seat)
        rlimits = self._limits.rlimits(task.revision.memory, self.user)
        rlimits.pop("RLIMIT_NPROC", None)  # which counts all of the user's processes, and goes down only
        plan = {
            "code": self.code,
            "handler": task.revision.handler,
            "env": dict(task.revision.env_vars),
            "left": list(task.left),
            "rlimits": rlimits,
            "scratch": self._box.scratch,
            "work": self._box.work,
        }
        self._control.begin(plan)

    def _settle(self, seat: Seat) -> None:
        seat.add(self._pid)
        # What root writes nobody in the box can lower, on a kernel without Landlock either.
        processes.be_expendable(self._pid)

    def _read_output(self) -> None:
        try:
            output = os.read(self._box.output, 1 << 16)
        except BlockingIOError:
            return
        if output:
            self._tail = (self._tail + output)[-TAIL:]
        else:
            self._loop.remove_reader(self._box.output)

    def _close_control(self) -> None:
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._control.close()

    def _died(self) -> None:
        self._loop.remove_reader(self._box.pidfd)
        os.close(self._box.pidfd)
        status = self._box.wait()
        while self._control.fileno() >= 0 and self._read_control():
            pass
        self._close_control()
        if self._box.gateway is not None:
            self._box.gateway.close()
        for listener in self._listeners:
            listener.close()
        self._read_output()
        self._loop.remove_reader(self._box.output)
        os.close(self._box.output)
        self._box.clear(status)
        self._timer.cancel()
        reason = self._why or f"the zygote {processes.ending(status)}"
        if not self._ready.done():
            self._ready.set_exception(self._trouble(reason))
            self._ready.exception()
        self._up.cancel()
        self._keep(self._clear())
        if self._task is not None:
            self._task.on_death(reason)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _trouble(self, reason: str) -> BoxError:
        """Why it never became ready."""
        task, seat = self._task, self._seat
        if not self._loading or self._killed or task is None or seat is None:
            printed = self._tail.decode(errors="replace").strip()
            return BoxError(self._why or f"the sandbox did not start: {printed or reason}")
        if seat.out_of_memory():
            self._why = f"it needs too much memory: {seat.memory_words()}"
        why = self._why or f"{reason} while it was loaded"
        _log.info(
            "function %s: %s is left to the workers: %s",
            task.revision.function_id,
            "all that it imports" if self._loading == ALL else self._loading,
            why,
        )
        again = self._loading in task.left  # which it was told to leave: a package says wrong names
        task.left[self._loading] = why
        if again or len(task.left) >= LEFT_MOST:
            task.left[ALL] = "too many packages are none that a zygote can have"
        return SpoiledError(f"{self._loading}: {why}")

    async def _clear(self) -> None:
        for _ in range(200):
            if self._seat is None or self._seat.remove():
                break
            await asyncio.sleep(0.01)
        self._gone.set_result(None)
