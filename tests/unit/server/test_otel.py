"""Traces: which spans there are, what hangs below what, what they tell and what not, and that faults stay outside."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id
from tests.unit.fakes import PROJECT, BuildError, Outcome, Verdict, raised, returned, until
from tests.unit.server.conftest import Web

from kvern.server import otel
from kvern.server.otel import OtelTracer
from kvern.server.run import open_tracer
from kvern.service.functions import Functions
from kvern.settings import Settings
from kvern.store import StoreFault
from kvern.wire.functions import Retries

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{CLIENT}-00"}


class Traced:
    """A service in memory whose spans are kept."""

    def __init__(self, web: Web) -> None:
        self.web, self.p = web, web.p
        self.exporter = InMemorySpanExporter()
        self.p.service.observer.tracer = OtelTracer(SimpleSpanProcessor(self.exporter))

    def spans(self, name: str) -> list[ReadableSpan]:
        """Those that have ended whose name begins so."""
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    async def one(self, name: str) -> ReadableSpan:
        await until(lambda: self.spans(name))
        (span,) = self.spans(name)
        return span


@pytest.fixture
async def traced(web: Web) -> AsyncIterator[Traced]:
    yield Traced(web)


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Of the trace, of the span, and of the one above."""
    context = span.get_span_context()
    assert context is not None
    above = None if span.parent is None else format_span_id(span.parent.span_id)
    return format_trace_id(context.trace_id), format_span_id(context.span_id), above


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# What hangs below what


async def test_a_request_goes_on_with_the_trace_of_its_client_and_the_call_hangs_below_it(traced: Traced) -> None:
    function = await traced.p.function(name="mean", external_id="the-mean")
    traced.exporter.clear()
    traced.p.engine.endings.append(
        Outcome(Verdict.RETURNED, b"1", queue_seconds=0, run_seconds=0, cold=True, worker="w/1", cpu_seconds=0.5)
    )

    answer = await traced.web.call(function, headers=TRACED)

    call, request = await traced.one("call"), await traced.one("POST")
    run, queue = await traced.one("run"), await traced.one("queue")
    assert ids(request)[0] == TRACE
    assert ids(request)[2] == CLIENT
    assert ids(call)[::2] == (TRACE, ids(request)[1])
    assert ids(run)[::2] == ids(queue)[::2] == (TRACE, ids(call)[1])
    assert request.kind is SpanKind.SERVER
    assert request.name == "POST /functions/{function_id}/call"
    assert told(request) == {
        "http.request.method": "POST",
        "http.route": "/functions/{function_id}/call",
        "http.response.status_code": 201,
        "url.path": f"/api/v1/projects/{PROJECT}/functions/{function.record.id}/call",
        "kvern.request_id": answer.headers["x-request-id"],
    }
    assert call.name == "call mean"
    assert told(call) == {
        "kvern.project": PROJECT,
        "kvern.function.id": function.record.id,
        "kvern.function.external_id": "the-mean",
        "faas.name": "mean",
        "faas.trigger": "http",
        "faas.coldstart": True,
        "kvern.call.id": answer.json()["id"],
        "kvern.call.status": "Completed",
        "kvern.call.verdict": "returned",
        "kvern.call.attempt": 1,
    }
    assert [event.name for event in call.events] == ["accepted"]
    assert told(run)["kvern.cpu_seconds"] == 0.5
    assert told(run)["kvern.worker"] == "w/1"
    assert call.status.status_code is StatusCode.UNSET


async def test_the_handler_is_told_of_its_run(traced: Traced) -> None:
    function = await traced.p.function()
    traced.p.engine.endings.append(Outcome(Verdict.RETURNED, b"1", worker="w/1"))
    answer = await traced.web.call(function, headers=TRACED)
    run = await traced.one("run")
    order = traced.p.engine.order(answer.json()["id"])
    assert order.traceparent is not None
    assert order.traceparent.split("-")[:3] == ["00", *ids(run)[:2]]
    assert int(order.traceparent.split("-")[3], 16) & 1


async def test_the_parts_of_a_call_lie_within_it_one_after_the_other(traced: Traced) -> None:
    function = await traced.p.function()
    traced.p.engine.endings.append(
        Outcome(Verdict.RETURNED, b"1", queue_seconds=3600, run_seconds=0.000_001, worker="w/1")
    )
    await traced.web.call(function)
    call, queue, run = await traced.one("call"), await traced.one("queue"), await traced.one("run")
    moments = [call.start_time, queue.start_time, queue.end_time, run.end_time, call.end_time]
    assert moments == sorted(moments, key=lambda moment: moment or 0)
    assert queue.end_time == run.start_time
    assert (run.end_time or 0) - (run.start_time or 0) == 1000


async def test_a_request_without_a_trace_begins_one(traced: Traced) -> None:
    for headers in ({}, {"traceparent": "00-nonsense-01"}, {"traceparent": f"00-{'0' * 32}-{CLIENT}-01"}):
        await traced.web.get("/functions", headers=headers)
    spans = traced.spans("GET")
    assert [span.parent for span in spans] == [None, None, None]
    assert len({ids(span)[0] for span in spans}) == 3


async def test_a_trace_that_the_client_does_not_record_is_not_recorded_but_goes_on(traced: Traced) -> None:
    function = await traced.p.function()
    traced.exporter.clear()
    answer = await traced.web.call(function, headers=UNSAMPLED)
    assert answer.status_code == 201
    await until(lambda: function.running == 0)
    assert [span.name for span in traced.exporter.get_finished_spans() if ids(span)[0] == TRACE] == []
    order = traced.p.engine.order(answer.json()["id"])
    assert order.traceparent is not None
    version, trace, _, flags = order.traceparent.split("-")
    assert (version, trace) == ("00", TRACE)
    assert int(flags, 16) & 1 == 0


async def test_every_attempt_has_parts_of_its_own(traced: Traced) -> None:
    function = await traced.p.function(retries=Retries(attempts=2, delay_seconds=10, jitter=0))
    for ending in (
        Outcome(Verdict.RAISED, message="a s3cret", worker="w/1"),
        Outcome(Verdict.RETURNED, b"1", worker="w/1"),
    ):
        traced.p.engine.endings.append(ending)
    live = await traced.p.call(function)
    await until(lambda: live.record.next_attempt_time is not None)
    await until(lambda: traced.p.clock._sleepers)
    await traced.p.clock.advance(10_000)
    await asyncio.wait_for(live.ended, 5)

    call = await traced.one("call")
    runs = traced.spans("run")
    assert [told(run)["kvern.call.attempt"] for run in runs] == [1, 2]
    assert [run.status.status_code for run in runs] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [told(run)["kvern.call.verdict"] for run in runs] == ["raised", "returned"]
    parents = [order.traceparent for order in traced.p.engine.orders]
    assert [parent.split("-")[2] for parent in parents if parent] == [ids(run)[1] for run in runs]
    assert told(call)["kvern.call.attempt"] == 2
    assert call.status.status_code is StatusCode.UNSET


async def test_a_call_that_never_began_has_no_run(traced: Traced) -> None:
    function = await traced.p.function()
    traced.p.engine.room = False
    live = await traced.p.call(function)
    await until(lambda: live.record.id in traced.p.engine.running)
    await traced.p.service.calls.cancel(PROJECT, function.record.id, live.record.id)
    call = await traced.one("call")
    assert told(call)["kvern.call.verdict"] == "cancelled"
    assert call.status.status_code is StatusCode.ERROR
    assert traced.spans("queue")
    assert not traced.spans("run")


async def test_a_call_that_could_not_be_kept_says_so(traced: Traced) -> None:
    function = await traced.p.function()
    traced.p.store.refusing = True
    with pytest.raises(StoreFault):
        await traced.p.call(function)
    traced.p.store.refusing = False
    call = await traced.one("call")
    assert [event.name for event in call.events] == ["not accepted"]
    assert "kvern.call.status" not in told(call)


async def test_a_tick_is_a_trace_of_its_own_to_which_its_call_belongs(traced: Traced) -> None:
    function = await traced.p.function(name="mean")
    schedule = await traced.p.schedule(function)
    traced.exporter.clear()
    await traced.p.clock.advance(60_000)
    tick, call = await traced.one("tick a schedule"), await traced.one("call mean")
    assert tick.parent is None
    assert ids(call)[::2] == ids(tick)[:2]
    assert told(tick)["kvern.schedule.id"] == told(call)["kvern.schedule.id"] == schedule.id
    assert told(tick)["kvern.tick.outcome"] == "ran"
    assert told(call)["faas.trigger"] == "timer"
    assert tick.status.status_code is StatusCode.UNSET


async def test_a_deployment_is_told_with_its_end(traced: Traced) -> None:
    await traced.p.function(name="good")
    traced.p.builder.fails = BuildError("no such package")
    await traced.p.create(name="bad")
    good, bad = await traced.one("build good"), await traced.one("build bad")
    assert [told(span)["kvern.function.status"] for span in (good, bad)] == ["Ready", "Failed"]
    assert [span.status.status_code for span in (good, bad)] == [StatusCode.UNSET, StatusCode.ERROR]


# What is told, and what not


async def test_no_data_response_message_or_token_is_in_a_span(traced: Traced) -> None:
    function = await traced.p.function()
    traced.p.engine.endings.extend([returned(b'"s3cret"'), raised("ValueError: s3cret", "s3cret")])
    for _ in range(2):
        await traced.web.call(function, {"data": {"a": "s3cret"}, "nonce": None}, headers={"x-other": "s3cret"})
    await until(lambda: len(traced.spans("call")) == 2)
    await traced.web.get("//api/v1/files/download/s3cret?also=s3cret")
    for span in traced.exporter.get_finished_spans():
        text = span.to_json()
        assert "s3cret" not in text
        assert traced.web.token not in text
    assert len(traced.spans("GET /api/v1/files/download/{proof}")) == 1


async def test_our_fault_is_an_error_and_a_clients_mistake_is_none(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    await traced.web.get("/functions/1")
    await traced.web.get("//nowhere")

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Functions, "get", broken)
    await traced.web.get("/functions/1")
    spans = traced.spans("GET")
    assert [told(span)["http.response.status_code"] for span in spans] == [404, 404, 500]
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    assert [span.name for span in spans] == ["GET /functions/{function_id}", "GET", "GET /functions/{function_id}"]


async def test_probes_are_not_traced(traced: Traced) -> None:
    for path in ("//health", "//ready", "//metrics"):
        await traced.web.get(path, headers=TRACED)
    assert traced.exporter.get_finished_spans() == ()


async def test_the_operators_own_words_count(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "functions-north")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=plant")
    traced = Traced(web)
    await web.get("/functions")
    (span,) = traced.spans("GET")
    assert span.resource.attributes["service.name"] == "functions-north"
    assert span.resource.attributes["deployment.environment.name"] == "plant"


# Whoever takes them


class Stuck(SpanExporter):
    """Takes spans and does not come back until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.go.wait(30)
        self.count += len(spans)
        return SpanExportResult.SUCCESS


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise OSError("the receiver is away")


async def test_a_receiver_that_is_stuck_costs_spans_and_no_call(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_LAST", 0.01)
    stuck = Stuck()
    most = 8
    tracer = OtelTracer(
        BatchSpanProcessor(stuck, max_queue_size=most, max_export_batch_size=4, schedule_delay_millis=1)
    )
    web.p.service.observer.tracer = tracer
    function = await web.p.function()
    try:
        for number in range(20):
            assert (await web.call(function)).json()["status"] == "Completed", number
        assert await asyncio.to_thread(stuck.entered.wait, 5)
        await tracer.close()
        assert "could not be sent" in caplog.text
        assert (await web.call(function)).json()["status"] == "Completed"
    finally:
        stuck.go.set()
    await until(lambda: stuck.count)
    assert stuck.count <= most + 4


async def test_an_exporter_that_fails_is_for_the_log_alone(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    tracer = OtelTracer(BatchSpanProcessor(Broken(), schedule_delay_millis=1))
    web.p.service.observer.tracer = tracer
    function = await web.p.function()
    assert (await web.call(function)).json()["status"] == "Completed"
    await tracer.close()
    assert "the receiver is away" in caplog.text


async def test_closing_sends_what_has_ended(web: Web) -> None:
    exporter = InMemorySpanExporter()
    web.p.service.observer.tracer = tracer = OtelTracer(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    await web.get("/functions")
    assert exporter.get_finished_spans() == ()
    await tracer.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /functions"]


# When there are any


URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("setting", "environ", "wanted"),
    [
        (None, {}, False),
        (None, {"OTEL_SERVICE_NAME": "kvern"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": "true"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        (URL, {}, True),
    ],
)
async def test_traces_are_made_where_they_are_asked_for(
    setting: str | None, environ: dict[str, str], wanted: bool
) -> None:
    tracer = open_tracer(Settings(otlp_endpoint=setting), environ)
    assert (tracer is not None) is wanted
    if tracer is not None:
        await tracer.close()


def test_without_its_packages_a_setting_is_refused_and_a_variable_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "kvern.server.otel", None)
    with pytest.raises(ValueError, match=r"install kvern\[otel\]"):
        open_tracer(Settings(otlp_endpoint=URL), {})
    assert open_tracer(Settings(), {"OTEL_EXPORTER_OTLP_ENDPOINT": URL}) is None
    assert "install kvern[otel]" in caplog.text


async def test_without_a_tracer_no_call_is_told_of_a_trace(web: Web) -> None:
    function = await web.p.function()
    answer = await web.call(function, headers=TRACED)
    assert web.p.engine.order(answer.json()["id"]).traceparent is None
