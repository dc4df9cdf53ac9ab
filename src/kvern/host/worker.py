"""The server's side of one worker: load the handler, then one call at a time, until it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import cast

import msgspec

from kvern.build.revision import Revision
from kvern.host import processes, verdicts
from kvern.host.answers import Answers
from kvern.host.box import BoxDiedError, BoxError
from kvern.host.call import Access, HandlerError, Order, Outcome, Verdict
from kvern.host.control import CREDENTIALS
from kvern.host.limits import Limits
from kvern.host.output import Output
from kvern.host.zygote import Zygote
from kvern.runner import frames

_log = logging.getLogger(__name__)

HELLO_TIMEOUT = 10.0
"""Seconds for the zygote to fork a worker."""

DEATH_TIMEOUT = 5.0
"""Seconds for the zygote to report that a killed worker is dead; then the box is killed."""

META_LIMIT = 1 << 20
"""Bytes that a worker may say beside the response."""


class NotLoadedError(HandlerError):
    """The handler could not be loaded, and what was printed meanwhile.

    Args:
        output: the bytes that the worker printed.
    """

    def __init__(self, message: str, trace: str, output: bytes) -> None:
        super().__init__(message, trace or output.decode(errors="replace"))
        self.own_trace = trace
        self.output = output


class Worker(asyncio.Protocol):
    """One worker process.

    Its life: `load` once; then `run` for each call, one at a time; `on_free` is called after each call
    from which it can go on; `on_gone` once, when it is dead and nothing that it started is left.

    Args:
        name: names it in outcomes.
        number: names it in its box.
        revision: what it runs.
        limits: give it a seat.
        zygote: forks it.
        on_free, on_gone: see above.
    """

    def __init__(
        self,
        name: str,
        number: int,
        revision: Revision,
        limits: Limits,
        zygote: Zygote,
        on_free: Callable[[Worker], None],
        on_gone: Callable[[Worker], None],
    ) -> None:
        self.name = name
        self.number = number
        self.takes: frozenset[str] = frozenset()
        self.idle_since = 0.0
        self.calls = 0
        self.dead = False
        self._revision = revision
        self._limits = limits
        self._zygote = zygote
        self._on_free = on_free
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[int] = self._loop.create_future()
        self._loaded: asyncio.Future[None] = self._loop.create_future()
        self._pid = 0
        self._pidfd = -1
        self._transport: asyncio.Transport | None = None
        self._answers = Answers()
        self._connecting = False
        self._seated: asyncio.Future[None] | None = None
        self._order: Order | None = None
        self._outcome: asyncio.Future[Outcome] | None = None
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queued = self._handed = 0.0
        self._cold = False
        self._cpu = self._cpu_before = 0.0  # seconds in its life, and those before the call that runs
        self._peak = self._peak_loaded = self._own_loaded = 0  # bytes
        self._sentence: tuple[Verdict, str] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._call, theirs = socket.socketpair()
        self._call.setblocking(False)
        self._call.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        log, their_log = os.pipe()
        os.set_blocking(log, False)
        self._output = Output(log)
        self._seat = limits.seat(revision.memory, revision.cpu, name.partition("/")[0])
        try:
            zygote.fork(number, theirs, their_log)
        except BoxError:
            self._release()
            self._seat.remove()
            raise
        finally:
            theirs.close()
            os.close(their_log)

    @property
    def usable(self) -> bool:
        """Whether it can be given a call."""
        return not self.dead and self._sentence is None

    async def load(self, timeout: float) -> None:
        """Wait for the process, put it on its seat and have it load the handler, for `timeout` seconds at most.

        Raises:
            HandlerError: the handler cannot be loaded.
            BoxError: there is no process, or no box any more.
        """
        self._loop.add_reader(self._call, self._read_hello)
        try:
            self._pid = await asyncio.wait_for(asyncio.shield(self._hello), HELLO_TIMEOUT)
        except TimeoutError:
            self._zygote.kill_soon()
            raise BoxError(f"no worker was forked within {HELLO_TIMEOUT:.0f} s") from None
        finally:
            if self._call.fileno() >= 0:
                self._loop.remove_reader(self._call)
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self._pid)
        # Meanwhile it loads the handler, held to the zygote's own limits.
        self._seated = self._loop.run_in_executor(None, self._seat.add, self._pid)
        if not self.dead:
            self._connecting = True
            await self._loop.create_unix_connection(lambda: self, sock=self._call)
        if self._transport is not None:
            revision = self._revision
            meta = {
                "code": self._zygote.code,
                "handler": revision.handler,
                "function_id": revision.function_id,
                "env": dict(revision.env_vars),
                "secrets": json.dumps(dict(revision.secrets)),
                "rlimits": self._limits.rlimits(revision.memory, self._zygote.user),
            }
            self._transport.write(frames.encode(frames.LOAD, 0, meta))
        self._timer = self._loop.call_later(
            timeout, self.kill, Verdict.TIMED_OUT, f"the handler was not loaded within {timeout:g} s"
        )
        try:
            await asyncio.shield(self._loaded)
        finally:
            self._timer.cancel()
            self._timer = None

    def run(self, order: Order, access: Access | None, queued: float, *, cold: bool) -> asyncio.Future[Outcome]:
        """Hand over a call; the future is done when it is over, after `on_free`. Only for a worker that is loaded and
        free.

        Args:
            order, access: the call.
            queued, cold: its outcome's `queue_seconds` and `cold`.
        """
        assert self._transport is not None
        self.calls += 1
        self._queued, self._cold, self._handed = queued, cold, self._loop.time()
        self._order, self._outcome = order, self._loop.create_future()
        self._output.begin(order.log_limit, order.on_log)
        self._limit(order.timeout)
        meta = order.meta() if access is None else {**order.meta(), "access": asdict(access)}
        frame = frames.pack(frames.CALL, order.call_id, msgspec.json.encode(meta), order.data)
        if self._seated is None:
            self._transport.write(frame)
        else:
            self._seated.add_done_callback(lambda _: self._hand_over(frame))
        return self._outcome

    def _limit(self, seconds: float) -> None:
        """The call may take so long. A timer that runs is left to run: most calls end long before it."""
        self._due = self._handed + seconds
        if self._timer is None or self._timer.when() > self._due:
            self._wake_at(self._due)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._due is None or self._order is None:
            return
        if self._loop.time() < self._due:
            self._wake_at(self._due)
        else:
            limit = self._order.timeout
            self.kill(Verdict.TIMED_OUT, f"the call ran longer than {limit:g} s and was stopped")

    def _hand_over(self, frame: bytes) -> None:
        """The first call: the worker is on its seat now."""
        self._seated = None
        if self._transport is not None and self.usable:
            self._transport.write(frame)

    def used(self, cpu: float, peak: int) -> None:
        """Take note of the CPU seconds that it has used in its life and the most memory, in bytes."""
        self._cpu, self._peak = max(cpu, self._cpu), max(peak, self._peak)

    def is_worn(self, calls: int, growth: int) -> bool:
        """Whether it has run `calls` calls, or holds `growth` bytes more than when it was loaded."""
        if self.calls >= calls:
            return True
        growth = min(growth, self._revision.memory // 2)
        if self._peak - self._peak_loaded <= growth or not self.calls:
            return False
        return processes.private_memory([self._pid]) - self._own_loaded > growth

    def kill(self, verdict: Verdict, message: str) -> None:
        """Have the process die; a call that it runs ends so. Harmless when it is dead or dying."""
        if self.dead or self._sentence is not None:
            return
        self._sentence = (verdict, message)
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        elif self._transport is not None:
            self._transport.abort()
        self._loop.call_later(DEATH_TIMEOUT, self._check_dead)

    def look(self) -> None:
        """What a watchdog does every moment, where no control group holds the limits."""
        if self._outcome is None or not self._seat.watched or self.dead:
            return
        over = self._seat.look(self._pid)
        if over == "memory":
            self.kill(Verdict.OUT_OF_MEMORY, f"the call needed too much memory: {self._seat.memory_words()}")
        elif over:
            self.kill(Verdict.CRASHED, f"the call had more than {self._seat.pids} processes and threads")

    def exited(self, code: int | None, reason: str = "") -> asyncio.Task[None]:
        """The process is dead: `code` is its exit status or minus its signal; None when the whole box died."""
        self.dead = True
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(code, reason))
        return self._ending

    async def _end(self, code: int | None, reason: str) -> None:
        if self._seat.group is not None:
            await self._loop.run_in_executor(None, self._seat.kill)
        verdict, message = self._sentence or verdicts.of_death(self._seat, code, reason)
        message += verdicts.crowding(self._seat, verdict)
        if not self._hello.done():
            self._hello.set_exception(BoxDiedError(reason or message))
            self._hello.exception()
        if not self._loaded.done() and code is None and self._sentence is None:
            self._loaded.set_exception(BoxDiedError(message))
            self._loaded.exception()
        if not self._loaded.done():
            trouble = message if self._sentence else f"{message}, while the handler was loaded"
            self._loaded.set_exception(NotLoadedError(trouble, "", self._output.early()))
            self._loaded.exception()
        if self._outcome is not None:
            if code is not None:
                message += verdicts.figures(verdict, self._cpu - self._cpu_before, self._peak)
            _tell(*self._finish(Outcome(verdict, message=message), known=code is not None))
        self._release()
        self._on_gone(self)
        for _ in range(200):
            if self._seat.remove():
                break
            await asyncio.sleep(0.01)

    def _check_dead(self) -> None:
        if not self.dead:
            self._zygote.kill_soon()

    def _release(self) -> None:
        self._output.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        elif not self._connecting and self._call.fileno() >= 0:
            self._loop.remove_reader(self._call)
            self._call.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _read_hello(self) -> None:
        try:
            word, ancillary, _, _ = self._call.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        except BlockingIOError:
            return
        except OSError:
            word, ancillary = b"", []
        self._loop.remove_reader(self._call)
        for level, kind, content in ancillary:
            if word and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and not self._hello.done():
                self._hello.set_result(CREDENTIALS.unpack(content[: CREDENTIALS.size])[0])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The call socket is ours."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if self.dead:  # it died meanwhile
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker's socket was closed: it is dead, as the zygote will tell, or `handle` closed what is not its."""
        if not self.dead and self._sentence is None:
            self._loop.call_later(1, self.kill, Verdict.CRASHED, verdicts.LOST)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, mostly all of it."""
        if self._sentence is not None:
            return
        limit = self._order.response_limit if self._order is not None else 0
        try:
            frame = self._answers.feed(data, limit + META_LIMIT)
        except (ValueError, RecursionError):  # the latter of JSON that is nested without end
            self._garbage()
        else:
            if frame is not None:
                self._answered(frame)

    def _garbage(self) -> None:
        self.kill(Verdict.CRASHED, "the worker sent what is no answer: did handle write to a descriptor not its own?")

    def _answered(self, frame: frames.Frame) -> None:
        order = self._order
        if order is not None and frame.kind in frames.ANSWERS and frame.call_id == order.call_id:
            spent = frame.meta.get("spent", "")
            self._note_use(frame)
            if frame.kind == frames.RETURNED:
                outcome = Outcome(Verdict.RETURNED, response=frame.body)
            else:
                outcome = verdicts.of_answer(self._seat, frame)
                # What the kernel counted against this call must not be counted against the next.
                spent = spent or self._seat.out_of_memory() or self._seat.out_of_pids()
            waiter, told = self._finish(outcome)
            if spent:
                self.kill(Verdict.CANCELLED, "the worker was not used again")
            else:
                self._on_free(self)
            _tell(waiter, told)
        elif not self._loaded.done() and frame.kind == frames.LOADED:
            self._note_use(frame)
            self._cpu_before, self._peak_loaded = self._cpu, self._peak
            self._own_loaded = processes.private_memory([self._pid])
            self.takes = frozenset(map(str, frame.meta.get("takes") or ()))
            self._loaded.set_result(None)
        elif not self._loaded.done() and frame.kind == frames.NOT_LOADED:
            self._loaded.set_exception(NotLoadedError(*verdicts.words(frame), self._output.early()))
        else:
            self._garbage()

    def _note_use(self, frame: frames.Frame) -> None:
        cpu, peak = frame.meta.get("cpu"), frame.meta.get("peak")
        if isinstance(cpu, float) and isinstance(peak, int) and 0 <= cpu < 1e9 and 0 <= peak < 1 << 50:
            self.used(cpu, peak)

    def _finish(self, outcome: Outcome, *, known: bool = True) -> tuple[asyncio.Future[Outcome], Outcome]:
        """The call is over; `known` is whether somebody has told what it used. Whom to tell, and what."""
        waiter = self._outcome
        assert waiter is not None
        self._outcome = self._due = self._order = None
        try:
            self._output.end()
        except Exception:  # of who takes the lines: the call has ended all the same
            _log.exception("the last lines of a call on worker %s were lost", self.name)
        outcome.cpu_seconds = round(self._cpu - self._cpu_before, 6) if known else None
        outcome.peak_memory = (self._peak or None) if known else None
        outcome.queue_seconds = self._queued
        outcome.run_seconds = self._loop.time() - self._handed
        outcome.cold = self._cold
        outcome.worker = self.name
        self._cpu_before = self._cpu
        return waiter, outcome


def _tell(waiter: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not waiter.done():  # else nobody waits any more
        waiter.set_result(outcome)
