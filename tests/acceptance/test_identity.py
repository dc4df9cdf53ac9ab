"""Who may do what, with the built-in issuer: clients, projects, and the key that keeps secrets; a real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cryptography.fernet import Fernet

from tests.acceptance.api import Api, bundle
from tests.acceptance.issuers import words
from tests.acceptance.server import KVERN, Server

SETTINGS = "[projects.lab]\n"
TELLS = "def handle(data, secrets): return secrets"
WHO = """
    def handle(client, data):
        from cognite.client.exceptions import CogniteAPIError
        try:
            client.functions.delete(external_id="who")
            deleted = True
        except CogniteAPIError as error:
            deleted = error.code
        return {"deleted": deleted, "inspected": client.iam.token.inspect().dump()}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("identity"), settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


def kvern(server: Server, *words: str, code: int = 0) -> Any:
    """The command, with `--json`; what it prints."""
    command = [KVERN, *words, "--json", "--data-dir", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=server.data)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def as_client(server: Server, made: dict[str, Any]) -> Api:
    env = {
        **server.environment(),
        "IDP_CLIENT_ID": made["clientId"],
        "IDP_CLIENT_SECRET": made["clientSecret"],
        "CDF_PROJECT": made["project"],
    }
    return Api(env)


@pytest.fixture(scope="module")
def lab(server: Server) -> Iterator[Api]:
    """A client of the other project that may do everything there."""
    with as_client(server, kvern(server, "clients", "add", "labby", "all", "--project", "lab")) as bare:
        yield bare


def test_a_client_works_at_once_and_is_gone_at_once(server: Server) -> None:
    made = kvern(server, "clients", "add", "dashboard", "functions:read")
    with as_client(server, made) as client:
        assert client.get("/functions").status_code == 200
        assert client.post("/functions/delete", {"items": [{"externalId": "x"}]}).status_code == 403
        listed = kvern(server, "clients", "list")
        assert made["clientId"] in [one["clientId"] for one in listed]
        assert made["clientSecret"] not in json.dumps(listed)
        kvern(server, "clients", "remove", made["clientId"])
        assert client.get("/functions").status_code == 401
    with pytest.raises(httpx2.HTTPStatusError):
        as_client(server, made)


def test_secrets_rotate_with_and_without_an_overlap(server: Server) -> None:
    old = kvern(server, "clients", "add", "robot", "functions:read")
    new = kvern(server, "clients", "rotate", old["clientId"], "--overlap", "1h")
    for good in (old, {**old, **new}):
        as_client(server, good).http.close()
    newest = kvern(server, "clients", "rotate", old["clientId"])
    as_client(server, {**old, **newest}).http.close()
    for bad in (old, {**old, **new}):
        with pytest.raises(httpx2.HTTPStatusError):
            as_client(server, bad)
    assert newest["clientSecret"] not in server.log.read_text()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("add", "x", "functoins:read"), "functoins:read"),
        (("add", "x"), "CAPABILITY"),
        (("rotate", "kvern-0", "--overlap", "soon"), "--overlap"),
    ],
)
def test_mistakes_on_the_command_line_are_told(server: Server, command: tuple[str, ...], told: str) -> None:
    assert told in kvern(server, "clients", *command, code=2)
    assert "HTTP 400" in kvern(server, "clients", "remove", "kvern-0", code=1)


def test_who_may_not_look_after_clients_is_told_so(server: Server) -> None:
    made = kvern(server, "clients", "add", "modest", "functions:*", "files:*")
    with as_client(server, made) as client:
        for path in (
            "/kvern/clients",
            "/kvern/clients/rotate",
            "/kvern/clients/delete",
            "/kvern/secrets/rotate-master",
        ):
            body = {"name": "x", "capabilities": [], "clientId": "x", "items": ["x"]}
            assert client.post(path, body).status_code == 403


def test_projects_see_nothing_of_one_another(api: Api, lab: Api) -> None:
    function = lab.deployed(bundle(handler=TELLS), externalId="theirs", secrets={"word": "mellon"})
    call = lab.call(function["id"])
    assert lab.response(call) == {"word": "mellon"}
    for path in (
        f"/functions/{function['id']}",
        f"/functions/{function['id']}/calls",
        f"/functions/{function['id']}/calls/{call['id']}",
        f"/functions/{function['id']}/calls/{call['id']}/logs",
        f"/functions/{function['id']}/calls/{call['id']}/response",
        f"/files/{function['fileId']}",
    ):
        assert lab.get(path).status_code == 200
        assert api.get(path).status_code == 404
    assert api.post("/functions/byids", {"items": [{"externalId": "theirs"}]}).status_code == 400
    refused = api.post("/functions", {"items": [{"name": "x", "fileId": function["fileId"]}]})
    assert (refused.status_code, "there is no file" in refused.json()["error"]["message"]) == (400, True)
    ours = api.ready(TELLS, externalId="theirs")
    assert ours != function["id"]
    for bare, other in ((api, lab), (lab, api)):
        answer = bare.http.get(other.base + "/functions", headers=bare.headers)
        assert answer.status_code == 401
        shown = bare.http.get(f"{bare.root}/api/v1/projects", headers=bare.headers).json()["items"]
        assert [one["urlName"] for one in shown] == [bare.env["CDF_PROJECT"]]
    assert lab.post("/kvern/secrets/rotate-master").status_code == 403


def test_a_function_acts_with_exactly_what_its_session_may_do(server: Server, api: Api) -> None:
    function = api.ready(WHO, externalId="who")
    made = kvern(server, "clients", "add", "runner", "functions:read,run", "sessions:create")
    with as_client(server, made) as client:
        credentials = {"clientId": made["clientId"], "clientSecret": made["clientSecret"]}
        for item in ({"tokenExchange": True}, {"oneshotTokenExchange": True}, credentials):
            nonce = client.post("/sessions", {"items": [item]}).json()["items"][0]["nonce"]
            answer = client.post(f"/functions/{function}/call", {"data": {}, "nonce": nonce})
            assert answer.status_code == 201, answer.text
            response = api.response(api.ended(answer.json()))
            assert response["deleted"] == 403
            assert response["inspected"]["subject"] == made["clientId"]
            allowed = words(response["inspected"]["capabilities"])
            assert allowed == {"functionsAcl:READ", "functionsAcl:RUN", "sessionsAcl:CREATE"}
            again = client.post(f"/functions/{function}/call", {"data": {}, "nonce": nonce})
            assert (again.status_code, "nonce" in again.json()["error"]["message"]) == (400, True)


def test_the_master_key_is_changed_without_a_stop(server: Server, api: Api) -> None:
    function = api.ready(TELLS, secrets={"word": "sesame"})
    key = server.data / "keys" / "master.key"
    before = key.read_text()
    done = kvern(server, "secrets", "rotate-master")
    assert done["functions"] >= 1
    after = key.read_text()
    assert after.strip()
    assert before.strip() not in after
    assert key.stat().st_mode & 0o777 == 0o600
    assert api.response(api.call(function)) == {"word": "sesame"}
    server.kill()
    server.start()
    with Api(server.environment()) as again:
        assert again.response(again.call(function)) == {"word": "sesame"}


def test_with_another_master_key_the_server_refuses_to_start_and_says_what_to_do(server: Server, api: Api) -> None:
    function = api.ready(TELLS, secrets={"word": "mellon"})
    key = server.data / "keys" / "master.key"
    right = key.read_text()
    assert server.stop() == 0
    key.write_text(Fernet.generate_key().decode())
    with pytest.raises(AssertionError, match="put its file back") as refused:
        server.start()
    assert "the service cannot start: the master key" in str(refused.value)
    assert server.process is not None
    assert server.process.wait(timeout=20) == 1
    key.write_text(right)
    server.start()
    with Api(server.environment()) as again:
        assert again.response(again.call(function)) == {"word": "mellon"}
