"""Data sets, and what those see of them who may see only some (contract 2, 8)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant

from kvern.service.identity import Principal
from kvern.wire.base import ByIdOrExternalId, encode
from kvern.wire.changes import Change, FixedChange
from kvern.wire.datasets import DataSet, DataSetChanges, DataSetQuery, DataSetUpdate, DataSetWrite
from kvern.wire.errors import ForbiddenError, TakenError, UnknownItemsError
from kvern.wire.files import FileChanges, FileId, FileUpdate, FileWrite


def limited(ids: list[int], *actions: str, **more: list[str]) -> Principal:
    """Somebody whose datasetsAcl reaches these data sets only; `more` are capabilities that reach everywhere."""
    acls: list[dict[str, Any]] = [{"datasetsAcl": {"actions": list(actions), "scope": {"idScope": {"ids": ids}}}}]
    acls += [{name: {"actions": actions, "scope": {"all": {}}}} for name, actions in more.items()]
    return Principal("somebody", PROJECT, encode(acls).decode(), expires=2**52)


async def made(p: Plant, **fields: Any) -> DataSet:
    return (await p.service.data_sets.create(p.who, [DataSetWrite(**fields)]))[0]


def change(data_set: DataSet, **changes: Any) -> DataSetUpdate:
    return DataSetUpdate(id=data_set.id, update=DataSetChanges(**changes))


async def test_who_reads_some_sees_only_those(p: Plant) -> None:
    mine, other = await made(p, external_id="mine"), await made(p, external_id="other")
    somebody = limited([mine.id], "READ")
    data_sets = p.service.data_sets
    assert (await data_sets.page(somebody, DataSetQuery()))[0] == [mine]
    assert await data_sets.by_ids(somebody, [ByIdOrExternalId(id=mine.id)], ignore_unknown=False) == [mine]
    for item in (ByIdOrExternalId(id=other.id), ByIdOrExternalId(external_id="other")):
        with pytest.raises(UnknownItemsError) as caught:
            await data_sets.by_ids(somebody, [item], ignore_unknown=False)
        assert caught.value.missing == [item.as_dict()]
        assert await data_sets.by_ids(somebody, [item], ignore_unknown=True) == []


async def test_who_writes_some_changes_those_and_makes_none(p: Plant) -> None:
    mine, other = await made(p), await made(p)
    somebody = limited([mine.id], "READ", "WRITE")
    (changed,) = await p.service.data_sets.update(somebody, [change(mine, name=Change(set="new"))])
    assert changed.name == "new"
    with pytest.raises(UnknownItemsError):
        await p.service.data_sets.update(somebody, [change(other, name=Change(set="new"))])
    with pytest.raises(ForbiddenError, match="datasetsAcl:WRITE"):
        await p.service.data_sets.update(limited([mine.id], "READ"), [change(mine, name=Change(set="newer"))])
    with pytest.raises(ForbiddenError, match="datasetsAcl:WRITE"):
        await p.service.data_sets.create(somebody, [DataSetWrite()])


async def test_a_data_set_of_another_project_is_unknown(p: Plant) -> None:
    mine = await made(p, external_id="mine")
    stranger = p.principal("datasetsAcl:READ", "datasetsAcl:WRITE", project="other")
    with pytest.raises(UnknownItemsError):
        await p.service.data_sets.by_ids(stranger, [ByIdOrExternalId(id=mine.id)], ignore_unknown=False)
    with pytest.raises(UnknownItemsError):
        await p.service.data_sets.update(stranger, [change(mine, name=Change(set="new"))])
    assert (await p.service.data_sets.page(stranger, DataSetQuery()))[0] == []
    assert (await p.service.data_sets.create(stranger, [DataSetWrite(external_id="mine")]))[0].id != mine.id


async def test_changes_are_all_made_or_none(p: Plant) -> None:
    first, second = await made(p, name="a"), await made(p, external_id="taken")
    with pytest.raises(TakenError):
        await p.service.data_sets.update(
            p.who, [change(first, name=Change(set="b")), change(first, external_id=Change(set="taken"))]
        )
    found = await p.service.data_sets.by_ids(p.who, [ByIdOrExternalId(id=first.id)], ignore_unknown=False)
    assert found == [first]
    assert second.external_id == "taken"


async def test_one_named_twice_is_changed_twice(p: Plant) -> None:
    first = await made(p)
    changed = await p.service.data_sets.update(
        p.who, [change(first, name=Change(set="n")), change(first, description=Change(set="d"))]
    )
    assert (changed[1].name, changed[1].description) == ("n", "d")


class TestProtection:
    """A write-protected data set takes files from its owners only."""

    async def test_only_owners_put_files_into_it_or_change_those_that_are_there(self, p: Plant) -> None:
        safe = await made(p, write_protected=True)
        files = p.service.files
        writer = limited([], "READ", filesAcl=["READ", "WRITE"])
        owner = limited([safe.id], "OWNER", filesAcl=["READ", "WRITE"])
        inside = await files.create(owner, FileWrite(name="f", data_set_id=safe.id), overwrite=False)
        outside = await files.create(writer, FileWrite(name="f"), overwrite=False)
        into = FileUpdate(id=outside.id, update=FileChanges(data_set_id=Change(set=safe.id)))
        rename = FileUpdate(id=inside.id, update=FileChanges(name=FixedChange(set="g")))
        for refused in (
            files.create(writer, FileWrite(name="f", data_set_id=safe.id), overwrite=False),
            files.update(writer, [into]),
            files.update(writer, [rename]),
            files.delete(writer, [FileId(id=inside.id)], ignore_unknown=False),
            files.writable(writer, FileId(id=inside.id)),
        ):
            with pytest.raises(ForbiddenError, match="write-protected"):
                await refused
        assert (await files.update(owner, [into]))[0].data_set_id == safe.id
        assert (await files.update(owner, [rename]))[0].name == "g"
        await files.delete(owner, [FileId(id=inside.id)], ignore_unknown=False)

    async def test_only_owners_protect_it_or_take_the_protection_away(self, p: Plant) -> None:
        mine = await made(p)
        writer = limited([mine.id], "READ", "WRITE")
        on, off = FixedChange(set=True), FixedChange(set=False)
        with pytest.raises(ForbiddenError, match="OWNER"):
            await p.service.data_sets.update(writer, [change(mine, write_protected=on)])
        await p.service.data_sets.update(writer, [change(mine, write_protected=off)])
        owner = limited([mine.id], "WRITE", "OWNER")
        assert (await p.service.data_sets.update(owner, [change(mine, write_protected=on)]))[0].write_protected
