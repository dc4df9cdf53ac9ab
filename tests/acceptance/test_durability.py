"""What was answered is kept, every call ends once, and nothing is left behind (contract 11.7)."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server, until

SLEEPER = """
    import time
    def handle(data):
        print("began", flush=True)
        with open("/tmp/count", "a") as file:
            file.write("x")
        time.sleep(data.get("seconds", 0))
        return data
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that these tests may kill; one worker a function, so that calls queue."""
    folder = tmp_path_factory.mktemp("durable")
    with Server(folder, "--workers-per-function", "1", "--drain-seconds", "2") as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def sleeper(server: Server) -> int:
    with Api(server.environment()) as bare:
        return bare.ready(SLEEPER, externalId="sleeper", secrets={"k": "v"})


def statuses(api: Api, function_id: int, ids: list[int]) -> list[str]:
    body = {"items": [{"id": number} for number in ids]}
    answer = api.post(f"/functions/{function_id}/calls/byids", body)
    assert answer.status_code == 200, answer.text
    return [call["status"] for call in answer.json()["items"]]


def test_a_kill_leaves_no_call_running_loses_none_and_runs_none_twice(server: Server, api: Api, sleeper: int) -> None:
    path = f"/functions/{sleeper}"
    done = api.call(sleeper, {"n": "before"})
    begun = api.post(f"{path}/call", {"data": {"seconds": 30}}).json()
    until(lambda: api.logs(begun) == ["began"], 10, "the call has begun")
    waiting = [api.post(f"{path}/call", {"data": {"n": n}}).json()["id"] for n in range(5)]
    boxes = server.processes()
    assert boxes

    server.kill()
    until(lambda: not server.processes(), 10, "everything that the server started is gone")
    server.start()

    def all_ended() -> bool:
        return "Running" not in statuses(api, sleeper, [begun["id"], *waiting])

    until(all_ended, 30, "every call has ended")
    assert statuses(api, sleeper, waiting) == ["Completed"] * 5
    interrupted = api.get(f"{path}/calls/{begun['id']}").json()
    assert interrupted["status"] == "Failed"
    assert "restart" in interrupted["error"]["message"]
    assert api.get(f"{path}/calls/{done['id']}").json() == done
    assert api.response(done) == {"n": "before"}
    assert api.logs(done) == ["began"]
    for number in waiting:
        assert api.logs({"functionId": sleeper, "id": number}) == ["began"]
    assert api.get("/functions/" + str(sleeper)).json()["status"] == "Ready"


def test_what_was_answered_before_a_kill_is_there_after_it(server: Server, api: Api, sleeper: int) -> None:
    nonce = api.post("/sessions", {"items": [{"tokenExchange": True}]}).json()["items"][0]["nonce"]
    file_id = api.upload(b"\0\1\2")
    body = {"name": "s", "functionId": sleeper, "cronExpression": "5 4 * * *", "data": {"Key": [1]}}
    schedule = api.post("/functions/schedules", {"items": [body]}).json()["items"][0]
    server.kill()
    server.start()
    assert api.post(f"/functions/{sleeper}/call", {"nonce": nonce}).status_code == 201
    assert api.get(f"/files/{file_id}").json()["uploaded"] is True
    assert api.get(f"/functions/schedules/{schedule['id']}").json() == schedule
    assert api.get(f"/functions/schedules/{schedule['id']}/input_data").json()["data"] == {"Key": [1]}
    link = api.post("/files/downloadlink", {"items": [{"id": file_id}]}).json()["items"][0]["downloadUrl"]
    assert api.http.get(link).content == b"\0\1\2"


def test_a_deployment_that_was_cut_short_is_done_after_the_restart(server: Server, api: Api) -> None:
    made = api.create(bundle(handler="def handle(): return 'late'", requirements="inflection==0.5.1\n"))
    server.kill()
    server.start()

    def ended() -> bool:
        return api.get(f"/functions/{made['id']}").json()["status"] in ("Ready", "Failed")

    until(ended, 60, "the deployment has ended")
    assert api.response(api.call(made["id"])) == "late"
    api.delete(made["id"])
    # The function is Ready before the last of its building folders is gone.
    until(lambda: not any((server.data / "build" / "staging").iterdir()), 20, "nothing is left in staging")


def test_deleting_a_function_stops_its_calls_and_frees_its_name_at_once(api: Api, server: Server) -> None:
    function_id = api.ready(SLEEPER, externalId="gone")
    api.post(f"/functions/{function_id}/call", {"data": {"seconds": 60}})
    api.delete(function_id)
    assert api.get(f"/functions/{function_id}").status_code == 404
    again = api.ready("def handle(): return 'new'", externalId="gone")
    assert api.response(api.call(again)) == "new"
    api.delete(again)


def test_a_deployment_is_cancelled_by_deleting_its_function(api: Api) -> None:
    made = api.create(bundle(handler="def handle(): return 1", requirements="pandas\n"), externalId="cancelled")
    api.delete(made["id"])
    assert api.get(f"/functions/{made['id']}").status_code == 404


def test_too_many_running_calls_are_refused_before_anything_happens(api: Api, server: Server) -> None:
    function_id = api.ready(SLEEPER)
    path = f"/functions/{function_id}/call"
    accepted = [api.post(path, {"data": {"seconds": 60}}).status_code for _ in range(100)]
    assert accepted == [201] * 100
    refused = api.post(path, {})
    assert refused.status_code == 429
    assert "100" in refused.json()["error"]["message"]
    api.delete(function_id)


def test_secrets_and_keys_are_private_and_not_in_plain_on_disk(server: Server, api: Api) -> None:
    function_id = api.ready("def handle(secrets): return secrets['key']", secrets={"key": "correct horse battery"})
    assert api.response(api.call(function_id)) == "correct horse battery"
    api.delete(function_id)
    api.ready("def handle(): return 1", secrets={"key": "a staple of secrets"})
    for path in server.data.rglob("*"):
        if path.is_file() and "environments" not in path.parts:
            assert b"a staple of secrets" not in path.read_bytes(), path
    for name in ("client.json", "keys/issuer.pem", "keys/links.key", "keys/master.key", "kvern.db"):
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert "a staple of secrets" not in server.log.read_text()


def test_a_second_server_on_the_same_data_is_refused(server: Server) -> None:
    second = Server(server.data.parent)
    with pytest.raises(AssertionError, match="in use by another kvern service"):
        second.start()


def test_sigterm_drains_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Server(tmp_path, "--drain-seconds", "20") as server:
        with Api(server.environment()) as api:
            function_id = api.ready(SLEEPER)
            call = api.post(f"/functions/{function_id}/call", {"data": {"seconds": 1.5}}).json()
            until(lambda: api.logs(call) == ["began"], 10, "the call has begun")
        assert server.process is not None
        assert server.stop(signal.SIGTERM) == 0
        assert server.processes() == []
        assert not control_groups_of(server.process.pid)
        assert [path for path in (server.data / "run").rglob("*") if not path.is_dir()] == []
        server.start()
        with Api(server.environment()) as api:
            ended = api.get(f"/functions/{function_id}/calls/{call['id']}").json()
            assert ended["status"] == "Completed"
        assert server.stop(signal.SIGINT) == 0
        assert server.processes() == []


def control_groups_of(server: int) -> list[str]:
    """Control groups that the server with this process id made."""
    mark = f"kvern-{server}-"
    return [
        os.path.join(folder, name)
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(mark)
    ]
