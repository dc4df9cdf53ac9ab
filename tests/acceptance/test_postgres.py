"""A service on a real PostgreSQL: what was answered is kept, whatever becomes of the database and its connections."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.conftest import sdk_python
from tests.acceptance.server import KVERN, Server
from tests.acceptance.test_faults import ECHO, attempt, ended, recovered
from tests.postgres import Postgres

PASSWORD = "a-word-that-nobody-may-see"

SDK_CALL = """
import os
from cognite.client import ClientConfig, CogniteClient
from cognite.client.credentials import OAuthClientCredentials

env = os.environ
credentials = OAuthClientCredentials(
    env["IDP_TOKEN_URL"], env["IDP_CLIENT_ID"], env["IDP_CLIENT_SECRET"], env["IDP_SCOPES"].split()
)
client = CogniteClient(ClientConfig("test", env["CDF_PROJECT"], credentials, base_url=env["CDF_URL"]))
call = client.functions.call(external_id="echo", data={"n": "by the official SDK"})
print(call.id, call.status, call.get_response())
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    running = Postgres()
    try:
        running.start()
        running.execute("CREATE DATABASE kvern")
        yield running
    finally:
        running.remove()


@pytest.fixture(scope="module")
def address(postgres: Postgres) -> str:
    return postgres.url("kvern").replace("kvern@", f"kvern:{PASSWORD}@")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("postgres"), extra_env={"KVERN_DATABASE": address}) as running:
        yield running


@pytest.fixture(scope="module")
def echo(server: Server) -> int:
    with Api(server.environment()) as bare:
        return bare.ready(ECHO, externalId="echo")


def lines(api: Api, echo: int, call_id: int) -> list[str]:
    answer = api.get(f"/functions/{echo}/calls/{call_id}/logs")
    return [entry["message"] for entry in answer.json()["items"]]


def test_all_is_there_after_a_kill(server: Server, echo: int) -> None:
    called = subprocess.run(
        [sdk_python(), "-c", SDK_CALL], env=server.environment(), capture_output=True, text=True, timeout=100
    )
    assert called.returncode == 0, called.stderr
    call_id, status, response = called.stdout.split(maxsplit=2)
    assert (status, response.strip()) == ("Completed", "{'n': 'by the official SDK'}")
    server.kill()
    server.start()
    with Api(server.environment()) as api:
        assert api.get(f"/functions/{echo}").json()["externalId"] == "echo"
        assert api.get(f"/functions/{echo}/calls/{call_id}").json()["status"] == "Completed"
        kept = api.get(f"/functions/{echo}/calls/{call_id}/response").json()
        assert kept["response"] == {"n": "by the official SDK"}
        assert lines(api, echo, int(call_id)) == ["said by the official SDK"]
    assert not (server.data / "kvern.db").exists()


class Load:
    """Calls, one after the other on a few threads, until `stop`; what was answered."""

    def __init__(self, api: Api, echo: int) -> None:
        self.accepted: dict[int, str] = {}
        self.refused: list[int] = []
        self._api, self._echo = api, echo
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(1000 * number,)) for number in range(1, 4)]
        for thread in self._threads:
            thread.start()

    def _run(self, n: int) -> None:
        while not self._over.is_set():
            n += 1
            answer = attempt(self._api, self._echo, n)
            if answer is not None and answer.status_code == 201:
                self.accepted[answer.json()["id"]] = answer.json()["status"]
            else:
                self.refused.append(0 if answer is None else answer.status_code)
                self._over.wait(0.05)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def cut(postgres: Postgres) -> None:
    """End every connection, several times in the midst of what they do."""
    for _ in range(10):
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kvern' AND pid <> pg_backend_pid()"
        )
        time.sleep(0.03)


def restart(postgres: Postgres) -> None:
    postgres.stop(signal.SIGINT)
    postgres.start()


def crash(postgres: Postgres) -> None:
    postgres.stop(signal.SIGQUIT)
    postgres.start()


def stay_away(postgres: Postgres) -> None:
    """For longer than the service waits for it."""
    postgres.stop(signal.SIGINT)
    time.sleep(4)
    postgres.start()


@pytest.mark.parametrize("trouble", [cut, restart, crash, stay_away])
def test_calls_go_on_and_none_is_lost(
    trouble: Callable[[Postgres], None],
    postgres: Postgres,
    server: Server,
    echo: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Api(server.environment()) as api:
        before = set(ended(api, echo))
        load = Load(api, echo)
        try:
            trouble(postgres)
            seconds = recovered(api, echo)
        finally:
            load.stop()
        after = ended(api, echo)
        for call_id, status in load.accepted.items():
            assert after[call_id] in ("Completed", "Failed")
            assert status in ("Running", after[call_id]), "an end that was told is not another one later"
        for call_id in after.keys() - before:
            assert len(lines(api, echo, call_id)) <= 1, "no call runs twice"
            if after[call_id] == "Completed":
                assert len(lines(api, echo, call_id)) == 1
        assert set(load.refused) <= {429, 500, 503}  # calls that wait for the database count for the limit
    with capsys.disabled():
        print(
            f"\nPostgreSQL, {trouble.__name__}: calls again {seconds:.2f} s after it was back, "
            f"{len(load.accepted)} accepted, {len(load.refused)} refused"
        )


def test_the_database_is_shown_and_its_password_is_not(server: Server, echo: int, address: str, tmp_path: Path) -> None:
    with Api(server.environment()) as api:
        health = api.http.get(f"{server.url}/health", headers=api.headers).text
    assert "PostgreSQL 18" in health
    doctor = subprocess.run(
        [KVERN, "doctor", "--json", "--data-dir", str(tmp_path)],
        env={"KVERN_DATABASE": address, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert "PostgreSQL 18" in doctor.stdout
    gone = subprocess.run(
        [KVERN, "doctor", "--data-dir", str(tmp_path)],
        env={"KVERN_DATABASE": f"postgresql://kvern:{PASSWORD}@127.0.0.1:1/none", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert gone.returncode == 1
    assert "none on 127.0.0.1:1" in gone.stdout
    given = subprocess.run(
        [KVERN, "serve", "--data-dir", str(tmp_path), "--database", f"postgresql://kvern:{PASSWORD}@/x"],
        capture_output=True,
        text=True,
    )
    assert given.returncode == 1
    assert "PGPASSWORD" in given.stdout + given.stderr
    for told in (health, doctor.stdout, doctor.stderr, gone.stdout, gone.stderr, given.stdout, given.stderr):
        assert PASSWORD not in told
    assert PASSWORD not in server.log.read_text()
