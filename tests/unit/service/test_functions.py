"""Functions: what may be created, how they are found, what goes with them when they are deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, plant, returned, until

from kvern.service.shots import Due
from kvern.store import StoreFault, schedules
from kvern.wire import functions as wire
from kvern.wire.base import ByIdOrExternalId, TimeRange
from kvern.wire.errors import ForbiddenError, InvalidError, NotFoundError, TakenError, UnknownItemsError
from kvern.wire.files import FileId, FileWrite


def by_id(number: int) -> ByIdOrExternalId:
    return ByIdOrExternalId(id=number)


def named(external_id: str) -> ByIdOrExternalId:
    return ByIdOrExternalId(external_id=external_id)


async def delete(p: Plant, *items: ByIdOrExternalId, ignore_unknown: bool = False) -> None:
    await p.service.functions.delete(PROJECT, list(items), ignore_unknown=ignore_unknown)


# Creating


async def test_a_new_function_is_queued_and_shown_with_its_defaults(p: Plant) -> None:
    file_id = await p.upload()
    shown = await p.create(name="sums", file_id=file_id)
    assert shown == wire.Function(
        id=shown.id,
        created_time=p.clock.now(),
        name="sums",
        status="Queued",
        file_id=file_id,
        function_path="handler.py",
        cpu=1.0,
        memory=1.5,
        runtime="py313",
    )


async def test_what_was_given_comes_back_as_it_was(p: Plant) -> None:
    given: dict[str, Any] = {
        "external_id": "Sums/1",
        "owner": "me",
        "description": "adds",
        "metadata": {"Some Key": "Some Value"},
        "function_path": "./src/handler.py",
        "env_vars": {"A_b": "1"},
        "cpu": 0.5,
        "memory": 2.0,
        "runtime": "py310",
    }
    shown = await p.create(**given)
    assert {name: getattr(shown, name) for name in given} == given


async def test_secrets_are_masked_and_indexes_not_shown(p: Plant) -> None:
    shown = await p.create(
        secrets={"key": "hush", "other": "hush"}, index_url="https://u:hush@host/", extra_index_urls=["https://hush"]
    )
    assert shown.secrets == {"key": "***", "other": "***"}
    assert "hush" not in repr(shown)
    again = p.service.functions.select(PROJECT, wire.FunctionFilter(), 10)
    assert "hush" not in repr(again)


async def test_secrets_are_nowhere_in_plain_in_the_store(p: Plant) -> None:
    from kvern.store import functions

    await p.create(secrets={"key": "hush-hush"}, index_url="https://u:hush-hush@host/")
    assert "hush-hush" not in repr(await p.store.read(functions.everything))


async def test_empty_owner_and_description_count_as_absent(p: Plant) -> None:
    shown = await p.create(owner="", description="")
    assert (shown.owner, shown.description) == (None, None)


async def test_empty_maps_are_kept_apart_from_absent_ones(p: Plant) -> None:
    assert (await p.create(metadata={}, env_vars={}, secrets={})).metadata == {}
    assert (await p.create()).metadata is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"file_id": 4711}, "no file 4711"),
        ({"runtime": "py27"}, "py310, py311, py312, py313, py314"),
        ({"cpu": 3.5}, "at most 3.0 as cpu, given 3.5"),
        ({"memory": 6.0}, "at most 5.0 as memory, given 6.0"),
    ],
)
async def test_what_cannot_be_had_is_refused_and_nothing_is_made(p: Plant, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        await p.create(**fields)
    assert p.service.functions.everything() == []


async def test_too_little_is_raised_to_the_least(p: Plant) -> None:
    shown = await p.create(cpu=0.0, memory=-1.0)
    assert (shown.cpu, shown.memory) == (p.settings.cpu_min, p.settings.memory_min)


async def test_a_file_that_was_never_uploaded_is_refused(p: Plant) -> None:
    made = await p.service.files.create(p.who, FileWrite(name="code.zip"), overwrite=False)
    with pytest.raises(InvalidError, match="never uploaded"):
        await p.create(file_id=made.id)


async def test_a_file_of_another_project_is_unknown(p: Plant) -> None:
    file_id = await p.upload()
    other = p.principal("filesAcl:READ", project="other")
    with pytest.raises(InvalidError, match=f"no file {file_id}"):
        await p.service.functions.create(other, wire.FunctionWrite(name="f", file_id=file_id))


async def test_who_may_not_read_files_makes_no_function(p: Plant) -> None:
    file_id = await p.upload()
    with pytest.raises(ForbiddenError, match="filesAcl:READ"):
        await p.service.functions.create(
            p.principal("functionsAcl:WRITE"), wire.FunctionWrite(name="f", file_id=file_id)
        )


async def test_a_machine_without_any_python_says_so(p: Plant) -> None:
    await p.service.functions.start(p.service.deployments, [])
    with pytest.raises(InvalidError, match="kvern doctor"):
        await p.create()


async def test_an_external_id_is_given_once(p: Plant) -> None:
    await p.create(external_id="fx")
    with pytest.raises(TakenError) as caught:
        await p.create(external_id="fx")
    assert caught.value.duplicated == [{"externalId": "fx"}]
    assert (await p.create(external_id="FX")).external_id == "FX"


async def test_of_two_at_once_with_one_external_id_one_is_made(p: Plant) -> None:
    results = await asyncio.gather(*(p.create(external_id="fx") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, wire.Function) for result in results) == 1
    assert sum(isinstance(result, TakenError) for result in results) == 4


async def test_an_external_id_is_free_in_another_project(p: Plant) -> None:
    await p.create(external_id="fx")
    other = p.principal("filesAcl:READ", "filesAcl:WRITE", project="other")
    shown = await p.create(external_id="fx", who=other, file_id=await p.upload(who=other))
    assert p.service.functions.find(PROJECT, named("fx")) is not p.service.functions.find("other", named("fx"))
    with pytest.raises(NotFoundError):
        p.service.functions.get(PROJECT, shown.id)


async def test_a_full_project_refuses_until_one_is_deleted(tmp_path: Path) -> None:
    async with plant(tmp_path, max_functions=2) as p:
        first = await p.create()
        await p.create()
        with pytest.raises(InvalidError, match="at most 2 functions"):
            await p.create()
        await delete(p, by_id(first.id))
        await p.create()


async def test_a_project_is_not_overfilled_by_many_at_once(tmp_path: Path) -> None:
    async with plant(tmp_path, max_functions=3) as p:
        file_id = await p.upload()
        results = await asyncio.gather(*(p.create(file_id=file_id) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, wire.Function) for result in results) == 3
        assert sum(isinstance(result, InvalidError) for result in results) == 5
        assert len(p.service.functions.everything()) == 3


async def test_what_could_not_be_made_leaves_no_bundle(p: Plant) -> None:
    await p.create(external_id="fx")
    file_id = await p.upload()
    before = blob_names(p)
    with pytest.raises(TakenError):
        await p.create(external_id="fx", file_id=file_id)
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await p.create(file_id=file_id)
    assert blob_names(p) == before
    assert len(p.service.functions.everything()) == 1


def blob_names(p: Plant) -> set[str]:
    return {path.name for path in (p.settings.data_dir / "blobs").glob("*/*")}


async def test_a_function_keeps_working_when_its_file_is_deleted(p: Plant) -> None:
    p.builder.holding = True
    file_id = await p.upload(b"the code")
    made = await p.create(file_id=file_id)
    await p.service.files.delete(p.who, [FileId(id=file_id)], ignore_unknown=False)
    p.builder.holding = False
    await until(lambda: p.service.functions.get(PROJECT, made.id).record.status == "Ready")
    assert p.builder.bundles == [b"the code"]
    await p.service.functions.delete(PROJECT, [by_id(made.id)], ignore_unknown=False)
    assert blob_names(p) == set()


# Finding


async def test_several_come_in_the_order_asked_for(p: Plant) -> None:
    first, second = await p.create(external_id="a"), await p.create()
    found = p.service.functions.several(PROJECT, [by_id(second.id), named("a")], ignore_unknown=False)
    assert [function.record.id for function in found] == [second.id, first.id]


async def test_unknown_ones_are_named_in_both_spellings(p: Plant) -> None:
    with pytest.raises(UnknownItemsError) as caught:
        p.service.functions.several(PROJECT, [by_id(7), named("x")], ignore_unknown=False)
    assert caught.value.missing == [{"id": 7}, {"externalId": "x", "external_id": "x"}]
    assert p.service.functions.several(PROJECT, [by_id(7), named("x")], ignore_unknown=True) == []


async def test_one_of_another_project_does_not_exist(p: Plant) -> None:
    made = await p.create(external_id="a")
    with pytest.raises(NotFoundError) as caught:
        p.service.functions.get("other", made.id)
    assert caught.value.missing == [{"id": made.id}]
    assert p.service.functions.find("other", by_id(made.id)) is None
    assert p.service.functions.find("other", named("a")) is None
    assert p.service.functions.select("other", wire.FunctionFilter(), 10) == []


async def test_the_list_is_oldest_first_and_cut(p: Plant) -> None:
    ids = []
    for _ in range(5):
        ids.append((await p.create()).id)
        await p.clock.advance(1)
    listed = [shown.id for shown in p.service.functions.select(PROJECT, wire.FunctionFilter(), 100)]
    assert listed == ids
    assert [shown.id for shown in p.service.functions.select(PROJECT, wire.FunctionFilter(), 3)] == ids[:3]
    await p.restart()
    assert [shown.id for shown in p.service.functions.select(PROJECT, wire.FunctionFilter(), 100)] == ids


async def test_filters(p: Plant) -> None:
    p.clock._now = 1000
    a = await p.function(name="sums", owner="me", external_id="plant/a", metadata={"k": "v"})
    await p.clock.advance(1)
    b = await p.function(name="sums", owner="you", external_id="plant/b", metadata={"k": "v", "l": "w"})
    await p.clock.advance(1)
    p.builder.fails = RuntimeError("no")
    c = p.service.functions.get(PROJECT, (await p.create(name="means")).id)
    await until(lambda: c.record.status == "Failed")
    names = {a.record.id: "a", b.record.id: "b", c.record.id: "c"}
    for wanted, found in [
        (wire.FunctionFilter(), {"a", "b", "c"}),
        (wire.FunctionFilter(name="sums"), {"a", "b"}),
        (wire.FunctionFilter(name="Sums"), set[str]()),
        (wire.FunctionFilter(name=""), set[str]()),
        (wire.FunctionFilter(owner="me"), {"a"}),
        (wire.FunctionFilter(name="sums", owner="you"), {"b"}),
        (wire.FunctionFilter(external_id_prefix="plant/"), {"a", "b"}),
        (wire.FunctionFilter(external_id_prefix="Plant/"), set[str]()),
        (wire.FunctionFilter(external_id_prefix=""), {"a", "b"}),
        (wire.FunctionFilter(metadata={}), {"a", "b", "c"}),
        (wire.FunctionFilter(metadata={"k": "v"}), {"a", "b"}),
        (wire.FunctionFilter(metadata={"k": "v", "l": "w"}), {"b"}),
        (wire.FunctionFilter(metadata={"k": "w"}), set[str]()),
        (wire.FunctionFilter(status="Ready"), {"a", "b"}),
        (wire.FunctionFilter(status="Failed"), {"c"}),
        (wire.FunctionFilter(created_time=TimeRange(min=1001)), {"b", "c"}),
        (wire.FunctionFilter(created_time=TimeRange(max=1001)), {"a", "b"}),
        (wire.FunctionFilter(created_time=TimeRange(min=1001, max=1001)), {"b"}),
        (wire.FunctionFilter(created_time=TimeRange(min=1002, max=1001)), set[str]()),
        (wire.FunctionFilter(created_time=TimeRange()), {"a", "b", "c"}),
    ]:
        chosen = p.service.functions.select(PROJECT, wanted, 100)
        assert {names[shown.id] for shown in chosen} == found, wanted


async def test_the_file_id_filter(p: Plant) -> None:
    made = await p.create()
    await p.create()
    chosen = p.service.functions.select(PROJECT, wire.FunctionFilter(file_id=made.file_id), 100)
    assert [shown.id for shown in chosen] == [made.id]


async def test_functions_are_there_after_a_restart(p: Plant) -> None:
    function = await p.function(external_id="fx", secrets={"key": "v"}, metadata={"k": "v"}, env_vars={"A": "1"})
    await p.ended(function)
    before = p.service.functions.shown(function)
    await p.crash()
    after = p.service.functions.get(PROJECT, function.record.id)
    assert p.service.functions.shown(after) == before
    assert before.last_called is not None
    assert p.service.functions.secrets(after).secrets == {"key": "v"}


async def test_a_function_that_was_never_called_has_no_last_called(p: Plant) -> None:
    function = await p.function()
    assert p.service.functions.shown(function).last_called is None
    await p.clock.advance(5)
    await p.ended(function)
    assert p.service.functions.shown(function).last_called == p.clock.now()


# Deleting


async def test_a_deleted_function_is_gone_with_its_calls_logs_and_schedules(p: Plant) -> None:
    from sqlalchemy import func, select

    from kvern.store import tables

    function, other = await p.function(external_id="fx"), await p.function()
    for each in (function, other):
        await p.ended(each)
        await p.schedule(each, "0 0 1 1 *")
    await delete(p, by_id(function.record.id))
    with pytest.raises(NotFoundError):
        p.service.functions.get(PROJECT, function.record.id)
    left = [schedule.function_id for schedule in p.service.schedules.select(PROJECT, _any_schedule(), 100)]
    assert left == [other.record.id]
    for table in (tables.functions, tables.calls, tables.schedules):
        count = await p.store.read(
            lambda c, table=table: c.execute(select(func.count()).select_from(table)).scalar_one()
        )
        assert count == 1, table.name


async def test_log_lines_that_could_not_be_kept_yet_go_with_their_function(
    monkeypatch: pytest.MonkeyPatch, p: Plant
) -> None:
    from sqlalchemy import select

    from kvern.engine import LogLine
    from kvern.service import call_logs
    from kvern.store import calls, tables

    monkeypatch.setattr(call_logs, "_LOG_EVERY", 0.001)
    await p.restart()
    function, other = await p.function(), await p.function()
    p.engine.holding = True
    lives = [await p.call(function), await p.call(other)]
    p.store.refuses = calls.LOG
    for live in lives:
        (await p.began(live)).on_log([LogLine(1, "a line")])
    await until(lambda: len(p.service.calls._running._logs._unkept) == 2)
    await delete(p, by_id(function.record.id))
    p.store.refuses = None
    await until(lambda: not p.service.calls._running._logs._unkept)
    kept = await p.store.read(lambda connection: connection.execute(select(tables.call_logs.c.call_id)).scalars().all())
    assert kept == [lives[1].record.id]


async def test_a_schedule_that_fires_while_its_function_is_deleted_makes_no_call(p: Plant) -> None:
    function = await p.function()
    schedule = p.service.schedules.get(PROJECT, (await p.schedule(function, "0 0 1 1 *")).id)
    with p.store.closed():
        deleting = asyncio.create_task(delete(p, by_id(function.record.id)))
        await until(lambda: function.deleted)
        p.service.schedules._firing.fire([Due(schedule, p.clock.now())], None)
    await deleting
    assert p.engine.orders == []
    assert function.running == 0


def _any_schedule() -> Any:
    from kvern.wire.schedules import ScheduleFilter

    return ScheduleFilter()


async def test_an_external_id_is_free_as_soon_as_the_delete_answered(p: Plant) -> None:
    for _ in range(3):
        await p.create(external_id="fx")
        await delete(p, named("fx"))


async def test_one_unknown_id_and_nothing_is_deleted(p: Plant) -> None:
    made = await p.create(external_id="fx")
    with pytest.raises(UnknownItemsError) as caught:
        await delete(p, named("fx"), by_id(999_999))
    assert caught.value.missing == [{"id": 999_999}]
    p.service.functions.get(PROJECT, made.id)
    await delete(p, named("fx"), by_id(999_999), ignore_unknown=True)
    with pytest.raises(NotFoundError):
        p.service.functions.get(PROJECT, made.id)


async def test_the_same_function_twice_in_one_delete(p: Plant) -> None:
    made = await p.create(external_id="fx")
    await delete(p, named("fx"), by_id(made.id), by_id(made.id))
    assert p.service.functions.everything() == []


async def test_the_same_function_in_two_deletes_at_once(p: Plant) -> None:
    function = await p.function(external_id="fx")
    await p.schedule(function)
    results = await asyncio.gather(*(delete(p, by_id(function.record.id)) for _ in range(3)), return_exceptions=True)
    assert all(result is None or isinstance(result, UnknownItemsError) for result in results)
    assert None in results


async def test_deleting_stops_the_calls_that_run(p: Plant) -> None:
    function, other = await p.function(), await p.function()
    p.engine.holding = True
    theirs = [await p.call(function) for _ in range(3)]
    others = await p.call(other)
    await asyncio.wait_for(delete(p, by_id(function.record.id)), 5)
    assert sorted(p.engine.cancelled) == sorted(call.record.id for call in theirs)
    assert p.engine.running == [others.record.id]
    assert function.running == 0


async def test_deleting_stops_a_call_that_is_just_being_accepted(p: Plant) -> None:
    function = await p.function()
    p.engine.holding = True
    with p.store.closed():
        calling = asyncio.create_task(p.call(function))
        await until(lambda: p.store.waiting > 0)
        deleting = asyncio.create_task(delete(p, by_id(function.record.id)))
        await asyncio.sleep(0)
    live = await calling
    await asyncio.wait_for(deleting, 5)
    assert p.engine.cancelled == [live.record.id]


async def test_deleting_stops_calls_that_wait_for_a_worker(p: Plant) -> None:
    function = await p.function()
    p.engine.room = False
    live = await p.call(function)
    await asyncio.wait_for(delete(p, by_id(function.record.id)), 5)
    assert live.ended.done()
    assert not p.engine.began(live.record.id)


async def test_a_function_that_is_being_deleted_takes_no_calls_nor_schedules(p: Plant) -> None:
    function = await p.function()
    with p.store.closed():
        deleting = asyncio.create_task(delete(p, by_id(function.record.id)))
        await until(lambda: function.deleted)
        with pytest.raises(InvalidError):
            await p.call(function)
        with pytest.raises(InvalidError):
            await p.schedule(function, nonce=None)
    await deleting


@pytest.mark.parametrize("rows_pass", [False, True], ids=["while its nonce is bound", "while it is written"])
async def test_a_schedule_that_is_made_while_its_function_is_deleted_does_not_stay(p: Plant, rows_pass: bool) -> None:
    function = await p.function()
    session = await p.service.sessions.create(p.who, _exchange())
    with p.store.closed(rows_pass=rows_pass):
        making = asyncio.create_task(p.schedule(function, nonce=session.nonce))
        await until(lambda: p.store.waiting > 0)
        deleting = asyncio.create_task(delete(p, by_id(function.record.id)))
        await until(lambda: function.deleted)
    results = await asyncio.gather(making, deleting, return_exceptions=True)
    assert results[1] is None
    assert isinstance(results[0], InvalidError)
    assert p.service.schedules.select(PROJECT, _any_schedule(), 10) == []
    assert await p.store.read(schedules.everything) == []
    assert p.service.sessions.get(session.id) is None


def _exchange() -> Any:
    from kvern.wire.sessions import SessionWrite

    return SessionWrite(token_exchange=True)


async def test_deleting_ends_a_build_and_clears_what_was_made(p: Plant) -> None:
    p.builder.holding = True
    made = await p.create()
    await until(lambda: p.builder.requests)
    await delete(p, by_id(made.id))
    assert p.builder.cancelled == [made.id]
    assert p.builder.discarded == [p.builder.requests[0].revision_id]
    assert p.engine.retired == [made.id]
    p.builder.holding = False
    p.builder.fails = None
    await p.restart()
    assert p.service.functions.everything() == []


async def test_a_delete_that_the_store_refuses_leaves_the_function_whole(p: Plant) -> None:
    function = await p.function(external_id="fx")
    schedule = await p.schedule(function, "0 0 1 1 *")
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await delete(p, by_id(function.record.id))
    p.store.refusing = False
    assert p.service.functions.find(PROJECT, named("fx")) is function
    assert p.service.schedules.get(PROJECT, schedule.id).id == schedule.id
    p.engine.endings.append(returned(b"1"))
    assert (await p.ended(function)).status == "Completed"
