"""The service as a whole: its client file, its lock, what it clears away at the start and as time goes by."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.unit.fakes import BASE_URL, PROJECT, Plant, plant, until

from kvern.engine import LogLine
from kvern.service import retention
from kvern.service import service as whole
from kvern.service.clients import Credentials
from kvern.service.links import UPLOAD_MS
from kvern.service.service import CLIENT_FILE, DataDirBusyError, data_dir_lock
from kvern.store import tables
from kvern.wire.clients import ClientIds
from kvern.wire.files import FileWrite

DAY = 24 * 3_600_000


def client_file(p: Plant) -> dict[str, str]:
    return json.loads((p.settings.data_dir / CLIENT_FILE).read_text())


async def count(p: Plant, name: str) -> int:
    statement = select(func.count()).select_from(tables.metadata.tables[name])
    return await p.store.read(lambda connection: connection.execute(statement).scalar_one())


# The first client


async def test_the_first_start_makes_a_client_and_keeps_it_private(p: Plant) -> None:
    path = p.settings.data_dir / CLIENT_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    content = client_file(p)
    assert (content["baseUrl"], content["project"]) == (BASE_URL, PROJECT)
    assert content["tokenUrl"] == f"{BASE_URL}/oauth2/token"
    client = p.service.clients.authenticate(Credentials(content["clientId"], content["clientSecret"]))
    assert client.project == PROJECT


async def test_later_starts_keep_the_client_and_tell_the_new_address(p: Plant) -> None:
    before = client_file(p)
    await p.service.stop(drain=0)
    p.service = whole.Service(
        p.settings,
        store=p.store,
        blobs=p.blobs,
        clock=p.clock,
        builder=p.builder,
        engine=p.engine,  # type: ignore[arg-type]
    )
    await p.service.start()
    await p.service.begin("http://elsewhere:1")
    after = client_file(p)
    assert after == {**before, "baseUrl": "http://elsewhere:1", "tokenUrl": "http://elsewhere:1/oauth2/token"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"clientId": "nobody"}', "\xff"])
async def test_a_client_file_that_is_broken_is_made_anew(p: Plant, content: str) -> None:
    before = client_file(p)
    (p.settings.data_dir / CLIENT_FILE).write_bytes(content.encode("latin-1"))
    await p.restart()
    after = client_file(p)
    assert after["clientId"] != before["clientId"]
    p.service.clients.authenticate(Credentials(after["clientId"], after["clientSecret"]))


async def test_a_client_file_whose_client_was_removed_is_made_anew(p: Plant) -> None:
    before = client_file(p)
    await p.service.clients.remove(p.who, ClientIds(items=[before["clientId"]]))
    await p.restart()
    assert client_file(p)["clientId"] != before["clientId"]


# The data folder


def test_one_service_holds_a_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with data_dir_lock(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(DataDirBusyError, match="in use by another kvern service"), data_dir_lock(folder):
            pass
    with data_dir_lock(folder):
        pass


async def test_a_start_clears_away_what_was_cut_short(p: Plant) -> None:
    function = await p.function()
    await p.service.stop(drain=0)
    blobs = p.settings.data_dir / "blobs"
    (blobs / "ab").mkdir(exist_ok=True)
    leftovers = [blobs / "incoming" / "half", blobs / "ab" / ("ab" * 20)]
    for leftover in leftovers:
        leftover.write_bytes(b"x")
    await p._anew()
    assert not any(leftover.exists() for leftover in leftovers)
    async with p.blobs.local(function.record.bundle) as path:
        assert path.read_bytes() == b"a zip"


# As time goes by


async def test_calls_are_kept_for_as_long_as_the_setting_says(tmp_path: Path) -> None:
    async with plant(tmp_path, retention_days=10) as p:
        function = await p.function()
        p.engine.holding = True
        for ends in (True, True, False):
            live = await p.call(function)
            (await p.began(live)).on_log([LogLine(1, "a line")])
            if ends:
                p.engine.end(live.record.id)
                await asyncio.wait_for(live.ended, 5)
        await p.service._forget(p.clock.now() + 10 * DAY)
        assert (await count(p, "calls"), await count(p, "call_logs")) == (3, 2)
        await p.service._forget(p.clock.now() + 10 * DAY + 1)
        assert (await count(p, "calls"), await count(p, "call_logs")) == (1, 0)  # one still runs
        assert [record.status for record in await p.calls_of(function)] == ["Running"]


async def test_old_calls_are_forgotten_in_small_steps(p: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 2)
    function = await p.function()
    for _ in range(5):
        await p.ended(function)
    await p.service._forget(p.clock.now() + 100 * DAY)
    assert await count(p, "calls") == 0


async def test_a_file_that_nobody_uploaded_is_forgotten_after_a_week(p: Plant) -> None:
    wanted = FileWrite(name="a.zip", external_id="x")
    await p.service.files.create(p.who, wanted, overwrite=False)
    uploaded = await p.upload()
    await p.service._forget(p.clock.now() + UPLOAD_MS)
    assert await count(p, "files") == 2
    await p.clock.advance(DAY)
    await p.service.files.create(p.who, wanted, overwrite=True)  # a new link, good for a week from now
    await p.service._forget(p.clock.now() + UPLOAD_MS)
    assert await count(p, "files") == 2
    await p.service._forget(p.clock.now() + UPLOAD_MS + 1)
    assert await count(p, "files") == 1
    assert (await p.service.files.retrieve(p.who, uploaded)).uploaded


async def test_tidying_up_goes_on_after_the_store_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(whole, "_TIDY_EVERY", 0.001)
    async with plant(tmp_path, retention_days=1) as p:
        await p.ended(await p.function())
        p.store.refusing = True
        await p.clock.advance(2 * DAY)
        await until(lambda: p.store.refused > 3)
        p.store.refusing = False
        left = 1
        while left:
            left = await count(p, "calls")


async def test_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with plant(tmp_path) as p:
        function = await p.function()
        await p.schedule(function)
        p.engine.holding = True
        await p.call(function)
    await until(lambda: asyncio.all_tasks() <= before)


async def test_stopping_twice_does_no_harm(p: Plant) -> None:
    await p.service.stop(drain=0)
    await p.service.stop(drain=0)
