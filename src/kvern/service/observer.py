"""What calls, deployments and ticks tell of themselves, and to whom it is passed on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Coroutine, Generator
from typing import Any

from kvern.engine import Outcome
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.log_context import bound
from kvern.service.metrics import Metrics
from kvern.service.tracing import Tracer
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord


class Observer:
    """Passes on what happens to whoever counts or traces it. Nothing here waits or raises.

    `tracer` is set before the service starts, if there is one.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.tracer: Tracer | None = None

    async def around(self, call: LiveCall, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a call; what is logged meanwhile says whose it is."""
        with bound(project=call.project, function_id=call.record.function_id, call_id=call.record.id):
            if self.tracer is None:
                await work
            else:
                with self.tracer.call(call):
                    await work

    def accepted(self, call: LiveCall) -> None:
        """A call is kept for good."""
        self._metrics.call_accepted(call.project)
        if self.tracer is not None:
            self.tracer.accepted(call)

    def traceparent(self, call: LiveCall) -> str | None:
        """What names the run of a call that is about to begin, in the words of W3C Trace Context; None untraced."""
        return None if self.tracer is None else self.tracer.traceparent(call)

    def attempted(self, call: LiveCall, outcome: Outcome) -> None:
        """An attempt has just ended."""
        if self.tracer is not None:
            self.tracer.attempted(call, outcome)

    def ended(self, call: LiveCall, status: str, outcome: Outcome) -> None:
        """The end of a call is kept for good."""
        self._metrics.call_ended(call.project, status, outcome)
        if self.tracer is not None:
            self.tracer.ended(call, status, outcome)

    def ticked(self, record: ScheduleRecord, tick: TickRecord, call: LiveCall | None) -> None:
        """A due time of a schedule has its tick; comes before the call runs that it made."""
        lag = None if call is None else (call.record.start_time - tick.due_time) / 1000
        self._metrics.tick(record.project, tick.outcome, lag)
        if self.tracer is not None:
            self.tracer.ticked(record, tick, call)

    @contextlib.contextmanager
    def build(self, function: LiveFunction) -> Generator[None]:
        """Around a deployment."""
        began = time.perf_counter()
        status = "Withdrawn"
        try:
            spanned = contextlib.nullcontext() if self.tracer is None else self.tracer.build(function)
            with bound(project=function.record.project, function_id=function.record.id), spanned:
                yield
            status = function.record.status
        finally:
            self._metrics.build_ended(status, time.perf_counter() - began)
