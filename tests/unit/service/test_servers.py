"""Several servers on one database: what each sees of the others, and what becomes of one that dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.cluster import MASTER_KEY, Cluster, Door, cluster
from tests.unit.fakes import PROJECT, Plant, once, raised, until

from kvern.build.errors import BuildError
from kvern.engine import LogLine
from kvern.service import call_logs, issuer
from kvern.service import servers as servers_module
from kvern.service import service as whole
from kvern.service.functions import LiveFunction
from kvern.service.keys import shared_keys
from kvern.service.live_calls import LiveCall
from kvern.settings import Settings
from kvern.store import FencedError
from kvern.store import blobs as local_blobs
from kvern.wire.base import ByIdOrExternalId
from kvern.wire.clients import ClientIds
from kvern.wire.errors import BusyError, InvalidError, NotFoundError, UnauthenticatedError
from kvern.wire.functions import Retries
from kvern.wire.groups import GroupWrite
from kvern.wire.schedules import ScheduleFilter
from kvern.wire.sessions import SessionWrite

MINUTE = 60_000
DAY = 1440 * MINUTE


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path) as made:
        yield made


@pytest.fixture
async def a(servers: Cluster) -> Plant:
    return await servers.server()


@pytest.fixture
async def b(servers: Cluster, a: Plant) -> Plant:
    return await servers.server()


async def there(plant: Plant, function: LiveFunction) -> LiveFunction:
    """A function that another server made, as `plant` has it."""
    await plant.service.changes.catch_up()
    return plant.service.functions.get(PROJECT, function.record.id)


async def end_of(plant: Plant, live: LiveCall) -> tuple[str, str | None]:
    """How a call ended, as `plant` tells it, once it has."""
    record = await plant.service.history.get(PROJECT, live.record.function_id, live.record.id, wait=5)
    assert record.status != "Running"
    return record.status, record.error_message


def door(plant: Plant) -> Door:
    found: Any = plant.store
    assert isinstance(found, Door)
    return found


def cut_off(plant: Plant) -> bool:
    """Let the lease run out, as the server itself sees it; whether it has killed its workers."""
    plant.service.servers._until = 0.0
    return plant.engine.stopped


# What one does, the others see


async def test_a_function_of_one_server_runs_on_another_with_the_same_packages(a: Plant, b: Plant) -> None:
    function = await a.function()
    assert function.revision is not None
    assert (await b.ended(await there(b, function))).status == "Completed"
    (request,) = b.builder.requests
    assert request.lock == function.revision.environment.lock
    assert a.engine.orders == []
    await b.ended(await there(b, function))
    assert len(b.builder.requests) == 1


async def test_a_function_that_cannot_be_made_elsewhere_says_so_and_stays_ready(a: Plant, b: Plant) -> None:
    function = await a.function()
    b.builder.fails = BuildError("no such interpreter")
    record = await b.ended(await there(b, function))
    assert (record.status, record.error_message) == ("Failed", "no such interpreter")
    b.builder.fails = ValueError("a fault")
    record = await b.ended(await there(b, function))
    assert (record.status, record.error_message) == ("Failed", "A fault of the service; its log tells more")
    assert function.record.status == "Ready"
    b.builder.fails = None
    assert (await b.ended(await there(b, function))).status == "Completed"


async def test_deletions_are_seen_by_the_others_and_end_what_runs_there(a: Plant, b: Plant) -> None:
    function = await a.function(external_id="x")
    b.engine.holding = True
    live = await b.call(await there(b, function))
    await b.began(live)
    await a.service.functions.delete(PROJECT, [ByIdOrExternalId(id=function.record.id)], ignore_unknown=False)
    await b.service.changes.catch_up()
    assert b.engine.cancelled == [live.record.id]
    with pytest.raises(NotFoundError):
        b.service.functions.get(PROJECT, function.record.id)
    assert (await b.function(external_id="x")).record.external_id == "x"


async def test_clients_and_groups_are_the_same_everywhere(a: Plant, b: Plant) -> None:
    who, token = await a.login()
    await b.service.changes.catch_up()
    assert (await b.known(token)).subject == who.subject
    await a.service.groups.create(who, [GroupWrite(name="readers", capabilities=[])])
    await b.service.changes.catch_up()
    assert "readers" in {group.name for group in b.service.groups.listed(who, everyone=True)}
    await a.service.clients.remove(a.who, ClientIds(items=[who.subject]))
    await b.service.changes.catch_up()
    with pytest.raises(UnauthenticatedError):
        await b.known(token)


async def test_a_session_ends_everywhere_when_it_is_revoked(a: Plant, b: Plant) -> None:
    kept = a.service.sessions.implicit(a.who)
    session = kept.session
    await a.store.write_rows(kept.rows, kept.check)
    token = b.service.issuer.session_token(session, 60)
    assert (await b.known(token)).session_id == session.id
    await a.service.sessions.revoke(a.who, [session.id])
    await b.service.changes.catch_up()
    with pytest.raises(UnauthenticatedError):
        await b.known(token)


async def test_a_nonce_of_one_server_is_good_on_another_and_once_only(a: Plant, b: Plant) -> None:
    function = await a.function()
    nonce = (await a.service.sessions.create(a.who, SessionWrite(token_exchange=True))).nonce
    others = await there(b, function)
    outcomes = await asyncio.gather(b.call(others, nonce=nonce), a.call(function, nonce=nonce), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["InvalidError", "LiveCall"]
    with pytest.raises(InvalidError, match="nonce"):
        await a.call(function, nonce=nonce)


async def test_a_call_that_another_server_runs_can_be_waited_for_and_read(a: Plant, b: Plant) -> None:
    function = await a.function()
    await there(b, function)
    a.engine.holding = True
    live = await a.call(function)
    order = await a.began(live)
    order.on_log([LogLine(1, "hello")])
    waiting = asyncio.create_task(end_of(b, live))
    following = asyncio.create_task(b.service.history.log(PROJECT, function.record.id, live.record.id, wait=5))
    a.engine.end(live.record.id)
    assert await waiting == ("Completed", None)
    assert b"hello" in await following


async def test_a_call_that_another_server_runs_is_cancelled_through_the_database(servers: Cluster, a: Plant) -> None:
    function = await a.function()
    a.engine.holding = True
    live = await a.call(function)
    await a.began(live)
    await servers.execute(f"UPDATE calls SET cancel_time = 1 WHERE id = {live.record.id}")
    await a.service.changes.catch_up()
    assert a.engine.cancelled == [live.record.id]


async def test_limits_count_the_calls_of_other_servers(servers: Cluster) -> None:
    a, b = await servers.server(max_function_calls=2), await servers.server(max_function_calls=2)
    function = await a.function()
    others = await there(b, function)
    a.engine.holding = True
    for _ in range(2):
        await a.call(function)
    await until(lambda: list(b.service.servers.elsewhere.values()) == [2])
    with pytest.raises(BusyError, match="for this function"):
        await b.call(others)


async def test_a_number_of_the_feed_that_is_seen_late_is_not_passed_over(servers: Cluster, a: Plant, b: Plant) -> None:
    await b.service.changes.catch_up()
    ((last,),) = await servers.rows("SELECT max(number) FROM changes")
    function = await a.function()
    await servers.execute(f"UPDATE changes SET number = number + 1000000 WHERE number > {last}")
    await b.service.changes.catch_up()
    assert b.service.functions.get(PROJECT, function.record.id).record.status == "Ready"
    await servers.execute(f"UPDATE functions SET name = 'late' WHERE id = {function.record.id}")
    await servers.execute(
        f"UPDATE changes SET number = {last} + 1000000 - 5 WHERE number = (SELECT max(number) FROM changes)"
    )
    await b.service.changes.catch_up()
    assert b.service.functions.get(PROJECT, function.record.id).record.name == "late"


# One that dies


async def test_calls_of_a_server_that_dies_end_or_run_elsewhere_and_none_runs_twice(
    servers: Cluster, a: Plant, b: Plant
) -> None:
    function = await a.function()
    await there(b, function)
    a.engine.holding = True
    begun = await a.call(function)
    await a.began(begun)
    a.engine.room = False
    waiting = [await a.call(function) for _ in range(3)]
    door(a).closed = True

    gone = await servers.let_die(a)
    assert await end_of(b, begun) == ("Failed", f"The call was interrupted: server {gone} died")
    for live in waiting:
        assert await end_of(b, live) == ("Completed", None)
    assert sorted(order.call_id for order in b.engine.orders) == sorted(live.record.id for live in waiting)
    assert [order.call_id for order in a.engine.orders] == [begun.record.id]


async def test_a_server_that_was_taken_for_dead_writes_nothing_more_and_joins_anew(
    servers: Cluster, a: Plant, b: Plant
) -> None:
    function = await a.function()
    await there(b, function)
    a.engine.holding = True
    begun = await a.call(function)
    await a.began(begun)
    door(a).closed = True  # frozen, as far as the others can see
    gone = await servers.let_die(a)
    assert await end_of(b, begun) == ("Failed", f"The call was interrupted: server {gone} died")

    door(a).closed = False
    with pytest.raises(FencedError):
        await a.service.clients.add(PROJECT, "too late")
    await until(lambda: a.service.servers.id not in (None, gone))
    await until(lambda: not a.engine.stopped)
    assert a.engine.running == []
    assert await end_of(a, begun) == ("Failed", f"The call was interrupted: server {gone} died")
    a.engine.holding = False
    assert (await a.ended(function)).status == "Completed"


async def test_a_server_cuts_itself_off_when_it_cannot_renew_its_lease(servers: Cluster) -> None:
    a = await servers.server()
    function = await a.function()
    a.engine.holding = True
    begun = await a.call(function)
    await a.began(begun)
    door(a).closed = True
    await until(lambda: cut_off(a))
    with pytest.raises(BusyError, match="cut off"):
        await a.call(function)
    door(a).closed = False
    await until(lambda: a.service.servers.id is not None and not a.engine.stopped)
    status, message = await end_of(a, begun)
    assert status == "Failed"
    assert message is not None
    assert message.startswith("The call was interrupted: server ")


async def test_calls_that_had_not_begun_run_again_on_the_server_that_was_cut_off(servers: Cluster) -> None:
    a = await servers.server()
    function = await a.function()
    a.engine.room = False
    waiting = await a.call(function)
    door(a).closed = True
    await until(lambda: cut_off(a))
    door(a).closed = False
    a.engine.room = True
    assert await end_of(a, waiting) == ("Completed", None)
    assert [order.call_id for order in a.engine.orders] == [waiting.record.id]


async def test_an_attempt_that_could_not_be_kept_in_time_is_written_by_nobody(
    servers: Cluster, a: Plant, b: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    function = await a.function(retries=Retries(attempts=2, on=["raised"]))
    await there(b, function)
    a.engine.holding = True
    begun = await a.call(function)
    order = await a.began(begun)
    order.on_log([LogLine(1, "hello")])
    door(a).closed = True
    a.engine.end(begun.record.id, raised())
    await until(lambda: "could not be kept" in caplog.text)
    gone = await servers.let_die(a)
    assert (await end_of(b, begun))[0] == "Failed"
    door(a).closed = False
    await until(lambda: a.service.servers.id not in (None, gone))
    await asyncio.wait_for(begun.ended, 5)
    assert await servers.rows("SELECT verdict FROM attempts") == []
    assert await servers.rows("SELECT chunk FROM call_logs") == []
    assert await end_of(a, begun) == ("Failed", f"The call was interrupted: server {gone} died")


async def test_lines_that_could_not_be_kept_are_forgotten_with_their_calls(
    servers: Cluster, a: Plant, b: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(call_logs, "_LOG_EVERY", 0.01)
    function = await a.function()
    await there(b, function)
    a.engine.holding = True
    begun = await a.call(function)
    order = await a.began(begun)
    door(a).closed = True
    order.on_log([LogLine(1, "hello")])
    await until(lambda: "cannot be kept now" in caplog.text)
    gone = await servers.let_die(a)
    assert (await end_of(b, begun))[0] == "Failed"
    door(a).closed = False
    await until(lambda: a.service.servers.id not in (None, gone))
    later = await a.call(function)
    (await a.began(later)).on_log([LogLine(2, "again")])
    while not (rows := await servers.rows("SELECT call_id FROM call_logs")):
        await asyncio.sleep(0.01)
    assert rows == [(later.record.id,)]


async def test_what_waits_on_a_server_that_stops_in_order_runs_elsewhere_at_once(a: Plant, b: Plant) -> None:
    function = await a.function()
    await there(b, function)
    a.engine.room = False
    waiting = await a.call(function)
    await a.service.stop(drain=0)
    assert await end_of(b, waiting) == ("Completed", None)


async def test_a_deployment_of_a_server_that_dies_is_done_by_another(servers: Cluster, a: Plant, b: Plant) -> None:
    a.builder.holding = True
    made = await a.create()
    await until(lambda: a.builder.requests)
    door(a).closed = True
    await servers.let_die(a)
    await until(lambda: b.builder.requests)
    await until(lambda: b.service.functions.get(PROJECT, made.id).record.status == "Ready")
    assert (await b.ended(b.service.functions.get(PROJECT, made.id))).status == "Completed"


async def test_a_start_on_the_same_folder_takes_over_at_once(servers: Cluster, a: Plant, tmp_path: Path) -> None:
    note = a.settings.data_dir / "server"
    assert note.read_text() == a.service.servers.id
    b = await servers.server()
    function = await a.function()
    a.engine.room = False
    waiting = await a.call(function)
    door(a).closed = True
    (tmp_path / "server-2").mkdir()
    (tmp_path / "server-2" / "server").write_text(note.read_text())
    c = await servers.server()
    assert await end_of(c, waiting) == ("Completed", None)
    assert len(await servers.rows("SELECT id FROM servers")) == 2
    assert b.service.servers.alive


async def test_the_one_that_leads_clears_away_what_nobody_names(
    servers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_TIDY_EVERY", 0.01)
    a = await servers.server()
    function = await a.function()
    forgotten, _ = await a.blobs.write(once(b"forgotten"), 100)
    monkeypatch.setattr(local_blobs, "time", SimpleNamespace(time=lambda: time.time() + 2 * DAY / 1000))
    await a.clock.advance(2 * DAY)

    async def is_there(key: str) -> bool:
        try:
            async with a.blobs.local(key):
                return True
        except FileNotFoundError:
            return False

    while await is_there(forgotten):
        await asyncio.sleep(0.01)
    assert await is_there(function.record.bundle)


# Schedules


def ticks(records: list[Any]) -> list[int]:
    return sorted(record.scheduled_time for record in records)


async def test_every_due_time_has_one_call_while_servers_come_and_go(servers: Cluster, a: Plant, b: Plant) -> None:
    function = await a.function()
    await there(b, function)
    await a.schedule(function)
    await b.service.changes.catch_up()
    assert (a.service.servers.leads, b.service.servers.leads) == (True, False)
    start = a.clock.now()
    await a.clock.advance(2 * MINUTE)
    await until(lambda: len(a.engine.orders) == 2)
    door(a).closed = True
    await servers.let_die(a)
    await until(lambda: b.service.servers.leads)
    await until(lambda: b.service.schedules._ticker.ticks)
    await a.clock.advance(2 * MINUTE)
    await until(lambda: len(b.engine.orders) >= 2)
    rows = await servers.rows("SELECT scheduled_time, count(*) FROM calls GROUP BY scheduled_time ORDER BY 1")
    first = start // MINUTE * MINUTE + MINUTE
    assert rows == [(first + n * MINUTE, 1) for n in range(4)]


async def test_the_time_until_a_new_leader_fires_counts_as_time_in_which_nobody_led(
    servers: Cluster, a: Plant, b: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Callable[[], float]] = []

    async def lead(unled: Callable[[], float]) -> None:
        asked.append(unled)

    monkeypatch.setattr(b.service.schedules, "lead", lead)
    door(a).closed = True
    await servers.let_die(a)
    await until(lambda: asked)
    before = asked[0]()
    assert before > 0
    now = servers_module._clock
    monkeypatch.setattr(servers_module, "_clock", lambda: now() + 30)
    assert asked[0]() >= before + 30
    monkeypatch.setattr(servers_module, "_clock", now)


async def test_a_scheduled_call_stays_with_the_server_that_fired_it(servers: Cluster) -> None:
    a = await servers.server(heartbeat_seconds=1000)  # only the other looks for what has lost its server
    b = await servers.server()
    function = await a.function()
    await there(b, function)
    await a.schedule(function)
    a.engine.holding = True
    await a.clock.advance(MINUTE)
    await until(lambda: a.engine.running)
    assert await servers.rows("SELECT begun, server FROM calls") == [(1, a.service.servers.id)]
    await b.service.servers._sweep()
    (live,) = a.service.calls._running.everything()
    a.engine.end(live.record.id)
    await live.ended
    assert await servers.rows("SELECT status, verdict FROM calls") == [("Completed", "returned")]
    assert b.engine.orders == []


async def test_schedules_of_one_server_are_fired_by_the_one_that_leads(servers: Cluster, a: Plant, b: Plant) -> None:
    function = await a.function()
    made = await b.schedule(await there(b, function))
    await a.service.changes.catch_up()
    assert [one.id for one in a.service.schedules.select(PROJECT, ScheduleFilter(), None)] == [made.id]
    await a.clock.advance(MINUTE)
    await until(lambda: a.engine.orders)
    assert b.engine.orders == []
    await b.service.schedules.delete(PROJECT, [made.id])
    await a.service.changes.catch_up()
    assert a.service.schedules.select(PROJECT, ScheduleFilter(), None) == []


# Keys


async def test_servers_share_the_keys_of_tokens_and_links(a: Plant, b: Plant) -> None:
    made = await a.service.files.create(a.who, _file(), overwrite=True)
    link = a.service.uploads.link(PROJECT, made.id)
    await b.service.uploads.take(link, once(b"x"))
    assert (await b.service.files.get(b.who, made.id)).size == 1


def _file() -> Any:
    from kvern.wire.files import FileWrite

    return FileWrite(name="x")


async def test_another_master_key_is_refused_with_what_to_do(a: Plant, tmp_path: Path) -> None:
    other = "OTk5OTk5OTk5OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    with pytest.raises(ValueError, match="set KVERN_MASTER_KEY"):
        await shared_keys(a.store, tmp_path / "other", other)
    await shared_keys(a.store, tmp_path / "both", f"{other},{MASTER_KEY}")


async def test_the_first_server_brings_the_keys_that_it_had(servers: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    pem = issuer.new_key()
    (folder / "issuer.pem").write_bytes(pem)
    store: Any = Door(servers.store)
    assert (await shared_keys(store, folder, MASTER_KEY)).issuer == pem
    assert (await shared_keys(store, tmp_path / "others", MASTER_KEY)).issuer == pem


async def test_the_master_key_of_a_folder_stays_while_others_share_the_database(servers: Cluster, a: Plant) -> None:
    a.service.master_key._vault._given = []
    assert len((await a.service.servers.everyone())[0]) == 1
    await servers.server()
    with pytest.raises(InvalidError, match="KVERN_MASTER_KEY=NEW,OLD"):
        await a.service.master_key.rotate()


def test_a_lease_shorter_than_three_heartbeats_is_refused() -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        Settings(lease_seconds=2, heartbeat_seconds=1)
