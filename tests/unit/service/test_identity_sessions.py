"""On whose behalf: sessions of clients and of foreign subjects, as long as these may act (contract 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, acls, plant, until
from tests.unit.issuers import AUDIENCE, FakeHttp, FakeIssuer

from kvern.service.clock import FakeClock
from kvern.service.functions import LiveFunction
from kvern.service.identity import Principal
from kvern.service.oidc_tokens import EXCHANGE
from kvern.service.projects import GroupSettings, IssuerSettings, Project, Projects
from kvern.store.calls import CallRecord
from kvern.wire import clients as wire_clients
from kvern.wire.errors import ApiError, InvalidError
from kvern.wire.groups import GroupWrite
from kvern.wire.schedules import ScheduleWrite
from kvern.wire.sessions import SessionWrite

URL = "https://login.plant.example"
HOUR = 3_600_000
ONESHOT, EXCHANGED = SessionWrite(oneshot_token_exchange=True), SessionWrite(token_exchange=True)


class Site:
    """A service whose project trusts one foreign issuer."""

    def __init__(self, p: Plant, issuer: FakeIssuer) -> None:
        self.p, self.issuer = p, issuer

    async def who(self, subject: str = "alice", **claims: Any) -> Principal:
        return await self.p.known(self.issuer.token(subject, **claims))

    async def session(self, who: Principal, wanted: SessionWrite) -> tuple[int, str]:
        made = await self.p.service.sessions.create(who, wanted)
        return made.id, made.nonce

    async def status(self, session_id: int, who: Principal | None = None) -> str:
        (shown,) = await self.p.service.sessions.by_ids((who or self.p.who).project, [session_id])
        return shown.status

    async def scheduled(self, who: Principal, wanted: SessionWrite) -> tuple[int, LiveFunction]:
        """A schedule of every hour on behalf of `who`; its session, and its function."""
        function = await self.p.function()
        session_id, nonce = await self.session(who, wanted)
        body = ScheduleWrite(name="hourly", cron_expression="0 * * * *", function_id=function.record.id, nonce=nonce)
        await self.p.service.schedules.create(self.p.who, body)
        return session_id, function

    async def next_call(self, function: LiveFunction) -> CallRecord:
        before = len(await self.p.calls_of(function))
        await self.p.clock.advance(HOUR)
        await until(lambda: not self.p.service.schedules.busy)
        await until(lambda: function.running == 0)
        calls = await self.p.calls_of(function)
        assert len(calls) == before + 1
        return calls[-1]


async def site(folder: Path, *, secret: Path | None = None) -> AsyncIterator[Site]:
    issuer = FakeIssuer(URL, FakeClock())
    issuer.clients = {"robot": "s3cret", "stranger": "s3cret", "kvern": "own"}
    issuer.groups = {"alice": ["ops"], "robot": ["ops"]}
    settings = IssuerSettings(
        issuer=URL,
        audience=AUDIENCE,
        exchange_client_id=None if secret is None else "kvern",
        exchange_secret_file=secret,
    )
    group = GroupSettings(source_id="ops", capabilities=["functions:*", "sessions:*"])
    projects = Projects(PROJECT, {PROJECT: Project(issuers=(settings,), groups={"ops": group})})
    async with plant(folder, projects=projects, http=FakeHttp(issuer)) as p:
        issuer.clock = p.clock
        yield Site(p, issuer)


@pytest.fixture
async def s(tmp_path: Path) -> AsyncIterator[Site]:
    async for made in site(tmp_path / "data"):
        yield made


@pytest.fixture
async def exchanging(tmp_path: Path) -> AsyncIterator[Site]:
    secret = tmp_path / "secret"
    secret.write_text("own\n")
    async for made in site(tmp_path / "data", secret=secret):
        made.issuer.metadata["grant_types_supported"].append(EXCHANGE)
        yield made


def refused(error: pytest.ExceptionInfo[InvalidError]) -> str:
    return error.value.message


# Clients of our own


async def test_a_removed_client_takes_its_sessions_and_the_calls_of_its_schedules_with_it(s: Site) -> None:
    who = await s.p.client("functionsAcl:RUN", "sessionsAcl:CREATE")
    session_id, function = await s.scheduled(who, EXCHANGED)
    assert (await s.next_call(function)).status == "Completed"
    await s.p.service.clients.remove(s.p.who, wire_clients.ClientIds(items=[who.subject]))
    assert await s.status(session_id) == "ACCESS_LOST"
    call = await s.next_call(function)
    assert call.status == "Failed"
    assert "lost its access" in (call.error_message or "")


async def test_a_new_secret_leaves_sessions_alone(s: Site) -> None:
    made = await s.p.service.clients.add(PROJECT, "robot", acls(["functionsAcl:RUN"]))
    wanted = SessionWrite(client_id=made.client_id, client_secret=made.client_secret)
    session_id, function = await s.scheduled(s.p.who, wanted)
    await s.p.service.clients.rotate(s.p.who, wire_clients.ClientRotation(client_id=made.client_id))
    assert (await s.next_call(function)).status == "Completed"
    assert await s.status(session_id) == "ACTIVE"


@pytest.mark.parametrize("wrong", ["id", "secret", "project"])
async def test_wrong_credentials_make_no_session_and_do_not_tell_what_was_wrong(s: Site, wrong: str) -> None:
    made = await s.p.service.clients.add(PROJECT if wrong != "project" else "lab", "robot", [])
    secret = "other" if wrong == "secret" else made.client_secret
    client_id = "kvern-0" if wrong == "id" else made.client_id
    s.issuer.down = True
    with pytest.raises(InvalidError) as error:
        await s.session(s.p.who, SessionWrite(client_id=client_id, client_secret=secret))
    assert "The session cannot be created" in refused(error)
    if wrong != "id":  # an unknown one may be the foreign issuer's
        assert refused(error).endswith("the client id or the client secret is not good")


async def test_a_token_exchange_never_gives_more_than_its_maker_had(s: Site) -> None:
    group = GroupWrite(name="more", source_id="more", capabilities=acls(["filesAcl:READ"]))
    who = await s.who(groups=["ops", "more"])
    session_id, nonce = await s.session(who, EXCHANGED)
    s.p.service.sessions.bind(PROJECT, nonce)
    (made,) = await s.p.service.groups.create(s.p.who, [group])
    acting = s.p.service.sessions.principal(session_id, 2**52)
    assert acting is not None
    assert not acting.may("filesAcl:READ"), "what its maker was given later is not the session's"
    assert acting.may("functionsAcl:RUN")
    await s.p.service.groups.delete(s.p.who, [made.id])


# Functions that make sessions


async def acting_in(s: Site, who: Principal, wanted: SessionWrite) -> Principal:
    """Who a function acts as in a call for such a session."""
    session_id, nonce = await s.session(who, wanted)
    bound = s.p.service.sessions.bind(PROJECT, nonce)
    record = bound.session
    await s.p.store.write_rows(bound.rows, bound.check)
    assert record.id == session_id
    return await s.p.known(s.p.service.issuer.session_token(record, 600))


async def test_sessions_made_inside_a_function_go_one_level_deep(s: Site) -> None:
    first = await acting_in(s, s.p.who, EXCHANGED)
    second = await acting_in(s, first, EXCHANGED)
    assert (second.subject, second.capabilities) == (s.p.who.subject, s.p.who.capabilities)
    with pytest.raises(InvalidError) as error:
        await s.session(second, EXCHANGED)
    assert "one level" in refused(error)
    with pytest.raises(InvalidError):
        s.p.service.sessions.implicit(second)


async def test_a_revoked_session_takes_those_that_its_function_made_with_it(s: Site) -> None:
    first = await acting_in(s, s.p.who, EXCHANGED)
    second = await acting_in(s, first, EXCHANGED)
    assert first.session_id and second.session_id
    await s.p.service.sessions.revoke(s.p.who, [first.session_id])
    assert [await s.status(first.session_id), await s.status(second.session_id)] == ["REVOKED", "REVOKED"]


async def test_what_is_made_from_a_one_shot_session_lives_no_longer(s: Site) -> None:
    first = await acting_in(s, s.p.who, ONESHOT)
    await s.p.clock.advance(HOUR // 2)
    second = await acting_in(s, first, EXCHANGED)
    assert second.session_id is not None
    await s.p.clock.advance(HOUR // 2)
    assert not s.p.service.sessions.is_alive(second.session_id)


# Clients of the foreign issuer


async def test_a_foreign_clients_credentials_are_tried_at_its_issuer(s: Site) -> None:
    session_id, nonce = await s.session(s.p.who, SessionWrite(client_id="robot", client_secret="s3cret"))
    s.p.service.sessions.bind(PROJECT, nonce)
    assert s.issuer.asked[-1]["grant_type"] == "client_credentials"
    acting = s.p.service.sessions.principal(session_id, 2**52)
    assert acting is not None
    assert (acting.subject, acting.issuer, acting.may("functionsAcl:RUN")) == ("robot", URL, True)
    assert await s.p.service.sessions.issuer_token(session_id) is not None


@pytest.mark.parametrize(
    ("client", "secret", "told"),
    [
        ("robot", "wrong", "invalid_client"),
        ("nobody", "s3cret", "invalid_client"),
        ("stranger", "s3cret", "no access"),
    ],
)
async def test_foreign_credentials_that_are_not_good_make_no_session(
    s: Site, client: str, secret: str, told: str
) -> None:
    with pytest.raises(InvalidError) as error:
        await s.session(s.p.who, SessionWrite(client_id=client, client_secret=secret))
    assert told in refused(error)
    assert secret not in refused(error)


async def test_an_issuer_that_does_not_answer_makes_no_session(s: Site) -> None:
    s.issuer.down = True
    with pytest.raises(InvalidError) as error:
        await s.session(s.p.who, SessionWrite(client_id="robot", client_secret="s3cret"))
    assert "cannot be asked" in refused(error)


async def test_a_schedule_acts_for_a_foreign_client_as_long_as_its_issuer_gives_tokens(s: Site) -> None:
    s.issuer.lifetime = 1800
    session_id, function = await s.scheduled(s.p.who, SessionWrite(client_id="robot", client_secret="s3cret"))
    for _ in range(4):
        assert (await s.next_call(function)).status == "Completed"
    assert len(s.issuer.asked) >= 4
    await s.p.restart()
    function = s.p.service.functions.get(PROJECT, function.record.id)
    await until(lambda: function.record.status == "Ready")
    assert (await s.next_call(function)).status == "Completed", "the secret is kept, encrypted"
    s.issuer.down = True
    call = await s.next_call(function)
    assert (call.status, "cannot be refreshed now" in (call.error_message or "")) == ("Failed", True)
    assert await s.status(session_id) == "ACTIVE", "that nobody answers says nothing of the client"
    s.issuer.down = False
    assert (await s.next_call(function)).status == "Completed"
    del s.issuer.clients["robot"]
    call = await s.next_call(function)
    assert (call.status, "lost its access" in (call.error_message or "")) == ("Failed", True)
    assert await s.status(session_id) == "ACCESS_LOST"
    call = await s.next_call(function)
    assert (call.status, "lost its access" in (call.error_message or "")) == ("Failed", True)


async def test_a_foreign_client_that_left_its_group_has_lost_its_access(s: Site) -> None:
    session_id, function = await s.scheduled(s.p.who, SessionWrite(client_id="robot", client_secret="s3cret"))
    s.issuer.groups["robot"] = []
    assert (await s.next_call(function)).status == "Failed"
    assert await s.status(session_id) == "ACCESS_LOST"


async def test_the_secret_of_a_foreign_client_is_not_in_the_store_in_plain(s: Site) -> None:
    await s.session(s.p.who, SessionWrite(client_id="robot", client_secret="s3cret"))
    dumped = await s.p.store.read(
        lambda connection: "\n".join(connection.connection.dbapi_connection.iterdump())  # type: ignore[union-attr]
    )
    assert "robot" in dumped
    assert "s3cret" not in dumped


# Exchange of foreign tokens


async def test_without_an_exchange_at_the_issuer_the_session_is_the_same_subjects(s: Site) -> None:
    session_id, function = await s.scheduled(await s.who(), EXCHANGED)
    assert s.issuer.asked == []
    assert (await s.next_call(function)).status == "Completed"
    await s.p.clock.advance(30 * 24 * HOUR)
    acting = s.p.service.sessions.principal(session_id, 2**52)
    assert acting is not None
    assert (acting.subject, acting.issuer, acting.may("functionsAcl:RUN")) == ("alice", URL, True)


async def test_a_one_shot_session_of_a_foreign_token_ends_with_the_token(s: Site) -> None:
    who = await s.who(exp=s.p.clock.now() // 1000 + 300)
    acting = await acting_in(s, who, ONESHOT)
    assert acting.session_id is not None
    assert await s.p.service.sessions.issuer_token(acting.session_id) == who.token
    await s.p.clock.advance(320_000)
    assert not s.p.service.sessions.is_alive(acting.session_id)


async def test_tokens_are_exchanged_and_refreshed_where_the_issuer_does_that(exchanging: Site) -> None:
    s = exchanging
    session_id, function = await s.scheduled(await s.who(), EXCHANGED)
    assert s.issuer.asked[-1]["grant_type"] == EXCHANGE
    for _ in range(3):
        assert (await s.next_call(function)).status == "Completed"
    assert [asked["grant_type"] for asked in s.issuer.asked[1:]] == ["refresh_token"] * 3
    await s.p.restart()
    function = s.p.service.functions.get(PROJECT, function.record.id)
    await until(lambda: function.record.status == "Ready")
    assert (await s.next_call(function)).status == "Completed", "the refresh token that came last is the one kept"
    s.issuer.refresh_tokens.clear()
    assert (await s.next_call(function)).status == "Failed"
    assert await s.status(session_id) == "ACCESS_LOST"


async def test_an_exchange_that_the_issuer_refuses_makes_no_session(exchanging: Site) -> None:
    exchanging.issuer.clients.clear()
    with pytest.raises(ApiError) as error:
        await exchanging.session(await exchanging.who(), EXCHANGED)
    assert (error.value.code, "cannot be exchanged" in error.value.message) == (400, True)
    assert exchanging.p.service.sessions._foreign._held == {}, "nor is the caller's token kept"


async def test_a_project_that_trusts_an_issuer_no_more_ends_its_sessions(s: Site) -> None:
    session_id, _ = await s.scheduled(await s.who(), EXCHANGED)
    s.p.projects = Projects(PROJECT)
    await s.p.restart()
    assert await s.status(session_id) == "ACCESS_LOST"


# The nonce


async def test_a_nonce_is_good_once_for_a_minute_and_in_its_project(s: Site) -> None:
    sessions = s.p.service.sessions
    _, nonce = await s.session(s.p.who, ONESHOT)
    with pytest.raises(InvalidError) as elsewhere:
        sessions.bind("lab", nonce)
    bound = sessions.bind(PROJECT, nonce)
    await s.p.store.write_rows(bound.rows, bound.check)
    with pytest.raises(InvalidError) as again:
        sessions.bind(PROJECT, nonce)
    with pytest.raises(InvalidError) as unknown:
        sessions.bind(PROJECT, "never made")
    assert refused(elsewhere) == refused(again) == refused(unknown)
    _, late = await s.session(s.p.who, ONESHOT)
    await s.p.clock.advance(60_001)
    with pytest.raises(InvalidError):
        sessions.bind(PROJECT, late)
