"""The engine of one machine: every host lives here."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kvern.build.revision import Revision
from kvern.engine import HandlerError, Order, Outcome, Verdict
from kvern.engine.worth import Worth
from kvern.host import cgroups, processes
from kvern.host.box import MARK, BoxError
from kvern.host.egress import Egress, destination
from kvern.host.host import Host
from kvern.host.limits import Allowance, Limits
from kvern.host.spares import Spares
from kvern.host.terms import Terms
from kvern.host.ticket import EndedError
from kvern.host.turns import Turns
from kvern.sandbox import Sandbox

WATCH_INTERVAL = 0.1
"""Seconds between two looks of the watchdog."""

TRIM_INTERVAL = 5.0
"""Seconds between two looks for idle workers and hosts."""


class LocalEngine:
    """Runs calls on this machine; see `Engine` for the guarantees.

    Args:
        sandbox: makes the boxes.
        folder: for what boxes need while they run; this engine's alone, and emptied by `start`.
        terms: how hosts behave.
        allowance: what one worker may use beside the memory and cores of its function.
        control_groups: whether to use control groups where they can be had.
        network: whether functions may reach the network: `allow`; `none` of it, the service itself included;
            `egress-list`: what is on the list, and the service.
        egress: that list, see `host/egress.py`. A function may have one of its own: then both must have it.
        service: host and port at which the service itself is reached from this machine.
        spare_box: seconds for which a started box waits for the next revision in the environment that was used last,
            which saves a deploy most of its time here; 0 for none.

    Raises:
        ValueError: functions are to be kept off the network, and the sandbox is no boundary; or a destination is none.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        terms: Terms | None = None,
        allowance: Allowance | None = None,
        *,
        control_groups: bool = True,
        network: Literal["allow", "none", "egress-list"] = "allow",
        egress: Sequence[str] = (),
        service: tuple[str, int] | None = None,
        spare_box: float = 0.0,
    ) -> None:
        if network != "allow" and not sandbox.is_boundary:
            raise ValueError(
                f"the sandbox {sandbox.name!r} is no boundary, so it cannot keep functions off the network"
            )
        self._sandbox = sandbox
        self._folder = folder
        self._terms = terms or Terms()
        hierarchy = cgroups.find() if control_groups else None
        allowance = allowance or Allowance()
        self._limits = Limits(replace(allowance, network=allowance.network and network != "none"), hierarchy)
        self._egress = [destination(text) for text in egress] if network == "egress-list" else None
        self._service = service
        self._spares = Spares(sandbox, self._limits, folder, spare_box)
        self._hosts: dict[str, Host] = {}
        self._left: dict[str, dict[str, str]] = {}  # by revision: packages that no zygote of it can have, and why
        self._calls: dict[int, Host] = {}
        self._turns = Turns(self._terms.running)
        self._worth = Worth()
        self._stopping: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._stopped: EndedError | None = None

    def capabilities(self) -> dict[str, str]:
        """What holds functions in, for people: the sandbox, and who sees to each limit."""
        wall = self._sandbox.name if self._sandbox.is_boundary else f"{self._sandbox.name} (no boundary)"
        users = self._sandbox.users
        who = f"of its own for each host, from {users[0]} on" if users else "that of the service"
        return {"sandbox": wall, "user": who, **self._limits.describe()}

    def figures(self) -> tuple[int, int, int, int, int]:
        """Hosts; workers that run a call, that are idle, that are being started; and calls that wait."""
        each = [host.figures() for host in self._hosts.values()]
        running, idle, starting, waiting = (sum(figures[place] for figures in each) for place in range(4))
        return len(each), running, idle, starting, waiting

    def trouble(self) -> str | None:
        """Why calls cannot run now, in words; None when they can."""
        if self._stopped is not None:
            return "it was stopped"
        if self._keeper is None or self._keeper.done():
            return "its house-keeping has ended"
        return None

    async def start(self) -> None:
        """Make ready. Clears away what an earlier server that was killed left on this machine."""
        self._stopped = None
        await asyncio.to_thread(self._clear)
        self._keeper = asyncio.create_task(self._keep_house())

    def _clear(self) -> None:
        for pid, mark in list(processes.marked(MARK)):
            server, began = mark.split("-")[:2]
            if server.isdigit() and str(processes.started(int(server))) != began:
                processes.kill(pid)
        self._limits.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    async def stop(self) -> None:
        """Kill every host; calls that run end as `INTERRUPTED`. Harmless when called twice."""
        self._stopped = EndedError(Verdict.INTERRUPTED, "the service was stopped while the call ran")
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await asyncio.gather(*(self._remove(host, self._stopped) for host in list(self._hosts.values())))
        await self._spares.close()
        while self._stopping:
            await asyncio.wait(self._stopping)
        await asyncio.to_thread(self._limits.close)

    async def prepare(self, revision: Revision) -> None:
        """Start a host for `revision` and load its handler once, so that the first call finds a warm worker.

        Raises:
            HandlerError: the handler cannot be loaded, or no sandbox be started for it. No process is left.
        """
        host = self._host(revision)
        try:
            await host.warm()
        except EndedError as error:
            raise HandlerError(error.message) from None
        except (BoxError, HandlerError) as error:
            if host.is_unused():
                await self._remove(host, EndedError(Verdict.CRASHED, str(error)))
            if isinstance(error, HandlerError):
                raise
            raise HandlerError(str(error)) from None
        if self._stopped is None:
            self._spares.expect(revision.environment)

    def has_room(self, revision: Revision, besides: int = 0) -> bool:
        """Whether `run`, called now after `besides` other calls, would hand the call to a warm worker at once."""
        host = self._hosts.get(revision.id)
        return host is not None and host.has_room(besides)

    async def run(self, revision: Revision, order: Order) -> Outcome:
        """Run one call to its end. Waits for a free worker first; makes the host when there is none."""
        if self._stopped is not None:
            return Outcome(self._stopped.verdict, message=self._stopped.message)
        host = self._host(revision)
        self._calls[order.call_id] = host
        try:
            return await host.run(order)
        finally:
            del self._calls[order.call_id]

    async def cancel(self, call_id: int) -> bool:
        """Stop a call that runs or waits: its `run` returns `CANCELLED`. False when no such call is here."""
        host = self._calls.get(call_id)
        return host is not None and host.cancel(call_id, EndedError(Verdict.CANCELLED, "the call was cancelled"))

    async def retire(self, function_id: int) -> None:
        """Stop all hosts of a function; its calls end as `CANCELLED`. Harmless when there are none."""
        ended = EndedError(Verdict.CANCELLED, "the function was deleted while the call ran")
        mine = [host for host in self._hosts.values() if host.revision.function_id == function_id]
        await asyncio.gather(*(self._remove(host, ended) for host in mine))
        for host in mine:
            self._left.pop(host.revision.id, None)

    def _host(self, revision: Revision) -> Host:
        host = self._hosts.get(revision.id)
        if host is None:
            left = self._left.setdefault(revision.id, {})
            way_out = self._way_out(revision)
            host = Host(
                revision,
                self._sandbox,
                self._limits,
                self._terms,
                self._folder,
                left,
                self._turns,
                way_out,
                self._spares,
            )
            self._hosts[revision.id] = host
        host.last_used = asyncio.get_running_loop().time()
        self._worth.used(host)
        return host

    def _way_out(self, revision: Revision) -> Egress | None:
        if not self._limits.allowance.network:
            return None
        own = [destination(text) for text in revision.egress] if revision.egress is not None else None
        lists = [each for each in (self._egress, own) if each is not None]
        return Egress(lists, self._service) if lists else None

    async def _remove(self, host: Host, ended: EndedError) -> None:
        if self._hosts.get(host.revision.id) is host:
            del self._hosts[host.revision.id]
        task = asyncio.create_task(host.stop(ended))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        await asyncio.shield(task)

    async def _keep_house(self) -> None:
        """Look after limits that no control group holds, and stop what has been idle too long."""
        loop = asyncio.get_running_loop()
        trimmed = loop.time()
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            for host in list(self._hosts.values()):
                host.look()
            now = loop.time()
            if now - trimmed < TRIM_INTERVAL:
                continue
            trimmed = now
            for host in list(self._hosts.values()):
                host.trim(now)
                if host.is_idle(now):
                    await self._remove(host, EndedError(Verdict.CANCELLED, "the host was idle"))
            await self._keep_to_budget()

    async def _keep_to_budget(self) -> None:
        """Stop hosts without a call, those of least worth first, when together they hold too much memory."""
        idle = [host for host in self._hosts.values() if host.is_unused()]
        for host in idle:
            if host.measured != host.last_used:
                used = host.last_used
                host.size = await asyncio.to_thread(host.measure)
                host.measured = used
                self._worth.used(host)
        still = [host for host in idle if host.is_unused() and host.measured == host.last_used]
        for host in self._worth.surplus(still, self._terms.idle_memory):
            if host.is_unused():
                await self._remove(host, EndedError(Verdict.CANCELLED, "the host was idle"))
