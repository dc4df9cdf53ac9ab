"""Sessions: a nonce is bound once, within a minute; what a session may do; what ends it, and what is shown of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, acls, until

from kvern.service.clients import Credentials
from kvern.service.identity import Principal
from kvern.service.live_sessions import NONCE_MS
from kvern.service.new_sessions import SESSION_MS
from kvern.store import StoreFault, sessions
from kvern.wire import sessions as wire
from kvern.wire.clients import ClientIds
from kvern.wire.errors import InvalidError, UnauthenticatedError, UnknownItemsError

EXCHANGE = wire.SessionWrite(token_exchange=True)
ONESHOT = wire.SessionWrite(oneshot_token_exchange=True)


async def create(p: Plant, wanted: wire.SessionWrite = EXCHANGE, who: Principal | None = None) -> wire.CreatedSession:
    return await p.service.sessions.create(who or p.who, wanted)


async def bound(p: Plant, wanted: wire.SessionWrite = EXCHANGE, who: Principal | None = None) -> int:
    """A session that acts; its id."""
    made = await create(p, wanted, who)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    record = kept.session
    await p.store.write_rows(kept.rows, kept.check)
    return record.id


async def shown(p: Plant, session_id: int) -> wire.Session:
    (session,) = await p.service.sessions.by_ids(PROJECT, [session_id])
    return session


async def client(p: Plant, *capabilities: str) -> tuple[Principal, Credentials]:
    """A client with these capabilities only, and its secret."""
    made = await p.service.clients.add(PROJECT, "limited", acls(capabilities))
    token = p.service.issuer.client_token(p.service.clients.authenticate(made))
    return await p.known(token), made


def acting(p: Plant, session_id: int) -> Principal | None:
    return p.service.sessions.principal(session_id, 2**52)


# Nonces


async def test_a_nonce_is_bound_once(p: Plant) -> None:
    made = await create(p)
    assert (made.status, (await shown(p, made.id)).status) == ("READY", "READY")
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    record = kept.session
    await p.store.write_rows(kept.rows, kept.check)
    assert (record.id, (await shown(p, made.id)).status) == (made.id, "ACTIVE")
    with pytest.raises(InvalidError, match="Failed to bind session: the nonce is unknown or was used"):
        p.service.sessions.bind(PROJECT, made.nonce)


async def test_a_nonce_that_was_bound_stays_used_after_a_crash(p: Plant) -> None:
    made = await create(p)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    await p.store.write_rows(kept.rows, kept.check)
    await p.crash()
    with pytest.raises(InvalidError):
        p.service.sessions.bind(PROJECT, made.nonce)
    assert p.service.sessions.get(made.id) is not None


async def test_a_nonce_that_was_not_bound_is_good_after_a_crash(p: Plant) -> None:
    made = await create(p)
    await p.crash()
    await p.service.sessions.look_for_nonce(made.nonce)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    record = kept.session
    await p.store.write_rows(kept.rows, kept.check)
    assert (record.id, record.type, record.client_id) == (made.id, made.type, made.client_id)
    assert acting(p, made.id) is not None
    await p.service.sessions.look_for_nonce(made.nonce)
    with pytest.raises(InvalidError):
        p.service.sessions.bind(PROJECT, made.nonce)


async def test_a_nonce_that_was_not_bound_is_not_good_after_a_crash_when_it_was_revoked_or_its_client_is_gone(
    p: Plant,
) -> None:
    revoked = await create(p)
    who, credentials = await client(p, "functionsAcl:READ", "sessionsAcl:CREATE")
    orphan = await create(
        p, wire.SessionWrite(client_id=credentials.client_id, client_secret=credentials.client_secret)
    )
    await p.service.sessions.revoke(p.who, [revoked.id])
    await p.service.clients.remove(p.who, ClientIds(items=[who.subject]))
    await p.crash()
    for made in (revoked, orphan):
        await p.service.sessions.look_for_nonce(made.nonce)
        with pytest.raises(InvalidError):
            p.service.sessions.bind(PROJECT, made.nonce)


async def rows_of(p: Plant, session_id: int) -> list[str]:
    """The statuses of a session in the table."""
    found = await p.store.read(lambda connection: sessions.several(connection, PROJECT, [session_id]))
    return [record.status for record in found.values()]


async def test_a_session_that_waits_is_written_after_a_moment(p: Plant) -> None:
    made = await create(p)
    p.service.sessions._settle_soon()
    await p.service.sessions._settled()
    assert await rows_of(p, made.id) == ["READY"]


async def test_a_waiting_session_whose_row_was_refused_is_written_later_as_it_is_then(p: Plant) -> None:
    waits, is_bound, has_ended = await create(p), await create(p), await create(p)
    with p.store.closed():
        p.service.sessions._settle_soon()
        await until(lambda: p.store.waiting == 1)
        p.service.sessions.bind(PROJECT, is_bound.nonce)
        p.service.sessions.ended(has_ended.id, "REVOKED")
        p.store.refusing = True
    await until(lambda: p.store.refused == 1 and p.service.sessions._writing is None)
    assert await rows_of(p, waits.id) == []
    with pytest.raises(StoreFault, match="cannot be written now"):
        await p.service.sessions.by_ids(PROJECT, [waits.id])
    p.store.refusing = False
    assert (await shown(p, waits.id)).status == "READY"
    assert [await rows_of(p, each.id) for each in (waits, is_bound, has_ended)] == [["READY"], ["ACTIVE"], ["REVOKED"]]


async def test_a_session_that_is_bound_while_its_row_is_written_is_bound_in_the_table(p: Plant) -> None:
    """An end of another session, in the same group, must not take its update before its row is there."""
    other, made = await bound(p), await create(p)
    ending = p.service.sessions.end(other, "EXPIRED")
    p.service.sessions._settle_soon()
    await asyncio.sleep(0)  # its row is entered now, behind the other's end
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    await asyncio.gather(ending, p.store.write_rows(kept.rows, kept.check))
    assert await rows_of(p, made.id) == ["ACTIVE"]


async def test_a_nonce_that_was_changed_is_unknown(p: Plant) -> None:
    made = await create(p)
    await p.crash()
    for nonce in (
        made.nonce[:-2] + "AA",
        "A" + made.nonce[1:],
        made.nonce[:20],
        made.nonce + "A",
        "ä",
        "=",
        "A" * 40_000,
    ):
        await p.service.sessions.look_for_nonce(nonce)
        with pytest.raises(InvalidError):
            p.service.sessions.bind(PROJECT, nonce)


async def test_a_nonce_is_good_for_a_minute(p: Plant) -> None:
    in_time, too_late = await create(p), await create(p)
    await p.clock.advance(NONCE_MS)
    kept = p.service.sessions.bind(PROJECT, in_time.nonce)
    await p.store.write_rows(kept.rows, kept.check)
    await p.clock.advance(1)
    with pytest.raises(InvalidError, match="Failed to bind session: the nonce is older than one minute"):
        p.service.sessions.bind(PROJECT, too_late.nonce)
    assert (await shown(p, too_late.id)).status == "EXPIRED"
    with pytest.raises(InvalidError, match="Failed to bind session"):
        p.service.sessions.bind(PROJECT, too_late.nonce)


async def test_nonces_that_nobody_bound_are_dropped_from_memory(p: Plant) -> None:
    stale = await create(p)
    await p.clock.advance(NONCE_MS + 1)
    fresh = await create(p)
    p.service.sessions.forget_stale()
    assert p.service.sessions._live.ids() & {stale.id, fresh.id} == {fresh.id}
    with pytest.raises(InvalidError):
        p.service.sessions.bind(PROJECT, stale.nonce)


@pytest.mark.parametrize("nonce", ["", "made-up", "é", "x" * 255])
async def test_a_nonce_that_was_made_up(p: Plant, nonce: str) -> None:
    with pytest.raises(InvalidError, match="Failed to bind session"):
        p.service.sessions.bind(PROJECT, nonce)


async def test_a_nonce_of_another_project_is_unknown_and_stays_good(p: Plant) -> None:
    made = await create(p)
    with pytest.raises(InvalidError, match="unknown"):
        p.service.sessions.bind("other", made.nonce)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    await p.store.write_rows(kept.rows, kept.check)


async def test_of_many_that_bind_at_once_one_does(p: Plant) -> None:
    made = await create(p)
    function = await p.function()
    results = await asyncio.gather(*(p.call(function, nonce=made.nonce) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, InvalidError) for result in results) == 4
    await until(lambda: function.running == 0)


async def test_a_nonce_is_nowhere_in_the_store(p: Plant) -> None:
    made = await create(p)
    assert made.nonce not in repr(await p.store.read(sessions.alive))


async def test_a_session_that_cannot_be_kept_is_told_when_it_is_bound(p: Plant) -> None:
    p.store.refusing = True
    made = await create(p)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    with pytest.raises(StoreFault):
        await p.store.write_rows(kept.rows, kept.check)


# What a session may do


async def test_a_token_exchange_acts_as_its_maker(p: Plant) -> None:
    who, _ = await client(p, "functionsAcl:READ", "sessionsAcl:CREATE")
    made = await create(p, EXCHANGE, who)
    assert (made.type, made.client_id) == ("TOKEN_EXCHANGE", None)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    await p.store.write_rows(kept.rows, kept.check)
    principal = acting(p, made.id)
    assert principal is not None
    assert (principal.subject, principal.project, principal.session_id) == (who.subject, PROJECT, made.id)
    assert principal.may("functionsAcl:READ")
    assert not principal.may("functionsAcl:WRITE")


async def test_client_credentials_act_as_that_client(p: Plant) -> None:
    other, given = await client(p, "filesAcl:READ")
    wanted = wire.SessionWrite(client_id=given.client_id, client_secret=given.client_secret)
    made = await create(p, wanted)
    assert (made.type, made.client_id) == ("CLIENT_CREDENTIALS", other.subject)
    kept = p.service.sessions.bind(PROJECT, made.nonce)
    await p.store.write_rows(kept.rows, kept.check)
    principal = acting(p, made.id)
    assert principal is not None
    assert principal.subject == other.subject
    assert principal.may("filesAcl:READ")
    assert not principal.may("functionsAcl:READ")


async def test_client_credentials_that_are_not_good_say_no_more_than_that(p: Plant) -> None:
    _, given = await client(p)
    messages: set[str] = set()
    for wrong in (
        wire.SessionWrite(client_id=given.client_id, client_secret="wrong"),
        wire.SessionWrite(client_id="nobody", client_secret=given.client_secret),
        wire.SessionWrite(client_id="nobody", client_secret="wrong"),
    ):
        with pytest.raises(InvalidError) as caught:
            await create(p, wrong)
        messages.add(caught.value.message)
    assert len(messages) == 1
    assert given.client_secret not in messages.pop()


async def test_a_one_shot_session_ends_after_an_hour_the_others_go_on(p: Plant) -> None:
    one_shot, lasting = await bound(p, ONESHOT), await bound(p, EXCHANGE)
    await p.clock.advance(SESSION_MS - 1)
    assert p.service.sessions.is_alive(one_shot)
    await p.clock.advance(1)
    assert not p.service.sessions.is_alive(one_shot)
    assert (await shown(p, one_shot)).status == "EXPIRED"
    await p.clock.advance(30 * 24 * SESSION_MS)
    assert p.service.sessions.is_alive(lasting)
    session = await shown(p, lasting)
    assert (session.status, session.expiration_time) == ("ACTIVE", p.clock.now() + SESSION_MS)


async def test_an_implicit_session_is_a_one_shot_one_of_the_caller(p: Plant) -> None:
    kept = p.service.sessions.implicit(p.who)
    record = kept.session
    await p.store.write_rows(kept.rows, kept.check)
    session = await shown(p, record.id)
    assert (session.type, session.status, record.subject) == ("ONESHOT_TOKEN_EXCHANGE", "ACTIVE", p.who.subject)


async def test_a_session_that_was_not_bound_does_not_act(p: Plant) -> None:
    made = await create(p)
    assert p.service.sessions.get(made.id) is None
    assert acting(p, made.id) is None


async def test_sessions_made_inside_a_function_go_one_level_deep(p: Plant) -> None:
    inside = acting(p, await bound(p))
    assert inside is not None
    deeper = acting(p, await bound(p, EXCHANGE, inside))
    assert deeper is not None
    for attempt in (EXCHANGE, ONESHOT):
        with pytest.raises(InvalidError, match="one level deep"):
            await create(p, attempt, deeper)
    with pytest.raises(InvalidError, match="one level deep"):
        p.service.sessions.implicit(deeper)


# What ends a session


async def test_a_client_that_is_removed_ends_its_sessions(p: Plant) -> None:
    who, given = await client(p, "functionsAcl:READ")
    wanted = wire.SessionWrite(client_id=given.client_id, client_secret=given.client_secret)
    theirs = [await bound(p, EXCHANGE, who), await bound(p, wanted)]
    mine = await bound(p)
    await p.service.clients.remove(p.who, ClientIds(items=[given.client_id]))
    assert [p.service.sessions.is_alive(number) for number in [*theirs, mine]] == [False, False, True]
    for number in theirs:
        assert (await shown(p, number)).status == "ACCESS_LOST"
    assert "client was removed" in await p.service.sessions.why_ended(theirs[0])


async def test_revoking_ends_a_session_at_once_and_for_good(p: Plant) -> None:
    ready, active = (await create(p)), await bound(p)
    revoked = await p.service.sessions.revoke(p.who, [ready.id, active])
    assert [session.status for session in revoked if isinstance(session, wire.Session)] == ["REVOKED", "REVOKED"]
    assert not p.service.sessions.is_alive(active)
    with pytest.raises(InvalidError):
        p.service.sessions.bind(PROJECT, ready.nonce)
    await p.crash()
    assert not p.service.sessions.is_alive(active)
    assert "was revoked" in await p.service.sessions.why_ended(active)


async def test_revoking_again_changes_nothing(p: Plant) -> None:
    number = await bound(p)
    for _ in range(3):
        (session,) = await p.service.sessions.revoke(p.who, [number, number][:1])
        assert isinstance(session, wire.Session)
        assert session.status == "REVOKED"


async def test_revoking_leaves_what_ended_otherwise_as_it_is(p: Plant) -> None:
    number = await bound(p)
    await p.service.sessions.end(number, "CANCELLED")
    (session,) = await p.service.sessions.revoke(p.who, [number])
    assert isinstance(session, wire.Session)
    assert session.status == "CANCELLED"
    await p.service.sessions.end(number, "EXPIRED")
    assert (await shown(p, number)).status == "CANCELLED"


async def test_revoking_tells_bare_ids_to_those_who_may_not_list(p: Plant) -> None:
    number = await bound(p)
    assert await p.service.sessions.revoke(p.principal("sessionsAcl:DELETE"), [number]) == [{"id": number}]


async def test_revoking_a_session_revokes_what_its_function_made(p: Plant) -> None:
    outer = await bound(p)
    inside = acting(p, outer)
    inner = await bound(p, EXCHANGE, inside)
    await p.service.sessions.revoke(p.who, [outer])
    assert not p.service.sessions.is_alive(inner)


async def test_one_unknown_session_and_none_is_revoked(p: Plant) -> None:
    number = await bound(p)
    for who in (p.who, p.principal(project="other")):
        with pytest.raises(UnknownItemsError) as caught:
            await p.service.sessions.revoke(who, [number, 7000])
        assert {"id": 7000} in caught.value.missing
    assert p.service.sessions.is_alive(number)


# What is shown


async def listed(p: Plant, status: str | None = None) -> list[wire.Session]:
    found, _ = await p.service.sessions.page(PROJECT, status, 1000, None)
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_pages_hold_every_session_once_newest_first(p: Plant, limit: int) -> None:
    ids = [(await create(p)).id for _ in range(3)]
    found: list[int] = []
    after: int | None = None
    while True:
        page, after = await p.service.sessions.page(PROJECT, None, limit, after)
        found.extend(session.id for session in page)
        if after is None:
            break
    assert found == ids[::-1]


async def test_every_session_is_listed_under_the_status_that_it_shows(p: Plant) -> None:
    stale = (await create(p)).id
    one_shot = await bound(p, ONESHOT)
    await p.clock.advance(SESSION_MS)
    cancelled, revoked, active = await bound(p), await bound(p), await bound(p)
    await p.service.sessions.end(cancelled, "CANCELLED")
    await p.service.sessions.revoke(p.who, [revoked])
    ready = (await create(p)).id
    statuses = {
        stale: "EXPIRED",
        one_shot: "EXPIRED",
        cancelled: "CANCELLED",
        revoked: "REVOKED",
        active: "ACTIVE",
        ready: "READY",
    }
    assert {session.id: session.status for session in await listed(p)} == statuses
    for status in {*statuses.values(), "ACCESS_LOST"}:
        ids = [session.id for session in await listed(p, status)]
        assert ids == sorted((one for one, its in statuses.items() if its == status), reverse=True), status


async def test_several_come_in_the_order_asked_for(p: Plant) -> None:
    ids = [(await create(p)).id for _ in range(3)]
    asked = [ids[2], ids[0], ids[1]]
    assert [session.id for session in await p.service.sessions.by_ids(PROJECT, asked)] == asked
    with pytest.raises(UnknownItemsError):
        await p.service.sessions.by_ids("other", ids)


async def test_what_is_old_and_not_in_use_is_forgotten(p: Plant) -> None:
    day = 24 * SESSION_MS
    function = await p.function()
    schedule = await p.schedule(function, "0 0 1 1 *")
    unbound, ended, active = (await create(p)).id, await bound(p), await bound(p)
    await p.service.sessions.end(ended, "EXPIRED")
    assert unbound in {session.id for session in await listed(p)}
    await p.clock.advance(3 * day)
    fresh = (await create(p)).id
    await p.service._forget(p.clock.now())
    left = {session.id for session in await listed(p)}
    assert {unbound, ended} & left == set()
    assert {schedule.session_id, fresh} <= left
    assert active not in left  # nothing holds it, and its time is over


# Tokens of sessions


async def test_the_token_of_a_session_ends_with_the_session(p: Plant) -> None:
    number = await bound(p)
    record: Any = p.service.sessions.get(number)
    token = p.service.issuer.session_token(record, 600)
    assert (await p.known(token)).session_id == number
    await p.service.sessions.revoke(p.who, [number])
    for _ in range(2):
        with pytest.raises(UnauthenticatedError, match="session"):
            await p.known(token)


async def test_the_token_of_a_session_ends_when_its_own_time_is_over(p: Plant) -> None:
    record: Any = p.service.sessions.get(await bound(p))
    token = p.service.issuer.session_token(record, 600)
    await p.clock.advance(599_000)
    await p.known(token)
    await p.clock.advance(1_000)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await p.known(token)
