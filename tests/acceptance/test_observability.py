"""What operators see of a real server: metrics on a port of their own, its log, and when it is not ready."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import httpx2

from tests.acceptance.api import Api
from tests.acceptance.server import Server, until
from tests.acceptance.test_build import Index, serving, wheel

WAITING = """
    import time
    def handle(data):
        print("began", flush=True)
        while data:
            time.sleep(0.01)
"""


def test_metrics_log_and_readiness_of_a_server_from_its_start_to_its_end(tmp_path: Path) -> None:
    options = ("--metrics-port", "0", "--log-format", "json", "--access-log", "--drain-seconds", "30")
    with (
        serving(Index(wheel("cognite_sdk", "99.0"))) as index,
        Server(tmp_path, *options, extra_env={"KVERN_BUILD_CACHE": str(tmp_path / "cache")}) as server,
        Api(server.environment()) as api,
    ):
        function_id = api.ready(WAITING, files={"requirements": "cognite-sdk\n"}, indexUrl=index.url)
        api.call(function_id)
        assert httpx2.get(f"{server.url}/ready").json() == {"status": "ready", "reasons": {}}

        address = re.search(r"metrics +(http://\S+)", server.log.read_text())
        assert address
        shown = httpx2.get(address[1])
        assert shown.headers["content-type"].startswith("text/plain")
        assert 'kvern_calls_ended_total{project="kvern",status="Completed",verdict="returned"} 1.0' in shown.text
        assert httpx2.get(f"{server.url}/metrics").status_code == 401
        assert httpx2.get(address[1].removesuffix("metrics") + "health").status_code == 404

        call = api.post(f"/functions/{function_id}/call?secret=word", {"data": {"wait": True}})
        until(lambda: api.logs(call.json()) == ["began"], 10, "the call has begun")
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)

        def draining() -> bool:
            ready = httpx2.get(f"{server.url}/ready")
            return (ready.status_code, ready.json().get("reasons")) == (503, {"service": "it is draining"})

        until(draining, 10, "it says that it is draining")
        assert httpx2.get(f"{server.url}/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)  # in a hurry: the call is not waited for
        assert server.process.wait(timeout=40) == 0

    log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    access = [line for line in lines if line["logger"] == "kvern.access"]
    told = next(line for line in access if line["request_id"] == call.headers["x-request-id"])
    assert (told["method"], told["status"], told["route"]) == ("POST", 201, "/functions/{function_id}/call")
    assert told["path"].endswith(f"/functions/{function_id}/call")
    assert told["milliseconds"] > 0
    assert any(line["message"].startswith("stopping") for line in lines)
    for secret in ("secret=word", api.token, api.env["IDP_CLIENT_SECRET"]):
        assert secret not in log
