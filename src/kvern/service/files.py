"""Files: what is known of them; their bytes come and go by links (contract 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kvern.service.clock import Clock
from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.datasets import FilePlaces, find_ids
from kvern.service.file_filter import matches
from kvern.service.identity import Principal
from kvern.service.links import DOWNLOAD_EXTENDED_MS, DOWNLOAD_MS, Links
from kvern.service.reach import Reach, reach
from kvern.store import Store, files, uploads
from kvern.store.blobs import Blobs
from kvern.store.files import FileRecord
from kvern.wire import changes
from kvern.wire import files as wire
from kvern.wire.base import page_size
from kvern.wire.errors import ForbiddenError, InvalidError, NotFoundError, TakenError, UnknownItemsError

LIST_MOST = 1000

_COLUMNS = ("name", "externalId", "mimeType")
"""Fields of a file with a column of their own; the others are kept and given back as they came."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a download link leads to."""

    key: str
    name: str
    mime_type: str | None
    size: int


class Files:
    """The files of a service. Whoever may read some data sets only, sees only the files in them."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, links: Links) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._links = links

    async def create(self, who: Principal, wanted: wire.FileWrite, *, overwrite: bool) -> wire.File:
        """A file that waits for its bytes.

        With `overwrite`, a file of the same external id keeps its id, what is not given, and its old bytes until new
        ones came.

        Raises:
            TakenError: the external id is in use and `overwrite` is off.
            ForbiddenError: the data set, or being in none, is out of reach.
            InvalidError: there is no such data set.
        """
        now = self._clock.now()
        places = FilePlaces(who)
        details, columns = _parted(msgspec.to_builtins(wanted))
        record = FileRecord(
            id=self._store.next_id(),
            project=who.project,
            created_time=now,
            last_updated_time=now,
            details=details,
            **columns,
        )

        def work(connection: Connection) -> FileRecord:
            old = None
            if overwrite and wanted.external_id is not None:
                old = files.by_external_id(connection, who.project, wanted.external_id)
            if old is None:
                places.check(connection, wanted.data_set_id, new=True)
                files.add(connection, record)
                return record
            places.check(connection, data_set_of(old))
            if wanted.data_set_id is not None:
                places.check(connection, wanted.data_set_id, new=True)
            new = replace(old, last_updated_time=now, details={**old.details, **details}, **columns)
            files.save(connection, new)
            return new

        try:
            return shown(await self._store.transact(work))
        except IntegrityError as error:
            raise _taken([wanted.external_id], "; send overwrite=true to replace that file") from error

    async def get(self, who: Principal, file_id: int) -> FileRecord:
        """Raises `NotFoundError`, also for what `who` may not read."""
        record = await self._store.read(lambda connection: files.get(connection, who.project, file_id))
        if record is None or not reach(who, "filesAcl:READ").covers(data_set_of(record)):
            raise unknown_file(file_id)
        return record

    async def retrieve(self, who: Principal, file_id: int) -> wire.File:
        return shown(await self.get(who, file_id))

    async def by_ids(self, who: Principal, items: Sequence[wire.FileId], *, ignore_unknown: bool) -> list[wire.File]:
        """In the order asked for. Raises `UnknownItemsError`."""
        return [shown(record) for record in await self._readable(who, items, ignore_unknown=ignore_unknown)]

    async def _readable(
        self, who: Principal, items: Sequence[wire.FileId], *, ignore_unknown: bool = False
    ) -> list[FileRecord]:
        within = reach(who, "filesAcl:READ")

        def work(connection: Connection) -> list[FileRecord | None]:
            return _found(connection, who.project, items, within)

        found = await self._store.look_up(work)
        missing = [item for item, record in zip(items, found, strict=True) if record is None]
        if missing and not ignore_unknown:
            raise _unknown(missing)
        return [record for record in found if record is not None]

    async def writable(self, who: Principal, item: wire.FileId) -> FileRecord:
        """A file that `who` may write. Raises `UnknownItemsError`, `ForbiddenError`."""
        places = FilePlaces(who)
        return (await self._store.read(lambda connection: _writable(connection, who, places, [item])))[0]

    async def update(self, who: Principal, items: list[wire.FileUpdate]) -> list[wire.File]:
        """Change what is known of files; all or none.

        Raises:
            UnknownItemsError: one is unknown.
            ForbiddenError: one may not be written, or not be put into that data set.
            InvalidError: a changed one would break a rule.
            TakenError: a new external id is in use.
        """
        now = self._clock.now()
        places = FilePlaces(who)

        def work(connection: Connection) -> list[FileRecord]:
            found = _writable(connection, who, places, items)
            current = {record.id: record for record in found}  # one file may be named twice in a request
            new: list[FileRecord] = []
            for named, item in zip(found, items, strict=True):
                record = current[named.id]
                changed = _changed(record, item.update, now)
                if data_set_of(changed) != data_set_of(record):
                    places.check(connection, data_set_of(changed), new=True)
                files.save(connection, changed)
                current[named.id] = changed
                new.append(changed)
            return new

        try:
            return [shown(record) for record in await self._store.transact(work)]
        except IntegrityError as error:
            asked = (item.update.external_id for item in items)
            raise _taken([change.set for change in asked if change is not None and change.set is not None]) from error

    async def delete(self, who: Principal, items: list[wire.FileId], *, ignore_unknown: bool) -> None:
        """Delete files, their bytes, and what was uploaded of them in parts; all or none.

        Raises:
            UnknownItemsError: one is unknown.
            ForbiddenError: one may not be written.
        """
        places = FilePlaces(who)

        def work(connection: Connection) -> list[str]:
            found = _writable(connection, who, places, items, ignore_unknown=ignore_unknown)
            ids = [record.id for record in found]
            return [*uploads.remove_for(connection, ids), *files.remove(connection, ids)]

        for key in await self._store.transact(work):
            await self._blobs.delete(key)

    async def download_links(
        self, who: Principal, items: list[wire.FileId], *, extended: bool
    ) -> list[tuple[dict[str, Any], str]]:
        """Each identifier as it was asked for, with the proof for its link.

        Raises:
            UnknownItemsError: one is unknown.
            InvalidError: one has no bytes yet.
        """
        records = await self._readable(who, items)
        empty = [record.id for record in records if record.blob is None]
        if empty:
            raise InvalidError(f"Expected files whose content was uploaded; not so for the ids {empty}")
        lifetime = DOWNLOAD_EXTENDED_MS if extended else DOWNLOAD_MS
        return [
            (item.as_dict(), self._links.sign("download", who.project, record.id, lifetime))
            for item, record in zip(items, records, strict=True)
        ]

    async def content(self, proof: str) -> Content:
        """What a download link leads to. Raises `ForbiddenError`, `NotFoundError`."""
        grant = self._links.check("download", proof)
        record = await self._store.read(lambda connection: files.get(connection, grant.project, grant.file_id))
        if record is None or record.blob is None or record.size is None:
            raise unknown_file(grant.file_id)
        return Content(record.blob, record.name, record.mime_type, record.size)

    async def page(self, who: Principal, query: wire.FileQuery) -> tuple[list[wire.File], str | None]:
        """By id; the cursor to go on from when there are more. Raises `InvalidError` for a cursor not from here."""
        within = reach(who, "filesAcl:READ")
        wanted = query.filter or wire.FileFilter()
        limit = page_size(query.limit, LIST_MOST)
        (start,) = read_cursor(query.cursor, 1) if query.cursor is not None else (0,)
        part, parts = query.share()

        def work(connection: Connection) -> list[FileRecord]:
            data_sets = None
            if wanted.data_set_ids is not None:
                data_sets = find_ids(connection, who.project, wanted.data_set_ids)
            page: list[FileRecord] = []
            for record in files.after(connection, who.project, start):
                if record.id % parts != part - 1 or not within.covers(data_set_of(record)):
                    continue
                if matches(record, wanted, data_sets):
                    page.append(record)
                    if len(page) > limit:
                        break
            return page

        rows = await self._store.look_up(work)
        cursor = write_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return [shown(record) for record in rows[:limit]], cursor


def data_set_of(record: FileRecord) -> int | None:
    return record.details.get("dataSetId")


def unknown_file(file_id: int) -> NotFoundError:
    return NotFoundError(f"File {file_id} does not exist", missing=[{"id": file_id}])


def shown(record: FileRecord) -> wire.File:
    return msgspec.convert(
        {
            **_whole(record),
            "id": record.id,
            "uploaded": record.blob is not None,
            "uploadedTime": record.uploaded_time,
            "createdTime": record.created_time,
            "lastUpdatedTime": record.last_updated_time,
        },
        type=wire.File,
    )


def _whole(record: FileRecord) -> dict[str, Any]:
    """What can be sent of a file, under the names of the wire."""
    columns = {"name": record.name, "externalId": record.external_id, "mimeType": record.mime_type}
    return {**record.details, **{name: value for name, value in columns.items() if value is not None}}


def _parted(sent: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was sent, parted into details and the columns that were given."""
    named = {"name": "name", "externalId": "external_id", "mimeType": "mime_type"}
    details = {key: value for key, value in sent.items() if key not in _COLUMNS}
    return details, {named[key]: value for key, value in sent.items() if key in _COLUMNS}


def _changed(record: FileRecord, update: wire.FileChanges, now: int) -> FileRecord:
    document = changes.apply(_whole(record), msgspec.to_builtins(update))
    try:
        msgspec.convert(document, type=wire.FileWrite)
    except msgspec.ValidationError as error:
        raise InvalidError(f"File {record.id} cannot be changed so: {error}") from error
    details, columns = _parted(document)
    cleared: dict[str, Any] = {"external_id": None, "mime_type": None}
    return replace(record, last_updated_time=now, details=details, **{**cleared, **columns})


def _found(
    connection: Connection, project: str, items: Sequence[wire.FileId], within: Reach | None = None
) -> list[FileRecord | None]:
    """What the items name, in their order."""
    ids = {item.id for item in items if item.id is not None}
    external_ids = {item.external_id for item in items if item.external_id is not None}
    records = files.several(connection, project, ids, external_ids)
    by_id: dict[int | None, FileRecord] = {record.id: record for record in records}
    by_external_id: dict[str | None, FileRecord] = {
        record.external_id: record for record in records if record.external_id is not None
    }
    found = (by_id.get(item.id) if item.id is not None else by_external_id.get(item.external_id) for item in items)
    return [one if one is None or within is None or within.covers(data_set_of(one)) else None for one in found]


def _writable(
    connection: Connection,
    who: Principal,
    places: FilePlaces,
    items: Sequence[wire.FileId],
    *,
    ignore_unknown: bool = False,
) -> list[FileRecord]:
    """What `who` may not write but read is refused; what `who` may not even read is not there."""
    readable = reach(who, "filesAcl:READ")
    found: list[FileRecord] = []
    missing: list[wire.FileId] = []
    for item, record in zip(items, _found(connection, who.project, items), strict=True):
        if record is not None:
            try:
                places.check(connection, data_set_of(record))
            except ForbiddenError:
                if readable.covers(data_set_of(record)):
                    raise
                missing.append(item)
                continue
            found.append(record)
        else:
            missing.append(item)
    if missing and not ignore_unknown:
        raise _unknown(missing)
    return found


def _unknown(items: Sequence[wire.FileId]) -> UnknownItemsError:
    hint = ""
    if any(item.instance_id is not None for item in items):
        hint = (
            "; files of the data-modelling API are not kept here: use `externalId`, and `dataSetExternalId` for `space`"
        )
    return UnknownItemsError(f"File ids not found{hint}", missing=[item.as_dict() for item in items])


def _taken(external_ids: Sequence[str | None], hint: str = "") -> TakenError:
    given = ", ".join(map(repr, external_ids))
    return TakenError(
        f"Expected external ids that are not in use, given {given}{hint}",
        duplicated=[{"externalId": external_id} for external_id in external_ids],
    )
