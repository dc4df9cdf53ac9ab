"""A trace from a client through the service into a handler, as a collector receives it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.api import Api
from tests.acceptance.collectors import Collector
from tests.acceptance.server import Server
from tests.environments import ROOT

CLIENT_TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

TELLS = """
    import os
    def handle(function_call_info):
        return [os.environ.get("TRACEPARENT"), sorted(name for name in os.environ if name.startswith("OTEL_"))]
"""


def test_a_trace_goes_from_the_client_through_the_service_into_the_handler_and_a_dead_end_disturbs_nothing(
    tmp_path: Path,
) -> None:
    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        with Server(tmp_path, extra_env=environment) as server, Api(server.environment()) as api:
            function = api.ready(TELLS, name="tells")
            headers = {"traceparent": f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"}
            call = api.call(function, headers=headers)
            seen, leaked = api.get(f"/functions/{function}/calls/{call['id']}/response").json()["response"]
            untraced = api.call(function)
            other, _ = api.get(f"/functions/{function}/calls/{untraced['id']}/response").json()["response"]
            assert server.stop() == 0
            received = list(collector.spans)

            collector.deaf = True
            server.start()
            assert api.call(function)["status"] == "Completed"
            assert server.stop() == 0
            assert "the last spans could not be sent" in server.log.read_text()
            assert collector.spans == received
            collector.deaf = False

        request = collector.one(CLIENT_TRACE, "POST /functions/{function_id}/call")
        its, run = collector.one(CLIENT_TRACE, "call tells"), collector.one(CLIENT_TRACE, "run")
        queue = collector.one(CLIENT_TRACE, "queue")
        assert [request.parent, its.parent, run.parent, queue.parent] == [CLIENT_SPAN, request.id, its.id, its.id]
        assert seen.split("-")[:3] == ["00", CLIENT_TRACE, run.id]
        assert its.began <= queue.began <= queue.ended == run.began < run.ended <= its.ended
        assert its.attributes["kvern.call.id"] == call["id"]
        assert its.attributes["kvern.call.status"] == "Completed"
        assert its.service == "kvern"
        assert leaked == []

        trace, run_id = other.split("-")[1:3]
        assert trace != CLIENT_TRACE
        assert collector.one(trace, "run").id == run_id
        assert [span.name for span in collector.spans if span.name.startswith("build")] == ["build tells"]

        (example,) = (text for text in BLOCK.findall((ROOT / "docs" / "observability.md").read_text("utf-8")))
        program = f"{example}\nassert handle({{'values': [1, 2, 3]}}) == 2"
        handlers = {**os.environ, "TRACEPARENT": seen, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        subprocess.run([sys.executable, "-c", program], check=True, env=handlers, timeout=60)
        assert collector.one(CLIENT_TRACE, "mean of values").parent == run.id


def test_a_service_that_makes_no_traces_does_not_load_what_they_take() -> None:
    program = """
import sys
import kvern.cli.app, kvern.server.run
from kvern.settings import Settings
assert kvern.server.run.open_tracer(Settings(), {}) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
