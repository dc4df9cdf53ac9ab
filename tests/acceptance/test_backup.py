"""`kvern backup` of a service that is at work, and `kvern restore`: what was answered before is there, and runs."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import KVERN, Server, until
from tests.acceptance.test_build import Index, serving, wheel

HANDLER = """
    import alpha
    def handle(data, secrets):
        print("asked", data)
        return {"data": data, "secret": secrets["key"], "package": alpha.__name__}
"""


def kvern(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("KVERN_")}
    ran = subprocess.run([KVERN, *map(str, words)], capture_output=True, text=True, check=False, env=env)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def content(api: Api, file_id: int) -> bytes:
    link = api.post("/files/downloadlink", {"items": [{"id": file_id}]}).json()["items"][0]["downloadUrl"]
    return bytes(api.http.get(link).content)


@contextmanager
def at_work(server: Server, function_id: int) -> Iterator[dict[str, int]]:
    """Calls, uploads, deletions and changes of the master key, one after the other in threads, until the end."""
    over = threading.Event()
    count = {"calls": 0, "files": 0, "keys": 0}

    def calls(api: Api) -> None:
        assert api.call(function_id, {"n": -1})["status"] == "Completed"

    def files(api: Api) -> None:
        file_id = api.upload(os.urandom(20_000))
        assert api.post("/files/delete", {"items": [{"id": file_id}]}).status_code == 200

    def keys(api: Api) -> None:
        assert api.post("/kvern/secrets/rotate-master").status_code == 200

    def again(name: str, work: Any) -> None:
        with Api(server.environment()) as api:
            while not over.is_set():
                work(api)
                count[name] += 1

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(again, work.__name__, work) for work in (calls, files, keys)]
        try:
            until(lambda: all(count.values()) or any(each.done() for each in running), 30, "all of it goes on")
            yield count
        finally:
            over.set()
        for each in running:
            each.result()


@pytest.mark.timeout(300)
def test_a_service_at_work_is_backed_up_and_restored_elsewhere(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    file, new = tmp_path / "kvern.tar", tmp_path / "second" / "data"
    with Server(tmp_path / "first", extra_env={"KVERN_BUILD_CACHE": str(tmp_path / "cache")}) as server:
        with (
            serving(Index(wheel("cognite_sdk", "99.0"), wheel("alpha", "1.0"))) as index,
            Api(server.environment()) as api,
        ):
            function_id = api.ready(
                HANDLER,
                externalId="f",
                files={"requirements": "alpha\ncognite-sdk\n"},
                indexUrl=index.url,
                secrets={"key": "s3cret"},
            )
            until(lambda: list((server.data / "build" / "wheels").glob("*.json")), 20, "the wheels are kept")
            calls = [api.call(function_id, {"n": n}) for n in range(5)]
            uploaded = {n: os.urandom(100_000) for n in range(3)}
            ids = {n: api.upload(given, f"file {n}") for n, given in uploaded.items()}
            nonce = api.post("/sessions", {"items": [{"tokenExchange": True}]}).json()["items"][0]["nonce"]
            body = {"name": "s", "functionId": function_id, "cronExpression": "5 4 * * *", "nonce": nonce}
            schedule = api.post("/functions/schedules", {"items": [body]}).json()["items"][0]
            logs = [api.logs(call) for call in calls]

        with at_work(server, function_id) as count:
            before = dict(count)
            told = json.loads(kvern("backup", file, "--data-dir", server.data, "--json").stdout)
            until(lambda: all(count[name] > before[name] for name in count), 30, "the service went on meanwhile")
        assert (told["lostBlobs"], told["needIndex"], told["notes"]) == ([], 0, [])
        assert told["size"] == file.stat().st_size
        assert "a service runs on" in kvern("restore", file, "--data-dir", server.data, code=1).stderr
        assert list((server.data / "build" / "staging").iterdir()) == []

    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    assert "it is damaged" in kvern("restore", tmp_path / "damaged.tar", "--data-dir", new, code=1).stderr
    assert not new.exists()

    kvern("restore", file, "--data-dir", new)
    # Neither the index nor the cache of the packages is there any more.
    with (
        Server(tmp_path / "second", extra_env={"KVERN_BUILD_CACHE": str(tmp_path / "no-cache")}) as server,
        Api(server.environment()) as api,
    ):
        for n, call in enumerate(calls):
            assert api.get(f"/functions/{function_id}/calls/{call['id']}").json() == call
            assert api.response(call) == {"data": {"n": n}, "secret": "s3cret", "package": "alpha"}
            assert api.logs(call) == logs[n] == [f"asked {{'n': {n}}}"]
        assert {n: content(api, ids[n]) for n in ids} == uploaded
        assert api.get(f"/functions/schedules/{schedule['id']}").json() == schedule

        def ready() -> bool:
            return api.get(f"/functions/{function_id}").json()["status"] in ("Ready", "Failed")

        until(ready, 60, "the function is built anew")
        log = api.get(f"/functions/{function_id}/build-log").json()["items"]
        assert "kept wheels" in " ".join(entry["message"] for entry in log)
        after = api.call(function_id, {"n": 7})
        assert api.response(after) == {"data": {"n": 7}, "secret": "s3cret", "package": "alpha"}
        named = {item["id"] for item in api.post("/files/list", {"limit": 1000}).json()["items"] if item["uploaded"]}
        for file_id in named:
            assert content(api, file_id), "every file that is said to be uploaded has its bytes"

    # And a service that is stopped.
    told = json.loads(kvern("backup", tmp_path / "stopped.tar", "--data-dir", new, "--without-keys", "--json").stdout)
    assert (told["keys"], told["lostBlobs"]) == (False, [])
    assert "keys/master.key" in told["notes"][0]
