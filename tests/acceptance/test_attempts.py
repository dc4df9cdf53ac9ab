"""Beyond the contract: cancelling, idempotency keys, retries, soft deadlines, running again; also through a kill."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import KVERN, Server, until
from tests.environments import ROOT

FAILS = """
    import sys
    def handle(data):
        print("tried", flush=True)
        if data.get("fails"):
            raise ValueError("no")
        return data
"""

FORKS = """
    import subprocess, sys, time
    def handle(data):
        mark = data["mark"]
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", mark])
        print("began", flush=True)
        time.sleep(600)
"""

SAVES = """
    import time
    def handle(function_call_info):
        began = time.time()
        try:
            time.sleep(600)
        except TimeoutError as error:
            return [str(error), function_call_info["deadline"] / 1000 - began]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that these tests may kill, with a short time limit."""
    with Server(tmp_path_factory.mktemp("attempts"), "--timeout-minutes", "0.5") as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


def path(call: dict[str, Any]) -> str:
    return f"/functions/{call['functionId']}/calls/{call['id']}"


def marked(mark: str) -> list[Path]:
    """Processes with a word in their command line."""
    found: list[Path] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry)
            except OSError:
                continue
    return found


def test_a_cancelled_call_leaves_nothing_behind(api: Api) -> None:
    mark = "kvern-test-cancelled-child"
    function_id = api.ready(FORKS)
    call = api.post(f"/functions/{function_id}/call", {"data": {"mark": mark}}).json()
    until(lambda: api.logs(call) == ["began"] and marked(mark), 20, "the call has begun")
    ended = api.post(f"{path(call)}/cancel")
    assert ended.status_code == 200, ended.text
    assert (ended.json()["status"], ended.json()["outcome"]["verdict"]) == ("Failed", "cancelled")
    until(lambda: not marked(mark), 5, "what the call started is gone")
    assert api.post(f"{path(call)}/cancel").json() == ended.json()
    assert api.get(path(call)).json() == ended.json()


def test_a_soft_deadline_lets_the_handler_save_its_state(api: Api) -> None:
    function_id = api.ready(SAVES, softDeadlineSeconds=29)
    call = api.call(function_id)
    assert call["status"] == "Completed", call
    message, left = api.response(call)
    assert message == "the soft deadline has passed, the call is stopped in 29 s"
    assert 29 < left < 31


def test_the_handler_that_the_documentation_shows_stops_in_time(api: Api) -> None:
    page = (ROOT / "docs" / "calls.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    call = api.call(api.ready(shown, softDeadlineSeconds=29), {"steps": [0.01, 600]})
    assert call["status"] == "Completed", call
    told = api.response(call)
    assert told["done"] == [0.01]
    assert told["stopped_at"] > call["endTime"]


def test_a_kill_between_attempts_and_a_key_that_is_used_again(server: Server, api: Api) -> None:
    retries = {"attempts": 2, "delaySeconds": 4, "jitter": 0, "on": ["raised", "interrupted"]}
    function_id = api.ready(FAILS, retries=retries)
    calls = f"/functions/{function_id}/calls"
    body = {"data": {"fails": True}}
    headers = {"idempotency-key": "once", "prefer": "wait=1"}
    made = api.post(f"/functions/{function_id}/call", body, headers=headers).json()
    waiting = until(
        lambda: next((c for c in [api.get(path(made)).json()] if "nextAttemptTime" in c), None), 10, "it was put off"
    )
    assert waiting["status"] == "Running"
    server.kill()
    server.start()
    ended = api.ended(made)
    assert (ended["status"], ended["outcome"]["attempt"], ended["outcome"]["verdict"]) == ("Failed", 2, "raised")
    assert ended["endTime"] >= waiting["nextAttemptTime"]
    attempts = api.get(f"{path(made)}/attempts").json()["items"]
    assert [one["outcome"]["verdict"] for one in attempts] == ["raised", "raised"]
    assert api.logs(made).count("tried") == 2
    first = [one["message"] for one in api.get(f"{path(made)}/logs?attempt=1").json()["items"]]
    assert first[0] == "tried"
    assert first[-1] == "ValueError: no"
    assert [one["id"] for one in api.get(f"{calls}/dead").json()["items"]] == [made["id"]]
    again = api.post(f"/functions/{function_id}/call", body, headers=headers)
    assert (again.status_code, again.json()) == (201, ended)
    redriven = api.post(f"{calls}/redrive", {"items": [{"id": made["id"]}]})
    assert redriven.status_code == 201, redriven.text
    (new,) = redriven.json()["items"]
    assert new["rerunOf"] == made["id"]
    assert api.post(f"{path(new)}/cancel").json()["outcome"]["verdict"] == "cancelled"
    assert api.get(f"{calls}/dead").json() == {"items": []}
    good = api.call(function_id, {"a": 1})
    rerun = api.ended(api.post(f"{path(good)}/rerun").json())
    assert (rerun["rerunOf"], rerun["status"], api.response(rerun)) == (good["id"], "Completed", {"a": 1})


def test_the_command_line_cancels_redrives_and_runs_again(server: Server, api: Api) -> None:
    function_id = api.ready(FAILS, externalId="flaky", retries={"attempts": 1})

    def kvern(*words: str, verb: str = "calls") -> Any:
        options = ("--data-dir", str(server.data), "--json")
        ran = subprocess.run([KVERN, verb, *words, *options], capture_output=True, text=True, check=True)
        return json.loads(ran.stdout)

    made = kvern("flaky", "--idempotency-key", "once", "--no-wait", verb="call")
    body, headers = {"data": {}}, {"idempotency-key": "once"}
    assert api.post(f"/functions/{function_id}/call", body, headers=headers).json()["id"] == made["id"]
    failed = api.call(function_id, {"fails": True})
    assert [one["id"] for one in kvern("dead", "flaky")] == [failed["id"]]
    (again,) = kvern("redrive", str(failed["id"]))
    assert again["rerunOf"] == failed["id"]
    good = api.call(function_id)
    assert kvern("rerun", str(good["id"]))[0]["rerunOf"] == good["id"]
    slow = api.post(f"/functions/{api.ready(SAVES)}/call", {}).json()
    assert kvern("cancel", str(slow["id"]))[0]["outcome"]["verdict"] == "cancelled"
