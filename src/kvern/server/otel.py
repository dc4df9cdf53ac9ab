"""Traces by OpenTelemetry, sent by OTLP over HTTP (docs/observability.md). Imported only where traces are asked for.

Spans that have ended wait in a queue of bounded length for a thread of their own, which sends them: a receiver that is
slow or away costs spans, and no call notices. No data, response, message or header gets into a span.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import kvern
from kvern.engine import Outcome, Verdict
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.tracing import Answered
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord

_LAST = 3.0
"""Seconds for the last spans to be sent when the service stops."""

_LAG_SHOWN = 60_000
"""Milliseconds; the span of a tick that is later than this begins when it was fired."""

_CARRIED = frozenset({"traceparent", "tracestate"})

_log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]


def exporting(endpoint: str | None = None) -> SpanProcessor:
    """Sends spans to a collector; what is not given here comes from `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*`.

    Args:
        endpoint: base URL of the collector.
    """
    return BatchSpanProcessor(OTLPSpanExporter(None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"))


class _Ids(RandomIdGenerator):
    """Random ids, but for a span whose id was told before it was made."""

    told: int | None = None

    def generate_span_id(self) -> int:
        told, self.told = self.told, None
        return super().generate_span_id() if told is None else told


@dataclass(slots=True)
class _Followed:
    """A call: its span, when that began (ns since the epoch), and the id of the span of the attempt that runs."""

    span: Span
    began: int
    run_id: int | None = None
    accepted: bool = False


class OtelTracer:
    """See `Tracer`. What `OTEL_*` variables say of the resource, the sampler and limits counts.

    Args:
        processor: takes spans that have ended.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "kvern"}
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({**named, "service.version": kvern.__version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("kvern", kvern.__version__)
        self._propagator = TraceContextTextMapPropagator()
        self._calls: dict[int, _Followed] = {}
        self._ticks: dict[int, Context] = {}

    @contextlib.contextmanager
    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> Generator[Answered]:
        """Around a request, which goes on with the trace of its `traceparent` (W3C Trace Context), if it has one."""
        given = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        carried = {name: value for name, value in given if name in _CARRIED}
        span = self._tracer.start_span(
            method,
            self._propagator.extract(carried, Context()),
            SpanKind.SERVER,
            {"http.request.method": method, "kvern.request_id": request_id},
        )

        def answered(route: str, path: str, status: int) -> None:
            span.update_name(f"{method} {route}" if route != "none" else method)
            span.set_attributes({"http.route": route, "url.path": path, "http.response.status_code": status})
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))

        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield answered
        finally:
            span.end()

    @contextlib.contextmanager
    def call(self, call: LiveCall) -> Generator[None]:
        """Around all work of a call: below its tick, or the request that it came with."""
        record = call.record
        scheduled = record.schedule_id is not None
        attributes = {
            **_of(call.function),
            "kvern.call.id": record.id,
            "faas.trigger": "timer" if scheduled else "http",
        }
        if record.schedule_id is not None:
            attributes["kvern.schedule.id"] = record.schedule_id
        if record.rerun_of is not None:
            attributes["kvern.call.rerun_of"] = record.rerun_of
        above = self._ticks.pop(record.id, Context()) if scheduled else None
        began = time.time_ns()
        name = f"call {call.function.record.name}"
        span = self._tracer.start_span(name, above, attributes=attributes, start_time=began)
        followed = self._calls[record.id] = _Followed(span, began)
        try:
            yield
        finally:
            del self._calls[record.id]
            if record.verdict is None:
                span.add_event("left to the next run of the service" if followed.accepted else "not accepted")
            span.end()

    def accepted(self, call: LiveCall) -> None:
        """A call is kept for good."""
        followed = self._calls.get(call.record.id)
        if followed is not None:
            followed.accepted = True
            followed.span.add_event("accepted")

    def traceparent(self, call: LiveCall) -> str | None:
        """What names the run of the attempt that is about to begin (W3C Trace Context 3.2)."""
        followed = self._calls.get(call.record.id)
        if followed is None:
            return None
        followed.accepted = True  # one that an earlier run of the service accepted
        followed.run_id = self._ids.generate_span_id()
        context = followed.span.get_span_context()
        return f"00-{context.trace_id:032x}-{followed.run_id:016x}-{context.trace_flags:02x}"

    def attempted(self, call: LiveCall, outcome: Outcome) -> None:
        """An attempt has just ended: its parts are made from how long they took."""
        followed = self._calls.get(call.record.id)
        if followed is None or followed.run_id is None or not followed.span.is_recording():
            return
        ended = time.time_ns()
        handed = max(ended - int(outcome.run_seconds * 1e9), followed.began)
        queued = max(handed - int(outcome.queue_seconds * 1e9), followed.began)
        above = set_span_in_context(followed.span, Context())
        attempt: Attributes = {"kvern.call.attempt": call.attempt}
        self._tracer.start_span("queue", above, attributes=attempt, start_time=queued).end(handed)
        if outcome.worker:
            self._ids.told = followed.run_id
            span = self._tracer.start_span("run", above, attributes=attempt, start_time=handed)
            span.set_attributes({"faas.coldstart": outcome.cold, "kvern.worker": outcome.worker})
            if outcome.cpu_seconds is not None:
                span.set_attribute("kvern.cpu_seconds", outcome.cpu_seconds)
            if outcome.peak_memory is not None:
                span.set_attribute("kvern.peak_memory", outcome.peak_memory)
            _note(span, outcome)
            span.end(ended)
        followed.run_id = None

    def ended(self, call: LiveCall, status: str, outcome: Outcome) -> None:
        """The end of a call is kept for good."""
        followed = self._calls.get(call.record.id)
        if followed is None:
            return
        followed.span.set_attributes(
            {"kvern.call.status": status, "kvern.call.attempt": call.attempt, "faas.coldstart": outcome.cold}
        )
        _note(followed.span, outcome)

    @contextlib.contextmanager
    def build(self, function: LiveFunction) -> Generator[None]:
        """Around a deployment: below the request that it came with."""
        span = self._tracer.start_span(f"build {function.record.name}", attributes=_of(function))
        status = "Withdrawn"
        try:
            yield
            status = function.record.status
        finally:
            span.set_attribute("kvern.function.status", status)
            if status == "Failed":
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def ticked(self, record: ScheduleRecord, tick: TickRecord, call: LiveCall | None) -> None:
        """A due time has its tick: a trace of its own, to which the call belongs that it made."""
        now = time.time_ns()
        due = tick.due_time * 1_000_000
        attributes: dict[str, str | int | float | bool] = {
            "kvern.project": record.project,
            "kvern.function.id": record.function_id,
            "kvern.schedule.id": record.id,
            "kvern.tick.due_time": tick.due_time,
            "kvern.tick.outcome": tick.outcome,
        }
        if tick.reason is not None:
            attributes["kvern.tick.reason"] = tick.reason
        began = due if now - _LAG_SHOWN * 1_000_000 <= due <= now else now
        span = self._tracer.start_span(f"tick {record.name}", Context(), attributes=attributes, start_time=began)
        if call is not None:
            self._ticks[call.record.id] = set_span_in_context(span, Context())
        span.end(now)

    async def close(self) -> None:
        """Send what has ended; gives up after a few seconds."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=send, name="last-spans", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), _LAST)
        except TimeoutError:
            _log.warning("the last spans could not be sent within %g s", _LAST)


def _of(function: LiveFunction) -> dict[str, str | int | float | bool]:
    record = function.record
    attributes: dict[str, str | int | float | bool] = {
        "kvern.project": record.project,
        "kvern.function.id": record.id,
        "faas.name": record.name,
    }
    if record.external_id is not None:
        attributes["kvern.function.external_id"] = record.external_id
    return attributes


def _note(span: Span, outcome: Outcome) -> None:
    span.set_attribute("kvern.call.verdict", outcome.verdict.value)
    if outcome.verdict is not Verdict.RETURNED:
        span.set_status(Status(StatusCode.ERROR, outcome.verdict.value))
