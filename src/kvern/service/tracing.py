"""What traces a service: requests, calls, deployments and ticks as spans. Without a tracer nothing of it costs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from kvern.engine import Outcome
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord


class Answered(Protocol):
    """Takes how a request was answered: its route, its path as others may see it, and the status."""

    def __call__(self, route: str, path: str, status: int) -> None: ...


class Tracer(Protocol):
    """Makes spans. Called on the event loop; nothing but `close` waits, and nothing raises."""

    def request(
        self, method: str, headers: Iterable[tuple[bytes, bytes]], request_id: str
    ) -> AbstractContextManager[Answered]:
        """Around a request, which goes on with the trace of its `traceparent` (W3C Trace Context), if it has one.

        What begins within is the request's: a call, a deployment.
        """
        ...

    def call(self, call: LiveCall) -> AbstractContextManager[None]:
        """Around all work of a call."""
        ...

    def accepted(self, call: LiveCall) -> None:
        """A call is kept for good."""
        ...

    def traceparent(self, call: LiveCall) -> str | None:
        """What names the run of the attempt that is about to begin, for the handler to go on with."""
        ...

    def attempted(self, call: LiveCall, outcome: Outcome) -> None:
        """An attempt has just ended."""
        ...

    def ended(self, call: LiveCall, status: str, outcome: Outcome) -> None:
        """The end of a call is kept for good."""
        ...

    def build(self, function: LiveFunction) -> AbstractContextManager[None]:
        """Around a deployment."""
        ...

    def ticked(self, record: ScheduleRecord, tick: TickRecord, call: LiveCall | None) -> None:
        """A due time has its tick; the call that it made is its own, and comes after this."""
        ...

    async def close(self) -> None:
        """Send what has ended; gives up after a few seconds. Comes last."""
        ...
