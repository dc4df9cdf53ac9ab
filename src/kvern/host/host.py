"""A host: one revision's box, zygote and pool of workers on this machine."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from kvern.build.revision import Revision
from kvern.host import processes
from kvern.host.box import BoxDiedError, BoxError, SpoiledError
from kvern.host.call import HandlerError, Order, Outcome, Verdict
from kvern.host.control import Exited, Unforked
from kvern.host.egress import Egress
from kvern.host.limits import Limits
from kvern.host.lines import Lines
from kvern.host.spares import Spares
from kvern.host.terms import Terms
from kvern.host.ticket import EndedError, Ticket
from kvern.host.turns import Turns
from kvern.host.worker import NotLoadedError, Worker
from kvern.host.zygote import Task, Zygote
from kvern.sandbox import Sandbox

DEATHS = 3
"""How many boxes in a row may die before a handler is loaded, until a call that waits is told."""


@dataclass(eq=False, slots=True)
class Host:
    """Runs calls of one revision. All methods are called on one event loop.

    Its box is made when it is first needed and made anew when it has died. Idle workers are reused last in, first
    out; calls that find none wait first in, first out, while workers are forked up to the limit.

    Args:
        revision: what it runs.
        sandbox: makes the box.
        limits: make the workers' seats.
        terms: how it behaves.
        folder: below which a box may have a folder.
        left: packages that its zygote must leave to the workers, and why; grows as they are found out.
        turns: of the calls of all hosts.
        egress: what its box may reach by way of a gateway; None when the network is open to it, or closed.
        spares: boxes that were started before they were needed.

    `name` is short, and no other host's. Kept for the engine: `last_used` (the loop's time), `uses` (calls), `worth`
    (see `worth.py`), `size` (bytes, as of `measured`).
    """

    revision: Revision
    sandbox: Sandbox
    limits: Limits
    terms: Terms
    folder: Path
    left: dict[str, str]
    turns: Turns
    egress: Egress | None = None
    spares: Spares | None = None
    name: str = field(default_factory=lambda: os.urandom(4).hex())
    last_used: float = 0.0
    uses: int = 0
    worth: float = 0.0
    size: int = 0
    measured: float = -1.0
    _zygote: Zygote | None = None
    _workers: dict[int, Worker] = field(default_factory=dict[int, Worker])
    _idle: list[Worker] = field(default_factory=list[Worker])
    _waiting: deque[asyncio.Future[Worker]] = field(default_factory=deque["asyncio.Future[Worker]"])
    _calls: dict[int, Ticket] = field(default_factory=dict[int, Ticket])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    _growing: int = 0  # workers that are not loaded yet, those not forked yet among them
    _unforked: int = 0
    _deaths: int = 0
    _stopped: EndedError | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def has_room(self, besides: int = 0) -> bool:
        """Whether a call would find a warm worker at once, after `besides` others."""
        return len(self._idle) > besides and not self._waiting and self.turns.free()

    async def warm(self) -> None:
        """Have one worker loaded. Raises HandlerError; BoxError when there can be no box."""
        worker = await self._acquire(Ticket())
        self._free(worker)

    async def run(self, order: Order) -> Outcome:
        """Run one call to its end.

        What can fail, and what it does to whom:

        | failure                                        | the call          | the worker     | the box, other calls  |
        |------------------------------------------------|-------------------|----------------|-----------------------|
        | the box cannot be started                      | CRASHED           | none           | next call tries anew  |
        | no worker can be forked, thrice                | CRASHED           | none           | go on                 |
        | the handler cannot be loaded, takes too long   | NOT_LOADED        | dead           | go on                 |
        | `access` or `on_begin` raises                  | the same, not run | goes on        | go on                 |
        | handle raises, its response is unusable        | RAISED, UNUSABLE  | goes on        | go on                 |
        | the call leaves processes or threads behind    | as it would be    | killed         | go on                 |
        | the time is over                               | TIMED_OUT         | killed         | go on                 |
        | memory is over                                 | OUT_OF_MEMORY     | mostly dead    | go on                 |
        | the worker dies; garbage on its socket         | CRASHED           | dead           | go on                 |
        | the zygote or the sandbox's own process dies   | CRASHED           | dead           | dead: CRASHED; anew   |
        | a killed worker is not reported dead           | as it would be    | dead           | killed: CRASHED; anew |
        | the caller of `run` is cancelled               | CancelledError    | killed         | go on                 |

        A call that began is never run again. A call that waits is not harmed by any of these.
        """
        ticket = Ticket(ended=self._stopped)
        self._calls[order.call_id] = ticket
        self.uses += 1
        came = self.last_used = asyncio.get_running_loop().time()
        try:
            return await self._run(order, ticket, came)
        except NotLoadedError as error:
            lines = Lines(order.log_limit)
            printed = [*lines.feed(error.output), *lines.finish()]
            if printed:
                order.on_log(printed)
            return Outcome(Verdict.NOT_LOADED, message=error.message, trace=error.own_trace, queue_seconds=_since(came))
        except BoxError as error:
            return Outcome(Verdict.CRASHED, message=str(error), queue_seconds=_since(came))
        except EndedError as error:
            return Outcome(error.verdict, message=error.message, queue_seconds=_since(came))
        finally:
            del self._calls[order.call_id]
            self.last_used = asyncio.get_running_loop().time()

    async def _run(self, order: Order, ticket: Ticket, came: float) -> Outcome:
        while True:
            if ticket.ended is not None:
                raise ticket.ended
            worker = await self._acquire(ticket)
            try:
                await self._take_turn(ticket)
            except BaseException:
                self._free(worker)
                raise
            try:
                outcome = await self._serve(order, ticket, worker, came)
            finally:
                self.turns.give()
            if outcome is not None:
                return outcome

    async def _serve(self, order: Order, ticket: Ticket, worker: Worker, came: float) -> Outcome | None:
        """Have `worker` run the call; None when it died while the beginning was written down."""
        try:
            access = order.access() if "client" in worker.takes else None
            if order.on_begin is not None and not ticket.begun:
                await order.on_begin()
                ticket.begun = True
        except BaseException:
            self._free(worker)
            raise
        if ticket.ended is not None:
            self._free(worker)
            raise ticket.ended
        if not worker.usable:
            return None
        ticket.worker = worker
        ticket.outcome = outcome = worker.run(order, access, _since(came), cold=ticket.waited and worker.calls == 0)
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.cancelled():  # who waits was cancelled, and the call runs still
                worker.kill(Verdict.CANCELLED, "the call was cancelled")
            raise

    async def _take_turn(self, ticket: Ticket) -> None:
        waiter = self.turns.take(self.revision.function_id)
        if waiter is None:
            return
        ticket.waiter = waiter
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.turns.give()
            raise
        finally:
            ticket.waiter = None

    def cancel(self, call_id: int, ended: EndedError) -> bool:
        """End a call that waits or runs; False when it is not here."""
        ticket = self._calls.get(call_id)
        if ticket is None:
            return False
        ticket.ended = ticket.ended or ended
        if ticket.worker is not None and ticket.outcome is not None:
            if ticket.outcome.done():  # and the worker may already run another call
                return False
            ticket.worker.kill(ended.verdict, ended.message)
        elif ticket.waiter is not None and not ticket.waiter.done():
            ticket.waiter.set_exception(ended)
        return True

    async def stop(self, ended: EndedError) -> None:
        """End all calls and kill all processes; nothing is left when it returns. Harmless when called twice."""
        self._stopped = self._stopped or ended
        for call_id in list(self._calls):
            self.cancel(call_id, ended)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ended)
        for worker in list(self._workers.values()):
            worker.kill(ended.verdict, ended.message)
        if self._zygote is not None:
            await self._zygote.kill()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def trim(self, now: float) -> None:
        """Stop workers that have been idle too long."""
        while self._idle:
            patience = self.terms.idle_worker if len(self._idle) > 1 else self.terms.idle_last
            if now - self._idle[0].idle_since <= patience:
                return
            self._idle.pop(0).kill(Verdict.CANCELLED, "the worker was idle")

    @property
    def cost(self) -> float:
        """Seconds that it took to make its zygote; 0 when there is none."""
        return self._zygote.cost if self._zygote is not None else 0.0

    def figures(self) -> tuple[int, int, int, int]:
        """Workers that run a call, that are idle, that are being started; and calls that wait."""
        running = sum(1 for ticket in self._calls.values() if ticket.outcome is not None and not ticket.outcome.done())
        return running, len(self._idle), self._growing, len(self._calls) - running

    def measure(self) -> int:
        """Bytes of memory that its processes hold, shared pages divided among those that share them. May block."""
        zygote = self._zygote
        return processes.proportional_memory(processes.tree(zygote.pid)) if zygote is not None and zygote.pid else 0

    def is_unused(self) -> bool:
        """Whether no call is here."""
        return not self._calls and all(waiter.done() for waiter in self._waiting)

    def is_idle(self, now: float) -> bool:
        """Whether there has been no call for so long that the host may be stopped."""
        return self.is_unused() and now - self.last_used > self.terms.idle_host

    def look(self) -> None:
        """Have the watchdog look at each worker."""
        if self._zygote is not None:
            self._zygote.look()
        for worker in list(self._workers.values()):
            worker.look()

    async def _acquire(self, ticket: Ticket) -> Worker:
        ticket.waited = False
        while self._idle and not self._waiting:
            worker = self._idle.pop()
            if worker.usable:
                return worker
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        ticket.waiter = waiter
        ticket.waited = True
        self._waiting.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free(waiter.result())
            raise
        finally:
            ticket.waiter = None

    def _free(self, worker: Worker) -> None:
        """Give a worker to the call that waits longest, or let it idle."""
        if not worker.usable:
            return
        if worker.is_worn(self.terms.worker_calls, self.terms.worker_growth):
            worker.kill(Verdict.CANCELLED, "the worker had done its share")
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(worker)
        else:
            worker.idle_since = asyncio.get_running_loop().time()
            self._idle.append(worker)

    def _next_waiter(self) -> asyncio.Future[Worker] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _grow(self) -> None:
        """Fork a worker for each call that waits, as far as the limit goes."""
        waiting = sum(1 for waiter in self._waiting if not waiter.done())
        while (
            self._stopped is None
            and self._growing < waiting
            and len(self._workers) + self._unforked < self.terms.max_workers
        ):
            self._growing += 1
            self._unforked += 1
            self._keep(asyncio.get_running_loop().create_task(self._start_worker()))

    async def _start_worker(self) -> None:
        trouble: Exception | None = None
        try:
            worker = await self._fork()
            await worker.load(self.terms.load_timeout)
            self._deaths = 0
            self._free(worker)
        except BoxDiedError as error:
            self._deaths += 1
            if self._deaths >= DEATHS:
                trouble = error
        except (BoxError, HandlerError) as error:
            trouble = error
        except OSError as error:
            trouble = BoxError(f"no worker could be started: {error}")
        finally:
            self._growing -= 1
        waiter = self._next_waiter() if trouble is not None else None
        if waiter is not None and trouble is not None:
            waiter.set_exception(self._stopped or trouble)
        self._grow()

    async def _fork(self) -> Worker:
        try:
            zygote = await self._ready_zygote()
        finally:
            self._unforked -= 1
        number = next(self._numbers)
        name = f"{self.name}/{number}"
        try:
            worker = Worker(name, number, self.revision, self.limits, zygote, self._free, self._on_gone)
        except BoxDiedError:
            await zygote.gone()  # and the next try finds another
            raise
        self._workers[number] = worker
        return worker

    async def _ready_zygote(self) -> Zygote:
        while True:
            if self._zygote is None:
                self._zygote = self._new_zygote()
            zygote = self._zygote
            try:
                await zygote.ready()
            except SpoiledError:
                if self._stopped is not None:
                    raise
            else:
                return zygote

    def _new_zygote(self) -> Zygote:
        task = Task(
            self.name,
            self.revision,
            self.left,
            self.terms.load_timeout,
            self._on_end,
            self._on_box_death,
        )
        environment = self.revision.environment
        spare = self.spares.take(environment) if self.spares is not None and self.egress is None else None
        folder = self.folder / f"{self.revision.id}-{os.urandom(4).hex()}"
        zygote = spare or Zygote(self.sandbox, environment, self.limits, folder, self.revision.code, self.egress)
        zygote.adopt(task)
        return zygote

    def _on_end(self, end: Exited | Unforked) -> None:
        worker = self._workers.get(end.number)
        if worker is None:
            return
        if isinstance(end, Exited):
            worker.used(end.cpu, end.peak)
            self._keep(worker.exited(end.code))
        else:
            self._keep(worker.exited(None, end.message))

    def _on_box_death(self, reason: str) -> None:
        if self._zygote is not None:
            self._keep(asyncio.get_running_loop().create_task(self._zygote.gone()))
        self._zygote = None
        for worker in list(self._workers.values()):
            self._keep(worker.exited(None, reason))

    def _on_gone(self, worker: Worker) -> None:
        self._workers.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        self._grow()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _since(moment: float) -> float:
    return asyncio.get_running_loop().time() - moment
