"""Sessions of people whom a foreign issuer vouches for: longer than their tokens live, never more than they may do.

The server's clock is put forward, so that minutes and hours pass at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from kvern.service.oidc_tokens import EXCHANGE
from tests.acceptance.api import Api
from tests.acceptance.issuers import WHO, Provider, ServedIssuer, bearer, words
from tests.acceptance.server import Server, until
from tests.acceptance.turned_clock import PROGRAM, Turned

SETTINGS = """
[[projects.kvern.issuers]]
issuer = "{provider}"
audience = "kvern-app"
group-prefix = "site:"

[[projects.kvern.issuers]]
issuer = "{exchanging}"
audience = "api://kvern"
exchange-client-id = "kvern"
exchange-secret-file = "{secret}"

[projects.kvern.groups.operators]
source-id = "site:ops"
capabilities = ["functions:*", "sessions:*"]

[projects.kvern.groups.engineers]
source-id = "engineers"
capabilities = ["functions:*", "sessions:*"]
"""

UNTIL_REFUSED = """
    def handle(client):
        print("acting", flush=True)
        while True:
            client.functions.list()
"""

MAY = {f"functionsAcl:{action}" for action in ("READ", "WRITE", "RUN")} | {
    f"sessionsAcl:{action}" for action in ("LIST", "CREATE", "DELETE")
}
LIFETIME = 100
"""Seconds for which a token of the issuer that exchanges is good."""


class Site:
    """A server with two issuers, whose clock can be turned, and a function that tells as whom it acts."""

    def __init__(self, server: Server, clock: Turned, provider: Provider, issuer: ServedIssuer) -> None:
        self.server, self.clock, self.provider, self.issuer = server, clock, provider, issuer
        self.api = Api(server.environment())
        self.function = self.api.ready(WHO)

    def turn(self, seconds: int) -> None:
        """Put the clock forward; whoever looks after the server gets a new token then."""
        self.api.http.close()
        self.clock.turn(seconds * 1000)
        self.api = Api(self.server.environment())

    def post(self, token: str, path: str, body: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(self.api.base + path, headers=bearer(token), json=body, timeout=30)

    def session(self, token: str) -> dict[str, Any]:
        made = self.post(token, "/sessions", {"items": [{"tokenExchange": True}]})
        assert made.status_code == 200, made.text
        assert made.json()["items"][0]["type"] == "TOKEN_EXCHANGE"
        return dict(made.json()["items"][0])

    def scheduled(self, token: str) -> tuple[int, int]:
        """A schedule of every minute for whom the token speaks of: its id, and that of its session."""
        session = self.session(token)
        body = {
            "name": "every minute",
            "functionId": self.function,
            "cronExpression": "* * * * *",
            "nonce": session["nonce"],
        }
        made = self.post(token, "/functions/schedules", {"items": [body]})
        assert made.status_code == 201, made.text
        schedule = made.json()["items"][0]
        assert schedule["sessionId"] == session["id"]
        return int(schedule["id"]), int(session["id"])

    def fired(self, schedule_id: int) -> dict[str, Any]:
        """The call that a schedule makes at the next minute, when it has ended."""
        moment = self.clock.turn_to_the_minute()

        def found() -> dict[str, Any] | None:
            wanted = {"filter": {"scheduleId": schedule_id, "startTime": {"min": moment}}}
            calls = self.api.post(f"/functions/{self.function}/calls/list", wanted).json()["items"]
            return calls[0] if calls and calls[0]["status"] != "Running" else None

        return dict(until(found, 60, f"schedule {schedule_id} fires at {moment}, and its call ends"))

    def status(self, session_id: int) -> str:
        return str(self.api.post("/sessions/byids", {"items": [{"id": session_id}]}).json()["items"][0]["status"])

    def unschedule(self, schedule_id: int) -> None:
        assert self.api.post("/functions/schedules/delete", {"items": [{"id": schedule_id}]}).status_code == 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sessions")
    clock, secret = Turned(folder), folder / "secret"
    secret.write_text("own\n")
    with Provider(tmp_path_factory.mktemp("provider")) as provider, ServedIssuer() as issuer:
        issuer.clock.now = clock.now  # type: ignore[method-assign]
        issuer.clients, issuer.groups = {"kvern": "own"}, {"erin": ["engineers"]}
        issuer.lifetime = LIFETIME
        issuer.metadata["grant_types_supported"].append(EXCHANGE)
        settings = SETTINGS.format(provider=provider.url, exchanging=issuer.url, secret=secret)
        server = Server(folder, extra_env=clock.environment(), settings=settings, program=PROGRAM)
        with server:
            made = Site(server, clock, provider, issuer)
            yield made
            made.api.http.close()


@pytest.fixture(autouse=True)
def all_is_well(site: Site) -> Iterator[None]:
    """What a test changes in the issuer is put right after it."""
    yield
    site.issuer.down, site.issuer.clients, site.issuer.groups = False, {"kvern": "own"}, {"erin": ["engineers"]}


def grants(issuer: ServedIssuer) -> list[str]:
    return [asked["grant_type"] for asked in issuer.asked]


def test_a_schedule_outlives_the_token_that_was_exchanged_for_it(site: Site) -> None:
    """RFC 8693: Kvern's own token for the same subject stands behind the session, and is refreshed there."""
    token = site.issuer.token("erin")
    schedule, session = site.scheduled(token)
    exchanged = site.issuer.asked[-1]
    assert (exchanged["grant_type"], exchanged["subject_token"], exchanged["client_id"]) == (EXCHANGE, token, "kvern")
    begun = site.clock.now()
    for _ in range(3):
        call = site.fired(schedule)
        assert call["status"] == "Completed", call["error"]["trace"]
        response = site.api.response(call)
        assert (response["subject"], response["files"]) == ("erin", 403)
        assert words(response["capabilities"]) == MAY
    assert site.clock.now() - begun > LIFETIME * 1000
    assert grants(site.issuer)[-2:] == ["refresh_token", "refresh_token"]
    assert site.post(token, "/functions/list", {}).status_code == 401, "her own token has expired long since"
    assert site.status(session) == "ACTIVE"
    site.unschedule(schedule)
    assert site.status(session) == "CANCELLED"


def test_while_the_issuer_is_down_a_schedule_goes_on_with_the_token_it_has(site: Site) -> None:
    schedule, session = site.scheduled(site.issuer.token("erin"))
    assert site.fired(schedule)["status"] == "Completed"
    site.issuer.down = True
    assert site.fired(schedule)["status"] == "Completed", (
        "there is nobody to refresh it, but the last token is good still"
    )
    site.turn(LIFETIME)
    call = site.fired(schedule)
    assert (call["status"], "cannot be refreshed now" in call["error"]["message"]) == ("Failed", True)
    assert site.issuer.url in call["error"]["message"]
    assert site.status(session) == "ACTIVE", "that nobody answers says nothing of her"
    site.issuer.down = False
    assert site.fired(schedule)["status"] == "Completed"
    site.unschedule(schedule)


def test_whom_the_issuer_gives_no_tokens_any_more_has_lost_access(site: Site) -> None:
    schedule, session = site.scheduled(site.issuer.token("erin"))
    site.issuer.refresh_tokens.clear()
    site.turn(LIFETIME)
    call = site.fired(schedule)
    assert (call["status"], "lost its access" in call["error"]["message"]) == ("Failed", True)
    assert site.status(session) == "ACCESS_LOST"
    site.unschedule(schedule)


def test_who_leaves_a_group_at_the_issuer_takes_its_rights_from_the_schedule(site: Site) -> None:
    schedule, session = site.scheduled(site.issuer.token("erin"))
    site.issuer.groups["erin"] = ["staff"]
    site.turn(LIFETIME)
    assert site.fired(schedule)["status"] == "Failed"
    assert site.status(session) == "ACCESS_LOST"
    site.unschedule(schedule)


@pytest.mark.parametrize(("how", "told"), [("refuses", "invalid_client"), ("is down", "cannot be asked")])
def test_a_token_that_cannot_be_exchanged_makes_no_session(site: Site, how: str, told: str) -> None:
    token = site.issuer.token("erin")
    assert site.post(token, "/functions/list", {}).status_code == 200
    if how == "refuses":
        site.issuer.clients = {"kvern": "another secret"}
    else:
        site.issuer.down = True
    refused = site.post(token, "/sessions", {"items": [{"tokenExchange": True}]})
    message = refused.json()["error"]["message"]
    assert (refused.status_code, told in message, "cannot be exchanged" in message) == (400, True, True)
    assert token not in message


def test_a_session_that_is_revoked_acts_no_more_at_once(site: Site) -> None:
    """Not the next call of its schedule, and not even the call that runs."""
    function = site.api.ready(UNTIL_REFUSED)
    token = site.issuer.token("erin")
    schedule, session = site.scheduled(token)
    running = site.session(token)
    call = site.post(token, f"/functions/{function}/call", {"nonce": running["nonce"]}).json()
    path = f"/functions/{function}/calls/{call['id']}"
    until(lambda: site.api.get(f"{path}/logs").json()["items"], 60, "the handler acts")
    assert site.api.get(path).json()["status"] == "Running"
    revoked = site.post(token, "/sessions/revoke", {"items": [{"id": session}, {"id": running["id"]}]})
    assert [one["status"] for one in revoked.json()["items"]] == ["REVOKED", "REVOKED"]
    ended = site.api.ended(call)
    assert (ended["status"], "code: 401" in ended["error"]["message"]) == ("Failed", True)
    after = site.fired(schedule)
    assert (after["status"], "revoked" in after["error"]["message"]) == ("Failed", True)
    site.unschedule(schedule)


def test_where_the_issuer_exchanges_nothing_the_session_is_kverns_own_with_no_more_rights(site: Site) -> None:
    """oidc-provider-mock knows no RFC 8693: the session goes on when the token is over, until its groups are."""
    assert EXCHANGE not in httpx2.get(f"{site.provider.url}/.well-known/openid-configuration").json().get(
        "grant_types_supported", []
    )
    token = site.provider.token("alice", "kvern-app", groups=["ops", "readers"])
    schedule, session = site.scheduled(token)
    more = {"filesAcl": {"actions": ["READ"], "scope": {"all": {}}}}
    wanted = [{"name": "Readers", "sourceId": "site:readers", "capabilities": [more]}]
    (readers,) = site.api.post("/groups", {"items": wanted}).json()["items"]
    assert httpx2.get(f"{site.api.base}/files", headers=bearer(token)).status_code == 200
    site.turn(48 * 3600)
    assert site.post(token, "/functions/list", {}).status_code == 401, "her own token has expired"
    call = site.fired(schedule)
    assert call["status"] == "Completed", call["error"]["trace"]
    response = site.api.response(call)
    assert response["subject"] == "alice"
    assert words(response["capabilities"]) == MAY, "and not what she was given after the session was made"
    assert response["files"] == 403
    site.api.post("/groups/delete", {"items": [readers["id"]]})
    assert site.status(session) == "ACTIVE"
    site.unschedule(schedule)


def test_nobody_has_more_rights_by_a_session_than_by_their_token(site: Site) -> None:
    """Whom one issuer vouches for is nobody to the groups of the other."""
    token = site.provider.token("mallory", "kvern-app", groups=["engineers"])
    assert site.post(token, "/sessions", {"items": [{"tokenExchange": True}]}).status_code == 401
