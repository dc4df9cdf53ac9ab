"""Calls that other servers run: news of them is read from the store, which has them a moment later."""

from __future__ import annotations

import asyncio
import logging

from kvern.store import Store, StoreFault, calls

POLL = 0.1
"""Seconds between two looks while somebody waits."""

_log = logging.getLogger(__name__)


class Elsewhere:
    """Waits for calls that are not run here; one look is for all that are waited for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._awaited: dict[int, set[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def ended(self, call_id: int, seconds: float) -> None:
        """Return when the call has ended, or after `seconds`."""
        over = asyncio.Event()
        self._awaited.setdefault(call_id, set()).add(over)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="elsewhere")
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            return
        finally:
            self._awaited[call_id].discard(over)
            if not self._awaited[call_id]:
                del self._awaited[call_id]

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        while self._awaited:
            await asyncio.sleep(POLL)
            ids = list(self._awaited)
            try:
                over = await self._store.read(lambda connection, ids=ids: calls.ended(connection, ids))
            except StoreFault as error:
                _log.warning("calls of other servers cannot be read now: %s", error)
                continue
            except Exception:  # a fault of ours must not leave all who wait, and who come later, waiting in vain
                _log.exception("calls of other servers cannot be looked for")
                continue
            for call_id in over:
                for event in self._awaited.get(call_id, ()):
                    event.set()
        self._looking = None
