"""Deployments: from Queued over Deploying to Ready or Failed, and what a restart makes of each."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
from pathlib import Path

import pytest
from tests.unit.fakes import PROJECT, Plant, plant, until

from kvern.build.errors import BuildError
from kvern.engine import HandlerError
from kvern.service.functions import LiveFunction
from kvern.store import functions
from kvern.wire.base import ByIdOrExternalId


async def status_kept(p: Plant, function: LiveFunction) -> str:
    rows = await p.store.read(functions.everything)
    return next(row.status for row in rows if row.id == function.record.id)


async def failed(p: Plant) -> LiveFunction:
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: function.record.status == "Failed")
    return function


async def test_a_function_is_queued_then_deploying_then_ready(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create(runtime="py312")
    assert made.status == "Queued"
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: p.builder.requests)
    assert await status_kept(p, function) == "Deploying"
    assert p.service.functions.shown(function).runtime_version is None
    p.builder.holding = False
    await until(lambda: function.record.status == "Ready")
    shown = p.service.functions.shown(function)
    assert (shown.runtime_version, shown.error) == ("Python 3.12.5", None)
    assert p.engine.prepared == [function.revision]


async def test_a_build_gets_all_that_was_given(p: Plant) -> None:
    made = await p.create(
        file_id=await p.upload(b"the zip"),
        function_path="./src/main.py",
        runtime="py311",
        secrets={"key": "hush"},
        env_vars={"A": "1"},
        index_url="https://u:p@host/simple",
        extra_index_urls=["https://more"],
        cpu=0.5,
        memory=0.25,
    )
    await until(lambda: p.engine.prepared)
    (request,) = p.builder.requests
    assert p.builder.bundles == [b"the zip"]
    assert (request.function_id, request.function_path, request.runtime) == (made.id, "./src/main.py", "py311")
    assert (request.index_url, tuple(request.extra_index_urls)) == ("https://u:p@host/simple", ("https://more",))
    assert (request.secrets, request.env_vars) == ({"key": "hush"}, {"A": "1"})
    assert (request.cpu, request.memory) == (0.5, 250_000_000)
    assert "hush" not in repr(request)
    assert "u:p" not in repr(request)


async def test_a_build_that_fails_says_why(p: Plant) -> None:
    p.builder.fails = BuildError("There is no handler.py in the zip.", "handler.py\nnot found")
    shown = p.service.functions.shown(await failed(p))
    assert shown.error is not None
    assert (shown.error.message, shown.error.trace) == ("There is no handler.py in the zip.", "handler.py\nnot found")
    assert p.engine.prepared == []


async def test_a_handler_that_cannot_be_loaded_says_why(p: Plant) -> None:
    p.engine.refuses_to_prepare = HandlerError("ImportError: no foo", "Traceback …")
    function = await failed(p)
    assert (function.record.error_message, function.record.error_trace) == ("ImportError: no foo", "Traceback …")
    assert function.revision is None


async def test_a_trace_is_cut_to_its_end(p: Plant) -> None:
    p.engine.refuses_to_prepare = HandlerError("no", "x" * 5000 + "the end")
    trace = (await failed(p)).record.error_trace or ""
    assert len(trace) == 2000
    assert trace.endswith("the end")


async def test_an_error_without_a_trace_shows_an_empty_one(p: Plant) -> None:
    p.builder.fails = BuildError("no")
    shown = p.service.functions.shown(await failed(p))
    assert shown.error is not None
    assert shown.error.trace == ""


async def test_a_fault_of_the_service_is_told_as_such(p: Plant, caplog: pytest.LogCaptureFixture) -> None:
    p.builder.fails = RuntimeError("a fault")
    function = await failed(p)
    assert "fault of the service" in (function.record.error_message or "")
    assert any(record.exc_info is not None for record in caplog.records)
    p.builder.fails = None
    assert (await p.function()).record.status == "Ready"


async def test_a_bundle_that_is_gone_fails_the_deployment(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: p.builder.requests)
    await p.service.stop(drain=0)
    await p.blobs.delete(function.record.bundle)
    p.builder.holding = False
    await p._anew()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: function.record.status == "Failed")
    assert function.record.error_message == "The service has lost this function's zip; upload and deploy it again"


async def test_a_file_that_is_missing_in_a_build_is_a_fault_and_shows_no_path(p: Plant) -> None:
    p.builder.fails = FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/build/staging/1")
    function = await failed(p)
    assert "fault of the service" in (function.record.error_message or "")
    assert "/data" not in f"{function.record.error_message} {function.record.error_trace}"


async def test_a_full_disk_is_called_one(p: Plant) -> None:
    p.builder.fails = OSError(errno.ENOSPC, "No space left on device", "/data/build/staging/1")
    function = await failed(p)
    assert function.record.error_message == (
        "The disk of the service is full; deploy again when its operator has made room"
    )
    assert function.record.error_trace == "OSError: No space left on device"


async def test_who_waits_for_the_end_of_a_build_is_told_once_and_then_it_is_kept(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: p.builder.requests)
    waiting = asyncio.create_task(p.service.deployments.log(function, 1000, 30))
    await asyncio.sleep(0)
    p.builder.holding = False
    log = await waiting
    assert log.status == "Ready"
    assert await status_kept(p, function) == "Ready"
    assert (await p.service.deployments.log(function, 0, 0)).items[-1].message == "Ready."


async def test_who_follows_the_build_of_a_function_that_is_deleted_is_not_kept_waiting(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: p.builder.requests)
    waiting = asyncio.create_task(p.service.deployments.log(function, 1000, 3600))
    await asyncio.sleep(0)
    await p.service.functions.delete(PROJECT, [ByIdOrExternalId(id=made.id)], ignore_unknown=False)
    async with asyncio.timeout(10):
        await waiting


async def test_a_call_that_waits_for_a_build_which_is_called_off_is_told_so(p: Plant) -> None:
    function = await p.function()
    function.revision = None
    p.builder.made.clear()
    p.builder.holding = True
    waiting = asyncio.create_task(p.service.deployments.obtain(function))
    await until(lambda: len(p.builder.requests) == 2)
    await p.service.deployments.withdraw(function)
    with pytest.raises(BuildError, match="was deleted"):
        await waiting


async def test_a_state_that_cannot_be_kept_fails_the_deployment(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: p.builder.requests)
    p.store.refusing = True
    p.builder.holding = False
    await until(lambda: function.record.status == "Ready")
    await until(lambda: p.store.refused)
    p.store.refusing = False
    assert await status_kept(p, function) == "Deploying"
    await p.restart()  # so it is built again
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: function.record.status == "Ready")


async def test_the_output_of_builds_is_logged_for_those_who_look(p: Plant, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="kvern"):
        await p.function(secrets={"key": "hush-hush"}, index_url="https://u:hush-hush@host")
    assert "Resolved 1 package" in caplog.text
    assert "hush-hush" not in caplog.text


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_a_build_that_was_cut_short_begins_again(p: Plant, how: str) -> None:
    p.builder.holding = True
    made = await p.create()
    await until(lambda: p.builder.requests)
    if how == "stop":
        await p.service.stop(drain=0)
    else:
        await p._die()
    p.builder.holding = False
    await p._anew()
    function = p.service.functions.get(PROJECT, made.id)
    await until(lambda: function.record.status == "Ready")
    assert len(p.builder.requests) == 2
    assert (await p.ended(function)).status == "Completed"


async def test_what_was_ready_is_ready_after_a_restart_without_a_build(p: Plant) -> None:
    function = await p.function(secrets={"key": "v"}, cpu=0.5)
    await p.crash()
    again = p.service.functions.get(PROJECT, function.record.id)
    assert again.record.status == "Ready"
    assert again.revision == function.revision
    assert len(p.builder.requests) == 1
    assert (await p.ended(again)).status == "Completed"


async def test_what_was_ready_and_lost_its_files_is_built_again(p: Plant) -> None:
    function = await p.function()
    await p.service.stop(drain=0)
    p.builder.made.clear()
    await p._anew()
    again = p.service.functions.get(PROJECT, function.record.id)
    await until(lambda: again.record.status == "Ready" and again.revision is not None)
    assert len(p.builder.requests) == 2


async def test_what_failed_stays_failed(p: Plant) -> None:
    p.builder.fails = BuildError("no", "trace")
    function = await failed(p)
    before = p.service.functions.shown(function)
    p.builder.fails = None
    await p.restart()
    again = p.service.functions.get(PROJECT, function.record.id)
    await asyncio.sleep(0)
    assert p.service.functions.shown(again) == before
    assert len(p.builder.requests) == 1


async def test_deployments_go_on_beside_each_other(tmp_path: Path) -> None:
    async with plant(tmp_path) as p:
        p.builder.holding = True
        made = [await p.create() for _ in range(5)]
        await until(lambda: len(p.builder.requests) == 5)
        p.builder.holding = False
        for each in made:
            function = p.service.functions.get(PROJECT, each.id)
            await until(lambda function=function: function.record.status == "Ready")


async def test_what_no_function_uses_is_cleared_away_at_the_start_and_after_deletions(tmp_path: Path) -> None:
    async with plant(tmp_path / "data", unused_build_hours=2) as p:
        await until(lambda: p.builder.collected)
        assert p.builder.collected == [(set(), 7200)]
        kept, gone = await p.function(), await p.function()
        await p.service.functions.delete(PROJECT, [ByIdOrExternalId(id=gone.record.id)], ignore_unknown=False)
        await until(lambda: len(p.builder.collected) == 2)
        assert p.builder.collected[1] == ({kept.record.revision}, 7200)


async def test_the_lock_is_that_of_the_revision(p: Plant) -> None:
    function = await p.function()
    assert function.revision is not None
    lock = p.service.deployments.lock(function)
    assert (lock.function_id, lock.lock) == (function.record.id, function.revision.environment.lock)
    assert lock.environment == function.revision.environment.key


async def test_a_lock_shows_no_credentials_however_they_got_into_it(p: Plant) -> None:
    function = await p.function()
    assert function.revision is not None
    environment = dataclasses.replace(function.revision.environment, lock="x @ https://me:hush@host/x.whl\n")
    function.revision = dataclasses.replace(function.revision, environment=environment)
    assert p.service.deployments.lock(function).lock == "x @ https://host/…\n"


async def test_the_log_of_a_build_tells_its_end(p: Plant) -> None:
    p.builder.fails = BuildError("no such package")
    function = await failed(p)
    await until(lambda: function.record.id not in p.service.deployments._logs._live)
    log = await p.service.deployments.log(function, 0, 0)
    assert [entry.message for entry in log.items] == ["Resolved 1 package", "Failed. no such package"]
    assert log.status == "Failed"
