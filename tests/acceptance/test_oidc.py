"""A company's identity provider decides who may do what: a foreign one, and groups mapped to capabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.issuers import WHO, Provider, ServedIssuer, bearer, words
from tests.acceptance.server import Server, until

SETTINGS = """
[[projects.kvern.issuers]]
issuer = "{provider}"
audience = "kvern-app"
name-claim = "email"

[projects.kvern.groups.operators]
source-id = "ops"
capabilities = ["functions:read,run", "sessions:create"]

[[projects.lab.issuers]]
issuer = "{machines}"
audience = "api://kvern"

[projects.lab.groups.robots]
source-id = "robots"
capabilities = ["functions:*", "files:*", "sessions:*"]
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def machines() -> Iterator[ServedIssuer]:
    with ServedIssuer() as running:
        running.clients, running.groups = {"robot": "s3cret"}, {"robot": ["robots"]}
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider, machines: ServedIssuer) -> Iterator[Server]:
    settings = SETTINGS.format(provider=provider.url, machines=machines.url)
    with Server(tmp_path_factory.mktemp("oidc"), settings=settings) as running:
        yield running


@pytest.fixture
def admin(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as api:
        yield api


def get(server: Server, token: str, path: str) -> httpx2.Response:
    return httpx2.get(f"{server.url}/api/v1/projects/{path}", headers=bearer(token), timeout=30)


def test_a_users_groups_decide(server: Server, provider: Provider) -> None:
    operator = provider.token("alice", "kvern-app", groups=["staff", "ops"], email="alice@plant.example")
    assert get(server, operator, "kvern/functions").json() == {"items": []}
    refused = httpx2.post(
        f"{server.url}/api/v1/projects/kvern/functions/delete",
        headers=bearer(operator),
        json={"items": [{"externalId": "x"}]},
    )
    assert (refused.status_code, "functionsAcl:WRITE" in refused.json()["error"]["message"]) == (403, True)
    seen = httpx2.get(f"{server.url}/api/v1/token/inspect", headers=bearer(operator)).json()
    assert (seen["subject"], [one["projectUrlName"] for one in seen["projects"]]) == ("alice", ["kvern"])
    assert words(seen["capabilities"]) == {"functionsAcl:READ", "functionsAcl:RUN", "sessionsAcl:CREATE"}
    me = get(server, operator, "kvern/profiles/me").json()
    assert (me["userIdentifier"], me["identityType"]) == ("alice", "USER")


@pytest.mark.parametrize("claims", [{}, {"groups": []}, {"groups": ["staff"]}, {"roles": ["ops"]}])
def test_a_user_without_a_mapped_group_gets_in_nowhere(
    server: Server, provider: Provider, claims: dict[str, Any]
) -> None:
    token = provider.token("carol", "kvern-app", **claims)
    assert get(server, token, "kvern/functions").status_code == 401
    assert httpx2.get(f"{server.url}/api/v1/token/inspect", headers=bearer(token)).json()["projects"] == []


def test_a_token_for_another_application_or_project_opens_nothing(server: Server, provider: Provider) -> None:
    other = provider.token("alice", "another-app", groups=["ops"])
    refused = get(server, other, "kvern/functions")
    assert (refused.status_code, "audience" in refused.json()["error"]["message"]) == (401, True)
    ours = provider.token("alice", "kvern-app", groups=["ops", "robots"])
    assert get(server, ours, "lab/functions").status_code == 401


def test_a_group_that_is_made_and_deleted_counts_at_once(server: Server, provider: Provider, admin: Api) -> None:
    token = provider.token("dave", "kvern-app", groups=["auditors"])
    assert get(server, token, "kvern/files").status_code == 401
    capability = {"filesAcl": {"actions": ["READ"], "scope": {"all": {}}}}
    made = admin.post(
        "/groups", {"items": [{"name": "Auditors", "sourceId": "auditors", "capabilities": [capability]}]}
    )
    assert made.status_code == 201, made.text
    assert get(server, token, "kvern/files").status_code == 200
    assert get(server, token, "kvern/functions").status_code == 403
    admin.post("/groups/delete", {"items": [made.json()["items"][0]["id"]]})
    assert get(server, token, "kvern/files").status_code == 401


def test_the_project_tells_whom_it_trusts(server: Server, provider: Provider) -> None:
    token = provider.token("alice", "kvern-app", groups=["ops"])
    oidc = get(server, token, "kvern").json()["oidcConfiguration"]
    assert (oidc["issuer"], oidc["audience"], oidc["accessClaims"]) == (
        provider.url,
        "kvern-app",
        [{"claimName": "groups"}],
    )


def test_a_call_acts_with_what_its_caller_may_do_and_no_more(server: Server, provider: Provider, admin: Api) -> None:
    function = admin.ready(WHO)
    token = provider.token("alice", "kvern-app", groups=["ops"])
    base = f"{server.url}/api/v1/projects/kvern"
    made = httpx2.post(f"{base}/sessions", headers=bearer(token), json={"items": [{"tokenExchange": True}]})
    nonce = made.json()["items"][0]["nonce"]
    call = httpx2.post(f"{base}/functions/{function}/call", headers=bearer(token), json={"nonce": nonce}, timeout=60)
    assert call.status_code == 201, call.text
    response = admin.response(admin.ended(call.json()))
    assert (response["subject"], response["files"]) == ("alice", 403)
    assert words(response["capabilities"]) == {"functionsAcl:READ", "functionsAcl:RUN", "sessionsAcl:CREATE"}


def test_clients_of_the_issuer_make_sessions_with_their_own_credentials(server: Server, machines: ServedIssuer) -> None:
    robot = machines.token("robot")
    base = f"{server.url}/api/v1/projects/lab"

    def session(secret: str) -> httpx2.Response:
        body = {"items": [{"clientId": "robot", "clientSecret": secret}]}
        return httpx2.post(f"{base}/sessions", headers=bearer(robot), json=body)

    good = session("s3cret").json()["items"][0]
    assert (good["type"], good["status"], good["clientId"]) == ("CLIENT_CREDENTIALS", "READY", "robot")
    bad = session("wrong")
    assert (bad.status_code, "invalid_client" in bad.json()["error"]["message"]) == (400, True)


def test_while_the_provider_is_down_its_users_go_on(server: Server, provider: Provider) -> None:
    """And when it is back with other keys, as this one makes new ones at each start, these count."""
    tokens = [provider.token(user, "kvern-app", groups=["ops"]) for user in ("alice", "erin")]
    assert get(server, tokens[0], "kvern/functions").status_code == 200
    provider.stop()
    try:
        assert [get(server, token, "kvern/functions").status_code for token in tokens] == [200, 200]
    finally:
        provider.start()
    fresh = provider.token("alice", "kvern-app", groups=["ops"])
    until(lambda: get(server, fresh, "kvern/functions").status_code == 200, 40, "the new key is known")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('[projects.lab]\nissuer = "x"', "`issuer` (at projects.lab)"),
        ('[[projects.lab.issuers]]\nissuer = "http://id.example"\naudience = "a"', "https://"),
    ],
)
def test_a_mistake_in_the_file_is_told_at_the_start(tmp_path: Path, settings: str, told: str) -> None:
    server = Server(tmp_path, settings=settings)
    with pytest.raises(AssertionError) as stopped:
        server.start()
    assert told in str(stopped.value)
    assert server.process is not None
    assert server.process.wait(timeout=20) == 1
