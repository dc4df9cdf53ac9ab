"""Files: what is kept of them, overwriting, changes, filters, links; and who sees which."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, once

from kvern.service.identity import Principal
from kvern.wire import files as wire
from kvern.wire.base import ByIdOrExternalId, TimeRange
from kvern.wire.changes import Change, FixedChange, ListChange, MapChange
from kvern.wire.datasets import DataSetWrite
from kvern.wire.errors import ForbiddenError, InvalidError, NotFoundError, TakenError, UnknownItemsError
from kvern.wire.files import FileId


async def create(p: Plant, overwrite: bool = False, who: Principal | None = None, **fields: Any) -> wire.File:
    wanted = wire.FileWrite(**{"name": "a.zip", **fields})
    return await p.service.files.create(who or p.who, wanted, overwrite=overwrite)


async def upload(p: Plant, file: wire.File, content: bytes) -> None:
    await p.service.uploads.take(p.service.uploads.link(PROJECT, file.id), once(content))


async def content(p: Plant, file: wire.File) -> bytes:
    """The bytes that a download link leads to."""
    ((_, proof),) = await p.service.files.download_links(p.who, [FileId(id=file.id)], extended=False)
    found = await p.service.files.content(proof)
    async with p.blobs.local(found.key) as path:
        assert path.stat().st_size == found.size
        return path.read_bytes()


async def delete(p: Plant, *items: FileId, ignore_unknown: bool = False, who: Principal | None = None) -> None:
    await p.service.files.delete(who or p.who, list(items), ignore_unknown=ignore_unknown)


async def update(p: Plant, file: wire.File, who: Principal | None = None, **changes: Any) -> wire.File:
    item = wire.FileUpdate(id=file.id, update=wire.FileChanges(**changes))
    (changed,) = await p.service.files.update(who or p.who, [item])
    return changed


def blob_names(p: Plant) -> set[str]:
    return {path.name for path in (p.settings.data_dir / "blobs").glob("*/*")}


EVERYTHING: dict[str, Any] = {
    "name": "Name.zip",
    "external_id": "Ext/1",
    "mime_type": "application/zip",
    "directory": "/a/b",
    "source": "plant",
    "metadata": {"Some Key": "Some Value", "a_b": ""},
    "asset_ids": [3, 1],
    "labels": [{"externalId": "l"}],
    "geo_location": {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.5, 2]}},
    "source_created_time": 5,
    "source_modified_time": 6,
}


# Creating


async def test_a_new_file_waits_for_its_bytes(p: Plant) -> None:
    made = await create(p)
    assert made == wire.File(
        id=made.id, name="a.zip", uploaded=False, created_time=p.clock.now(), last_updated_time=p.clock.now()
    )


async def test_what_was_given_comes_back_as_it_was(p: Plant) -> None:
    made = await create(p, **EVERYTHING)
    for shown in (made, await p.service.files.retrieve(p.who, made.id)):
        assert {name: getattr(shown, name) for name in EVERYTHING} == EVERYTHING


async def test_an_external_id_is_given_once(p: Plant) -> None:
    await create(p, external_id="x")
    with pytest.raises(TakenError) as caught:
        await create(p, external_id="x")
    assert caught.value.duplicated == [{"externalId": "x"}]


async def test_without_an_external_id_every_file_is_a_new_one(p: Plant) -> None:
    assert (await create(p)).id != (await create(p, overwrite=True)).id


async def test_overwriting_keeps_the_id_and_what_is_not_given(p: Plant) -> None:
    old = await create(p, **EVERYTHING)
    await p.clock.advance(10)
    new = await create(p, overwrite=True, external_id="Ext/1", name="new.zip", metadata={"only": "this"})
    assert (new.id, new.created_time, new.last_updated_time) == (old.id, old.created_time, p.clock.now())
    kept = {**EVERYTHING, "name": "new.zip", "metadata": {"only": "this"}}
    assert {name: getattr(new, name) for name in kept} == kept


async def test_overwriting_keeps_the_old_bytes_until_new_ones_came(p: Plant) -> None:
    file = await create(p, external_id="x")
    await upload(p, file, b"old")
    await p.clock.advance(10)
    again = await create(p, overwrite=True, external_id="x")
    assert again.uploaded
    assert await content(p, file) == b"old"
    await upload(p, again, b"new")
    assert await content(p, file) == b"new"
    assert len(blob_names(p)) == 1


async def test_an_external_id_of_another_project_is_no_clash(p: Plant) -> None:
    other = p.principal("filesAcl:READ", "filesAcl:WRITE", project="other")
    mine = await create(p, external_id="x")
    theirs = await create(p, external_id="x", who=other, overwrite=True)
    assert mine.id != theirs.id
    with pytest.raises(NotFoundError):
        await p.service.files.retrieve(other, mine.id)


# Uploading


async def test_uploaded_is_true_at_once(p: Plant) -> None:
    file = await create(p)
    await p.clock.advance(10)
    await upload(p, file, b"abc")
    shown = await p.service.files.retrieve(p.who, file.id)
    assert (shown.uploaded, shown.uploaded_time, shown.last_updated_time) == (True, p.clock.now(), p.clock.now())
    assert await content(p, file) == b"abc"


async def test_an_empty_file_is_uploaded_too(p: Plant) -> None:
    file = await create(p)
    await upload(p, file, b"")
    assert (await p.service.files.retrieve(p.who, file.id)).uploaded
    assert await content(p, file) == b""


async def test_an_upload_link_is_good_for_a_day(p: Plant) -> None:
    file = await create(p)
    proof = p.service.uploads.link(PROJECT, file.id)
    await p.clock.advance(24 * 3_600_000)
    await p.service.uploads.take(proof, once(b"in time"))
    await p.clock.advance(1)
    with pytest.raises(ForbiddenError, match="expired"):
        await p.service.uploads.take(proof, once(b"too late"))
    assert await content(p, file) == b"in time"


async def test_bytes_for_a_file_that_was_deleted_leave_nothing(p: Plant) -> None:
    file = await create(p)
    proof = p.service.uploads.link(PROJECT, file.id)
    await delete(p, FileId(id=file.id))
    with pytest.raises(NotFoundError):
        await p.service.uploads.take(proof, once(b"abc"))
    assert blob_names(p) == set()


async def test_bytes_for_a_file_that_is_deleted_meanwhile_leave_nothing(p: Plant) -> None:
    file = await create(p)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield b"abc"
        begun.set()
        await go_on.wait()
        yield b"def"

    taking = asyncio.create_task(p.service.uploads.take(p.service.uploads.link(PROJECT, file.id), slow()))
    await begun.wait()
    await delete(p, FileId(id=file.id))
    go_on.set()
    with pytest.raises(NotFoundError):
        await taking
    assert blob_names(p) == set()


async def test_two_uploads_at_once_leave_the_bytes_of_one(p: Plant) -> None:
    file = await create(p)
    await asyncio.gather(upload(p, file, b"one"), upload(p, file, b"two"))
    assert await content(p, file) in (b"one", b"two")
    assert len(blob_names(p)) == 1


# Finding


async def test_several_come_in_the_order_asked_for(p: Plant) -> None:
    first, second = await create(p, external_id="a"), await create(p)
    items = [FileId(id=second.id), FileId(external_id="a")]
    assert [file.id for file in await p.service.files.by_ids(p.who, items, ignore_unknown=False)] == [
        second.id,
        first.id,
    ]


async def test_unknown_files_are_named_as_they_were_asked_for(p: Plant) -> None:
    items = [FileId(id=7), FileId(external_id="x"), FileId(instance_id=wire.InstanceId(space="s", external_id="y"))]
    with pytest.raises(UnknownItemsError) as caught:
        await p.service.files.by_ids(p.who, items, ignore_unknown=False)
    assert caught.value.missing == [
        {"id": 7},
        {"externalId": "x"},
        {"instanceId": {"space": "s", "externalId": "y"}},
    ]
    assert await p.service.files.by_ids(p.who, items, ignore_unknown=True) == []


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_pages_hold_every_file_once(p: Plant, limit: int) -> None:
    ids = [(await create(p)).id for _ in range(5)]
    found: list[int] = []
    cursor = None
    while True:
        files, cursor = await p.service.files.page(p.who, wire.FileQuery(limit=limit, cursor=cursor))
        assert len(files) <= limit
        found.extend(file.id for file in files)
        if cursor is None:
            break
    assert found == ids


async def test_partitions_together_are_the_whole_list(p: Plant) -> None:
    ids = [(await create(p)).id for _ in range(7)]
    parts = [await p.service.files.page(p.who, wire.FileQuery(partition=f"{number}/3")) for number in (1, 2, 3)]
    assert sorted(file.id for files, _ in parts for file in files) == ids


async def test_a_cursor_from_elsewhere(p: Plant) -> None:
    with pytest.raises(InvalidError, match="cursor"):
        await p.service.files.page(p.who, wire.FileQuery(cursor="made-up"))


async def test_filters(p: Plant) -> None:
    begin = p.clock.now()
    (data_set,) = await p.service.data_sets.create(p.who, [DataSetWrite(external_id="ds")])
    a = await create(p, **{**EVERYTHING, "data_set_id": data_set.id})
    await p.clock.advance(10)
    b = await create(p, name="b.zip", external_id="Other", directory="/a", metadata={"Some Key": "other"})
    await p.clock.advance(10)
    c = await create(p, name="b.zip")
    await p.clock.advance(10)
    await upload(p, c, b"abc")
    names = {a.id: "a", b.id: "b", c.id: "c"}
    for wanted, found in [
        (wire.FileFilter(), "abc"),
        (wire.FileFilter(name="b.zip"), "bc"),
        (wire.FileFilter(external_id_prefix="Ext"), "a"),
        (wire.FileFilter(external_id_prefix="ext"), ""),
        (wire.FileFilter(external_id_prefix=""), "ab"),
        (wire.FileFilter(directory_prefix="/a"), "ab"),
        (wire.FileFilter(directory_prefix="/a/b"), "a"),
        (wire.FileFilter(mime_type="application/zip"), "a"),
        (wire.FileFilter(source="plant"), "a"),
        (wire.FileFilter(uploaded=True), "c"),
        (wire.FileFilter(uploaded=False), "ab"),
        (wire.FileFilter(metadata={"Some Key": "Some Value"}), "a"),
        (wire.FileFilter(metadata={"some key": "Some Value"}), ""),
        (wire.FileFilter(metadata={}), "abc"),
        (wire.FileFilter(data_set_ids=[ByIdOrExternalId(id=data_set.id)]), "a"),
        (wire.FileFilter(data_set_ids=[ByIdOrExternalId(external_id="ds")]), "a"),
        (wire.FileFilter(data_set_ids=[ByIdOrExternalId(external_id="unknown")]), ""),
        (wire.FileFilter(data_set_ids=[]), ""),
        (wire.FileFilter(asset_ids=[1, 99]), "a"),
        (wire.FileFilter(labels=wire.LabelFilter(contains_any=[{"externalId": "l"}, {"externalId": "m"}])), "a"),
        (wire.FileFilter(labels=wire.LabelFilter(contains_all=[{"externalId": "l"}, {"externalId": "m"}])), ""),
        (wire.FileFilter(created_time=TimeRange(min=begin + 10)), "bc"),
        (wire.FileFilter(created_time=TimeRange(max=begin + 10)), "ab"),
        (wire.FileFilter(last_updated_time=TimeRange(min=begin + 30)), "c"),
        (wire.FileFilter(uploaded_time=TimeRange()), "c"),
        (wire.FileFilter(source_created_time=TimeRange(min=5, max=5)), "a"),
        (wire.FileFilter(source_modified_time=TimeRange(max=5)), ""),
        (wire.FileFilter(name="b.zip", uploaded=True), "c"),
    ]:
        files, _ = await p.service.files.page(p.who, wire.FileQuery(filter=wanted))
        assert "".join(names[file.id] for file in files) == found, wanted


# Changing


async def test_fields_are_set_and_removed(p: Plant) -> None:
    file = await create(p, **EVERYTHING)
    await p.clock.advance(10)
    changed = await update(
        p,
        file,
        name=FixedChange(set="other.zip"),
        external_id=Change(set_null=True),
        source=Change(set="elsewhere"),
        directory=Change(set_null=True),
        metadata=MapChange(add={"b": "2"}, remove=["a_b", "not there"]),
        asset_ids=ListChange(add=[1, 7], remove=[3]),
    )
    assert (changed.name, changed.external_id, changed.source, changed.directory) == (
        "other.zip",
        None,
        "elsewhere",
        None,
    )
    assert changed.metadata == {"Some Key": "Some Value", "b": "2"}
    assert changed.asset_ids == [1, 7]
    assert (changed.created_time, changed.last_updated_time) == (file.created_time, p.clock.now())
    assert changed.labels == EVERYTHING["labels"]
    assert await p.service.files.retrieve(p.who, file.id) == changed


async def test_a_change_that_breaks_a_rule_changes_nothing(p: Plant) -> None:
    file = await create(p, metadata={"a": "x" * 10_000})
    with pytest.raises(InvalidError, match="metadata"):
        await update(p, file, name=FixedChange(set="new"), metadata=MapChange(add={"b": "x" * 300}))
    assert (await p.service.files.retrieve(p.who, file.id)).name == "a.zip"


async def test_all_changes_are_made_or_none(p: Plant) -> None:
    first, second = await create(p, external_id="first"), await create(p, external_id="second")
    items = [
        wire.FileUpdate(id=first.id, update=wire.FileChanges(name=FixedChange(set="changed"))),
        wire.FileUpdate(id=second.id, update=wire.FileChanges(external_id=Change(set="first"))),
    ]
    with pytest.raises(TakenError) as caught:
        await p.service.files.update(p.who, items)
    assert caught.value.duplicated == [{"externalId": "first"}]
    assert (await p.service.files.retrieve(p.who, first.id)).name == "a.zip"


async def test_one_file_named_twice_is_changed_twice(p: Plant) -> None:
    file = await create(p, external_id="x", metadata={"a": "1"})
    items = [
        wire.FileUpdate(id=file.id, update=wire.FileChanges(metadata=MapChange(add={"b": "2"}))),
        wire.FileUpdate(external_id="x", update=wire.FileChanges(metadata=MapChange(add={"c": "3"}))),
    ]
    await p.service.files.update(p.who, items)
    assert (await p.service.files.retrieve(p.who, file.id)).metadata == {"a": "1", "b": "2", "c": "3"}


# Deleting


async def test_a_deleted_file_is_gone_with_its_bytes(p: Plant) -> None:
    file = await create(p, external_id="x")
    await upload(p, file, b"abc")
    ((_, proof),) = await p.service.files.download_links(p.who, [FileId(id=file.id)], extended=True)
    await delete(p, FileId(external_id="x"))
    assert blob_names(p) == set()
    for look in (p.service.files.retrieve(p.who, file.id), p.service.files.content(proof)):
        with pytest.raises(NotFoundError):
            await look
    assert (await create(p, external_id="x")).id != file.id


async def test_one_unknown_file_and_nothing_is_deleted(p: Plant) -> None:
    file = await create(p)
    with pytest.raises(UnknownItemsError):
        await delete(p, FileId(id=file.id), FileId(id=7000))
    await p.service.files.retrieve(p.who, file.id)
    await delete(p, FileId(id=file.id), FileId(id=file.id), FileId(id=7000), ignore_unknown=True)
    with pytest.raises(NotFoundError):
        await p.service.files.retrieve(p.who, file.id)


# Download links


async def test_download_links_name_files_as_they_were_asked_for(p: Plant) -> None:
    file = await create(p, external_id="x")
    await upload(p, file, b"abc")
    links = await p.service.files.download_links(p.who, [FileId(external_id="x"), FileId(id=file.id)], extended=False)
    assert [named for named, _ in links] == [{"externalId": "x"}, {"id": file.id}]


@pytest.mark.parametrize(("extended", "milliseconds"), [(False, 30_000), (True, 3_600_000)])
async def test_a_download_link_expires(p: Plant, extended: bool, milliseconds: int) -> None:
    file = await create(p)
    await upload(p, file, b"abc")
    ((_, proof),) = await p.service.files.download_links(p.who, [FileId(id=file.id)], extended=extended)
    await p.clock.advance(milliseconds)
    assert (await p.service.files.content(proof)).size == 3
    await p.clock.advance(1)
    with pytest.raises(ForbiddenError, match="expired"):
        await p.service.files.content(proof)


async def test_there_is_no_link_to_what_was_not_uploaded(p: Plant) -> None:
    file = await create(p)
    with pytest.raises(InvalidError, match=str(file.id)):
        await p.service.files.download_links(p.who, [FileId(id=file.id)], extended=False)


# Who sees and changes which


def scoped(p: Plant, data_set_id: int, *actions: str) -> Principal:
    from kvern.wire.base import encode

    acl = {"filesAcl": {"actions": list(actions), "scope": {"datasetScope": {"ids": [data_set_id]}}}}
    return Principal("somebody", PROJECT, encode([acl]).decode(), expires=2**52)


async def test_who_reads_one_data_set_sees_the_files_in_it_only(p: Plant) -> None:
    mine, other = await p.service.data_sets.create(p.who, [DataSetWrite(), DataSetWrite()])
    inside = await create(p, data_set_id=mine.id)
    for unseen in (await create(p, data_set_id=other.id), await create(p)):
        who = scoped(p, mine.id, "READ")
        with pytest.raises(NotFoundError):
            await p.service.files.retrieve(who, unseen.id)
        with pytest.raises(UnknownItemsError):
            await p.service.files.by_ids(who, [FileId(id=unseen.id)], ignore_unknown=False)
        with pytest.raises(UnknownItemsError):
            await p.service.files.download_links(who, [FileId(id=unseen.id)], extended=False)
        with pytest.raises(UnknownItemsError):
            await delete(p, FileId(id=unseen.id), who=who)
        files, _ = await p.service.files.page(who, wire.FileQuery())
        assert [file.id for file in files] == [inside.id]


async def test_who_writes_one_data_set_writes_nowhere_else(p: Plant) -> None:
    mine, other = await p.service.data_sets.create(p.who, [DataSetWrite(), DataSetWrite()])
    who = scoped(p, mine.id, "READ", "WRITE")
    inside = await create(p, data_set_id=mine.id, who=who, external_id="inside")
    elsewhere = await create(p, data_set_id=other.id, external_id="elsewhere")
    for place in (None, other.id):
        with pytest.raises(ForbiddenError, match="insufficient access rights"):
            await create(p, data_set_id=place, who=who)
    with pytest.raises(ForbiddenError):
        await update(p, inside, who=who, data_set_id=Change(set=other.id))
    with pytest.raises(ForbiddenError):
        await update(p, inside, who=who, data_set_id=Change(set_null=True))
    for overwritten in ("elsewhere", "inside"):
        with pytest.raises(ForbiddenError):
            await create(p, data_set_id=other.id, who=who, overwrite=True, external_id=overwritten)
    assert (await p.service.files.retrieve(p.who, elsewhere.id)).data_set_id == other.id
    assert (await p.service.files.retrieve(p.who, inside.id)).data_set_id == mine.id


async def test_who_only_reads_is_refused_by_name(p: Plant) -> None:
    (mine,) = await p.service.data_sets.create(p.who, [DataSetWrite()])
    inside = await create(p, data_set_id=mine.id)
    with pytest.raises(ForbiddenError, match="filesAcl:WRITE"):
        await delete(p, FileId(id=inside.id), who=scoped(p, mine.id, "READ"))


async def test_a_data_set_that_is_not_there(p: Plant) -> None:
    with pytest.raises(InvalidError, match="no data set 4711"):
        await create(p, data_set_id=4711)
