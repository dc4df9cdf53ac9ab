"""What the machine may run out of while the service runs: nothing half done, nothing lost, and well again by itself."""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server, until

ECHO = """
    def handle(data):
        print("said", data["n"])
        return data
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def echo(server: Server) -> int:
    with Api(server.environment()) as bare:
        return bare.ready(ECHO, externalId="echo")


@contextmanager
def limited(server: Server, kind: int, most: int) -> Iterator[None]:
    """The running service may have at most so much of something."""
    assert server.process is not None
    soft, hard = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, (soft, hard))


def attempt(api: Api, echo: int, n: int) -> httpx2.Response | None:
    """A call on a connection of its own, waited for; None when the connection was cut."""
    with httpx2.Client(timeout=20) as http:
        try:
            url = f"{api.base}/functions/{echo}/call"
            return http.post(url, json={"data": {"n": n}}, headers={**api.headers, "prefer": "wait=10"})
        except httpx2.TransportError:
            return None


def recovered(api: Api, echo: int) -> float:
    """Seconds until a call completes again."""
    began = time.monotonic()

    def completes() -> bool:
        answer = attempt(api, echo, 0)
        return answer is not None and answer.status_code == 201 and answer.json()["status"] == "Completed"

    until(completes, 20, "calls complete again")
    return time.monotonic() - began


def ended(api: Api, echo: int) -> dict[int, str]:
    """Every call of the function with its status, once none runs."""

    def none_runs() -> bool:
        query = {"filter": {"status": "Running"}}
        return not api.post(f"/functions/{echo}/calls/list", query).json()["items"]

    until(none_runs, 20, "every call has ended")
    items = api.get(f"/functions/{echo}/calls?limit=1000").json()["items"]
    return {call["id"]: call["status"] for call in items}


def test_file_descriptors_run_out(server: Server, api: Api, echo: int) -> None:
    assert server.process is not None
    used = {int(name) for name in os.listdir(f"/proc/{server.process.pid}/fd")}
    limit = next(number for number in itertools.count() if number not in used) + 2
    answers: list[httpx2.Response | None] = []
    held: list[httpx2.Client] = []
    with limited(server, resource.RLIMIT_NOFILE, limit):
        has_run_out = False
        while not has_run_out and len(held) <= limit:  # each keeps its connection, and with it one descriptor
            held.append(httpx2.Client(timeout=3))
            try:
                held[-1].get(f"{api.root}/health")
            except httpx2.TransportError:
                has_run_out = True
        answers.extend(attempt(api, echo, n) for n in range(5))
        for http in held:
            http.close()
    seconds = recovered(api, echo)
    print(f"calls completed again {seconds:.2f} s after there were descriptors again")
    assert has_run_out
    calls = ended(api, echo)
    for answer in answers:
        if answer is not None and answer.status_code == 201:
            assert answer.json()["id"] in calls
    assert set(calls.values()) == {"Completed"}
    assert api.call(api.ready(ECHO, externalId="after-descriptors"), {"n": 1})["status"] == "Completed"


def test_the_disk_takes_no_more(server: Server, api: Api, echo: int) -> None:
    """As a full disk does: every write that would make a file larger is refused."""
    kept = api.call(echo, {"n": 7})
    before = ended(api, echo)
    largest = max(path.stat().st_size for path in server.data.glob("kvern.db*"))
    answers: list[httpx2.Response | None] = []
    with limited(server, resource.RLIMIT_FSIZE, min(4096, largest)):
        answers.extend(attempt(api, echo, n) for n in range(5))
        refused = api.http.post(f"{api.base}/files", json={"name": "code.zip"}, headers=api.headers)
        assert api.get(f"/functions/{echo}/calls/{kept['id']}").json() == kept
    seconds = recovered(api, echo)
    print(f"calls completed again {seconds:.2f} s after the disk took writes again")
    for answer in answers:
        assert answer is not None
        assert answer.status_code == 500, answer.text
        assert answer.json()["error"]["message"]
    assert refused.status_code == 500
    after = ended(api, echo)
    assert len(after) == len(before) + 1, "expected nothing of the refused calls to be left"
    assert set(after.values()) == {"Completed"}
    assert api.response(kept) == {"n": 7}


def test_the_folder_of_deployments_is_full(server: Server, api: Api) -> None:
    with limited(server, resource.RLIMIT_FSIZE, 100):
        answer = api.post("/files", {"name": "code.zip"})
        if answer.status_code == 201:
            put = api.http.put(answer.json()["uploadUrl"], content=bundle(handler=ECHO))
            assert put.status_code == 500, put.text
        else:
            assert answer.status_code == 500
    function = api.ready(ECHO, externalId="after-the-disk-was-full")
    assert api.call(function, {"n": 2})["status"] == "Completed"
    assert not list((server.data / "blobs" / "incoming").iterdir())
