"""What calls, deployments and ticks tell of themselves, and to whom it is passed on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator

from kvern.engine import Outcome
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.metrics import Metrics


class Observer:
    """Passes on what happens to whoever counts it. Nothing here waits or raises."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def accepted(self, call: LiveCall) -> None:
        """A call is kept for good."""
        self._metrics.call_accepted(call.project)

    def ended(self, call: LiveCall, status: str, outcome: Outcome) -> None:
        """The end of a call is kept for good."""
        self._metrics.call_ended(call.project, status, outcome)

    @contextlib.contextmanager
    def build(self, function: LiveFunction) -> Generator[None]:
        """Around a deployment."""
        began = time.perf_counter()
        status = "Withdrawn"
        try:
            yield
            status = function.record.status
        finally:
            self._metrics.build_ended(status, time.perf_counter() - began)
