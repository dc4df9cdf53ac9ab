"""Data sets: what files belong to, and what capabilities can be limited to (contract 2, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kvern.service.clock import Clock
from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.identity import Principal
from kvern.service.ranges import in_range
from kvern.service.reach import Reach, reach
from kvern.store import Store, datasets
from kvern.store.datasets import DataSetRecord
from kvern.wire import changes
from kvern.wire import datasets as wire
from kvern.wire.base import ByIdOrExternalId, page_size
from kvern.wire.errors import ForbiddenError, InvalidError, TakenError, UnknownItemsError

LIST_MOST = 1000


class DataSets:
    """The data sets of a service. Whoever may read only some of them sees only those."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, who: Principal, items: list[wire.DataSetWrite]) -> list[wire.DataSet]:
        """New data sets; all or none.

        Raises:
            ForbiddenError: `who` may write to some data sets only, so not make others.
            TakenError: an external id is in use.
        """
        if not reach(who, "datasetsAcl:WRITE").everything:
            raise ForbiddenError("Missing capability datasetsAcl:WRITE for all data sets, which a new one needs")
        now = self._clock.now()
        made = [
            DataSetRecord(
                id=self._store.next_id(),
                project=who.project,
                created_time=now,
                last_updated_time=now,
                write_protected=bool(item.write_protected),
                external_id=item.external_id,
                name=item.name,
                description=item.description,
                metadata=item.metadata,
            )
            for item in items
        ]

        def work(connection: Connection) -> None:
            _check_free(connection, made)
            for record in made:
                datasets.add(connection, record)

        await self._store.transact(work)
        return [shown(record) for record in made]

    async def by_ids(
        self, who: Principal, items: list[ByIdOrExternalId], *, ignore_unknown: bool
    ) -> list[wire.DataSet]:
        """In the order asked for. Raises `UnknownItemsError`."""
        readable = reach(who, "datasetsAcl:READ")

        def work(connection: Connection) -> list[DataSetRecord | None]:
            return _found(connection, who.project, items, readable)

        found = await self._store.look_up(work)
        missing = [item.as_dict() for item, record in zip(items, found, strict=True) if record is None]
        if missing and not ignore_unknown:
            raise UnknownItemsError("Data set ids not found", missing=missing)
        return [shown(record) for record in found if record is not None]

    async def update(self, who: Principal, items: list[wire.DataSetUpdate]) -> list[wire.DataSet]:
        """Change data sets; all or none.

        Raises:
            UnknownItemsError: one is unknown.
            ForbiddenError: one may not be written to; or its protection may not be changed.
            InvalidError: a changed one would break a rule.
            TakenError: a new external id is in use.
        """
        now = self._clock.now()

        def work(connection: Connection) -> list[DataSetRecord]:
            found = self._writable(connection, who, items)
            current = {record.id: record for record in found}  # one data set may be named twice in a request
            new: list[DataSetRecord] = []
            for named, item in zip(found, items, strict=True):
                record = current[named.id]
                changed = _changed(record, item.update, now)
                if changed.write_protected != record.write_protected:
                    _check_owner(who, record.id)
                datasets.save(connection, changed)
                current[named.id] = changed
                new.append(changed)
            return new

        try:
            return [shown(record) for record in await self._store.transact(work)]
        except IntegrityError as error:
            taken = [
                {"externalId": item.update.external_id.set}
                for item in items
                if item.update.external_id is not None and item.update.external_id.set is not None
            ]
            raise TakenError("Expected external ids that are not in use", duplicated=taken) from error

    @staticmethod
    def _writable(connection: Connection, who: Principal, items: Sequence[ByIdOrExternalId]) -> list[DataSetRecord]:
        readable, writable = reach(who, "datasetsAcl:READ"), reach(who, "datasetsAcl:WRITE")
        found: list[DataSetRecord] = []
        missing: list[dict[str, Any]] = []
        for item, record in zip(items, _found(connection, who.project, items), strict=True):
            if record is not None and writable.covers(record.id):
                found.append(record)
            elif record is not None and readable.covers(record.id):
                raise ForbiddenError(f"Missing capability datasetsAcl:WRITE for the data set {record.id}")
            else:
                missing.append(item.as_dict())
        if missing:
            raise UnknownItemsError("Data set ids not found", missing=missing)
        return found

    async def page(self, who: Principal, query: wire.DataSetQuery) -> tuple[list[wire.DataSet], str | None]:
        """By id; the cursor to go on from when there are more. Raises `InvalidError` for a cursor not from here."""
        readable = reach(who, "datasetsAcl:READ")
        wanted = query.filter or wire.DataSetFilter()
        limit = page_size(query.limit, LIST_MOST)
        (start,) = read_cursor(query.cursor, 1) if query.cursor is not None else (0,)

        def work(connection: Connection) -> list[DataSetRecord]:
            page: list[DataSetRecord] = []
            for record in datasets.after(connection, who.project, start):
                if readable.covers(record.id) and _matches(record, wanted):
                    page.append(record)
                    if len(page) > limit:
                        break
            return page

        rows = await self._store.look_up(work)
        cursor = write_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return [shown(record) for record in rows[:limit]], cursor


class FilePlaces:
    """Where `who` may write files: into which data sets, or outside of all."""

    def __init__(self, who: Principal) -> None:
        self._project = who.project
        self._writable = reach(who, "filesAcl:WRITE")
        self._owned = reach(who, "datasetsAcl:OWNER")
        self._known: dict[int, DataSetRecord | None] = {}

    def check(self, connection: Connection, data_set_id: int | None, *, new: bool = False) -> None:
        """Look at a place in a transaction that is about to write there.

        Args:
            new: whether a file is put there that was elsewhere.

        Raises:
            ForbiddenError: the place may not be written to; the text is one that the SDK looks for (contract 1.6).
            InvalidError: a file is to be put into a data set that is not there.
        """
        place = "outside of all data sets" if data_set_id is None else f"in the data set {data_set_id}"
        if not self._writable.covers(data_set_id):
            raise ForbiddenError(f"Missing capability filesAcl:WRITE {place}: insufficient access rights")
        if data_set_id is None:
            return
        if data_set_id not in self._known:  # many files of one request lie in the same
            self._known[data_set_id] = datasets.get(connection, self._project, data_set_id)
        record = self._known[data_set_id]
        if record is None and new:
            raise InvalidError(f"Expected the id of a data set as `dataSetId`, but there is no data set {data_set_id}")
        if record is not None and record.write_protected and not self._owned.covers(data_set_id):
            raise ForbiddenError(
                f"The data set {data_set_id} is write-protected, and datasetsAcl:OWNER is missing: "
                "insufficient access rights"
            )


def find_ids(connection: Connection, project: str, items: Sequence[ByIdOrExternalId]) -> set[int]:
    """The ids of those data sets that exist."""
    return {record.id for record in _found(connection, project, items) if record is not None}


def shown(record: DataSetRecord) -> wire.DataSet:
    return wire.DataSet(
        id=record.id,
        write_protected=record.write_protected,
        created_time=record.created_time,
        last_updated_time=record.last_updated_time,
        external_id=record.external_id,
        name=record.name,
        description=record.description,
        metadata=record.metadata,
    )


def _found(
    connection: Connection, project: str, items: Sequence[ByIdOrExternalId], within: Reach | None = None
) -> list[DataSetRecord | None]:
    """What the items name, in their order."""
    ids = {item.id for item in items if item.id is not None}
    external_ids = {item.external_id for item in items if item.external_id is not None}
    records = datasets.several(connection, project, ids, external_ids)
    by_id: dict[int | None, DataSetRecord] = {record.id: record for record in records}
    by_external_id = {record.external_id: record for record in records}
    found = (by_id.get(item.id) if item.id is not None else by_external_id.get(item.external_id) for item in items)
    return [one if one is None or within is None or within.covers(one.id) else None for one in found]


def _check_free(connection: Connection, made: list[DataSetRecord]) -> None:
    taken: list[str] = []
    for index, record in enumerate(made):
        if record.external_id is None:
            continue
        in_request = any(other.external_id == record.external_id for other in made[:index])
        if in_request or datasets.by_external_id(connection, record.project, record.external_id) is not None:
            taken.append(record.external_id)
    if taken:
        raise TakenError(
            f"Expected external ids that are not in use, given {', '.join(map(repr, taken))}",
            duplicated=[{"externalId": external_id} for external_id in dict.fromkeys(taken)],
        )


def _check_owner(who: Principal, data_set_id: int) -> None:
    if not reach(who, "datasetsAcl:OWNER").covers(data_set_id):
        raise ForbiddenError(
            f"Missing capability datasetsAcl:OWNER for the data set {data_set_id}, which changing its protection needs"
        )


def _changed(record: DataSetRecord, update: wire.DataSetChanges, now: int) -> DataSetRecord:
    old = wire.DataSetWrite(
        external_id=record.external_id,
        name=record.name,
        description=record.description,
        metadata=record.metadata,
        write_protected=record.write_protected,
    )
    document = changes.apply(msgspec.to_builtins(old), msgspec.to_builtins(update))
    try:
        new = msgspec.convert(document, type=wire.DataSetWrite)
    except msgspec.ValidationError as error:
        raise InvalidError(f"The data set {record.id} cannot be changed so: {error}") from error
    return replace(
        record,
        external_id=new.external_id,
        name=new.name,
        description=new.description,
        metadata=new.metadata,
        write_protected=bool(new.write_protected),
        last_updated_time=now,
    )


def _matches(record: DataSetRecord, wanted: wire.DataSetFilter) -> bool:
    prefix = wanted.external_id_prefix
    if prefix is not None and (record.external_id is None or not record.external_id.startswith(prefix)):
        return False
    if wanted.write_protected is not None and wanted.write_protected != record.write_protected:
        return False
    if wanted.metadata is not None and not (wanted.metadata.items() <= (record.metadata or {}).items()):
        return False
    return in_range(wanted.created_time, record.created_time) and in_range(
        wanted.last_updated_time, record.last_updated_time
    )
