"""Calls that were refused, but of which a part was kept perhaps: they must not look as if they ran."""

from __future__ import annotations

import asyncio
import logging

from kvern.engine import Outcome, Verdict
from kvern.service.clock import Clock
from kvern.service.live_calls import LiveCall
from kvern.service.outcomes import end_row
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.store import Store, StoreFault, calls

_RETRY = 1.0
"""Seconds between two tries."""

_log = logging.getLogger(__name__)


class Withdrawals:
    """Ends what was refused. While the store refuses, it is tried again in the background: where servers share the
    store, nobody else would end the call as long as this one lives.
    """

    def __init__(self, store: Store, clock: Clock, sessions: Sessions, servers: Servers) -> None:
        self._store = store
        self._clock = clock
        self._sessions = sessions
        self._servers = servers
        self._trying: set[asyncio.Task[None]] = set()

    async def withdraw(self, call: LiveCall, *, ends_session: bool) -> None:
        """End a call that did not run, and the session that was bound for it alone, if there is one."""
        try:
            await self._write(call, ends_session=ends_session)
        except StoreFault as fault:
            _log.error("call %s was refused, which could not be kept, trying again: %s", call.record.id, fault)
            task = asyncio.create_task(self._again(call, ends_session=ends_session))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    async def stop(self) -> None:
        """Try no more."""
        for task in self._trying:
            task.cancel()
        await asyncio.gather(*self._trying, return_exceptions=True)

    async def _again(self, call: LiveCall, *, ends_session: bool) -> None:
        while call.server == self._servers.id:  # under another id, the call is not this server's any more
            await asyncio.sleep(_RETRY)
            try:
                await self._write(call, ends_session=ends_session)
                return
            except StoreFault as fault:
                _log.debug("that call %s was refused still cannot be kept: %s", call.record.id, fault)

    async def _write(self, call: LiveCall, *, ends_session: bool) -> None:
        """Raises `StoreFault` when a part of it could not be kept."""
        outcome = Outcome(Verdict.CANCELLED, message="The call could not be kept, and did not run")
        writes = [self._store.write(calls.END, end_row(call.record.id, outcome, self._clock.now(), server=call.server))]
        if call.key is not None:
            writes.append(self._store.write(calls.FREE_KEY, {"call": call.record.id}))
        if ends_session and call.session_id is not None:
            writes.append(self._sessions.end(call.session_id, "CANCELLED"))
        for fault in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(fault, BaseException):
                raise fault
