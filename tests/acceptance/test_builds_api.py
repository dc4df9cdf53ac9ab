"""What the API adds about builds, on a real server: locks, and logs that are followed while a build goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvern.build.staging import remove
from tests.acceptance.api import Api, bundle
from tests.acceptance.server import KVERN, Server, until
from tests.acceptance.test_build import PASSWORD, Index, frozen, large_wheel, sdist, serving, wheel

ECHO = "def handle(data):\n    return data\n"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving(Index(wheel("cognite_sdk", "99.0"), wheel("alpha", "1.0"), password=PASSWORD)) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("builds")
    running = Server(folder, extra_env={"KVERN_BUILD_CACHE": str(folder / "cache")})
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as made:
        yield made


def test_the_lock_of_a_function(api: Api, index: Index) -> None:
    function_id = api.ready(ECHO, files={"requirements": "alpha\ncognite-sdk\n"}, indexUrl=index.url)
    lock = api.get(f"/functions/{function_id}/lock").json()
    assert lock["functionId"] == function_id
    assert lock["runtimeVersion"] == api.get(f"/functions/{function_id}").json()["runtimeVersion"]
    assert "alpha==1.0 \\\n    --hash=sha256:" in lock["lock"]
    assert "cognite-sdk==99.0" in lock["lock"]
    assert "s3cret" not in str(lock)


def test_a_build_is_followed_and_its_log_kept(api: Api, server: Server, index: Index) -> None:
    """A package takes its time to be built and fails: what it says is there before that, and no credentials are."""
    code = "print('before, with', dict(os.environ), flush=True)\nimport time; time.sleep(6)\nraise SystemExit('no')"
    index.add(sdist("slow", code))
    content = bundle(handler=ECHO, requirements="slow\ncognite-sdk\n")
    made = api.create(content, indexUrl=index.url)
    path = f"/functions/{made['id']}/build-log"
    seen: list[str] = []
    while not any("building from source" in line for line in seen):
        answer = api.get(path, params={"after": len(seen)}, headers={"prefer": "wait=1"})
        assert answer.headers["preference-applied"] == "wait=1"
        assert answer.json()["status"] in ("Queued", "Deploying")
        seen += [entry["message"] for entry in answer.json()["items"]]
    status = "Deploying"
    while status == "Deploying":
        answer = api.get(path, params={"after": len(seen)}, headers={"prefer": "wait=20"}).json()
        status = answer["status"]
        seen += [entry["message"] for entry in answer["items"]]
    assert status == "Failed"
    assert seen[-1].startswith("Failed. ")
    assert seen == [entry["message"] for entry in api.get(path).json()["items"]]
    assert any("before, with {" in line for line in seen)
    assert "s3cret" not in str(seen)
    assert "s3cret" not in server.log.read_text()
    assert [entry["message"] for entry in api.get(path, params={"after": len(seen) - 1}).json()["items"]] == seen[-1:]
    refused = api.get(f"/functions/{made['id']}/lock")
    assert refused.status_code == 400
    assert "it has no lock" in refused.json()["error"]["message"]
    api.delete(made["id"])
    assert api.get(path).status_code == 404


def test_who_may_not_read_functions_may_not_read_about_builds(api: Api, index: Index) -> None:
    function_id = api.ready(ECHO, files={"requirements": "cognite-sdk\n"}, indexUrl=index.url)
    for what in ("lock", "build-log"):
        answer = api.http.get(f"{api.base}/functions/{function_id}/{what}")
        assert answer.status_code == 401
        assert api.get(f"/functions/{2**50}/{what}").status_code == 404
    assert api.get(f"/functions/{function_id}/build-log", params={"after": "x"}).status_code == 400


def test_the_command_line_shows_both(server: Server, api: Api, index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "pump"
    folder.mkdir()
    (folder / "handler.py").write_text(ECHO)
    (folder / "requirements.txt").write_text("alpha\ncognite-sdk\n")

    def kvern(*words: str) -> subprocess.CompletedProcess[str]:
        where = ["--data-dir", str(server.data)]
        return subprocess.run([KVERN, *words, *where], capture_output=True, text=True, env=dict(os.environ), check=True)

    deployed = kvern("deploy", str(folder), "--index-url", index.url)
    assert "pump: Deploying" in deployed.stderr or "pump: Queued" in deployed.stderr
    assert "  Ready." in deployed.stderr.splitlines()
    assert "alpha==1.0" in kvern("lock", "pump").stdout
    assert kvern("functions", "log", "pump", "--follow").stdout.splitlines()[-1] == "Ready."


def test_a_kill_while_wheels_are_packed_costs_no_offline_rebuild_later(tmp_path: Path) -> None:
    """Nothing of it goes on without the service; the next start takes it up where it was."""
    index = Index(wheel("cognite_sdk", "99.0"), wheel("alpha", "1.0"), large_wheel(), password=PASSWORD)
    wheels = tmp_path / "data" / "build" / "wheels"
    server = Server(tmp_path, extra_env={"KVERN_BUILD_CACHE": str(tmp_path / "cache")})
    handler = "import alpha, zz_large\n\n\ndef handle(data):\n    return data\n"
    with serving(index), server:
        with Api(server.environment()) as api:
            content = bundle(handler=handler, requirements="alpha\nzz-large\ncognite-sdk\n")
            made = api.create(content, indexUrl=index.url)["id"]
            until(lambda: frozen(tmp_path / "data" / "build"), 60, "the wheels are being packed")
            until(lambda: api.get(f"/functions/{made}").json()["status"] == "Ready", 60, "the function is Ready")
            server.kill()
        assert not list(wheels.glob("*.json")), "it was over before the kill"
        until(lambda: not server.processes(), 10, "what packed them has ended")
        server.start()
        until(lambda: list(wheels.glob("*.json")), 60, "the wheels are packed after all")
        assert server.stop() == 0
    for folder in (tmp_path / "cache", *(tmp_path / "data" / "build" / "environments").iterdir()):
        remove(folder)
    with server, Api(server.environment()) as api:
        until(lambda: api.get(f"/functions/{made}").json()["status"] == "Ready", 30, "it is made without the index")
        assert api.response(api.call(made, {"a": 1})) == {"a": 1}
        log = [entry["message"] for entry in api.get(f"/functions/{made}/build-log").json()["items"]]
        assert "The environment is lost; making it again from kept wheels." in log
