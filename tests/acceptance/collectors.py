"""A receiver of OTLP over HTTP in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received:
    """A span as it came: its ids in hex, its name, its attributes, and the service that sent it."""

    def __init__(self, span: Any, service: str) -> None:
        self.name: str = span.name
        self.trace: str = span.trace_id.hex()
        self.id: str = span.span_id.hex()
        self.parent: str = span.parent_span_id.hex()
        self.service = service
        self.attributes = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano


class Collector:
    """Listens on a free port of this machine, and keeps what it is sent; while it is `deaf`, it never answers."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.deaf = False
        self._over = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if collector.deaf:
                    collector._over.wait(30)
                    return
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                collector.spans.extend(_received(request))
                body = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Not told."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def one(self, trace: str, name: str) -> Received:
        """The span of a trace whose name begins so."""
        (found,) = [span for span in self.spans if span.trace == trace and span.name.startswith(name)]
        return found


def _received(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for group in request.resource_spans:
        named = {one.key: one.value.string_value for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Received(span, named["service.name"])
