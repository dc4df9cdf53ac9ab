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


class Observer:
    """Passes on what happens to whoever counts it. Nothing here waits or raises."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def around(self, call: LiveCall, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a call; what is logged meanwhile says whose it is."""
        with bound(project=call.project, function_id=call.record.function_id, call_id=call.record.id):
            await work

    def accepted(self, call: LiveCall) -> None:
        """A call is kept for good."""
        self._metrics.call_accepted(call.project)

    def ended(self, call: LiveCall, status: str, outcome: Outcome) -> None:
        """The end of a call is kept for good."""
        self._metrics.call_ended(call.project, status, outcome)

    def ticked(self, project: str, outcome: str, lag: float | None) -> None:
        """A due time has its tick; `lag` in seconds when it made a call."""
        self._metrics.tick(project, outcome, lag)

    @contextlib.contextmanager
    def build(self, function: LiveFunction) -> Generator[None]:
        """Around a deployment."""
        began = time.perf_counter()
        status = "Withdrawn"
        try:
            with bound(project=function.record.project, function_id=function.record.id):
                yield
            status = function.record.status
        finally:
            self._metrics.build_ended(status, time.perf_counter() - began)
