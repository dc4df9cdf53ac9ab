"""Files: records, and the bytes that were uploaded for them (contract 7)."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kvern.service.clock import Clock
from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.links import DOWNLOAD_EXTENDED_MS, DOWNLOAD_MS, UPLOAD_MS, Links
from kvern.store import Store, files
from kvern.store.blobs import Blobs
from kvern.store.files import FileRecord
from kvern.wire import files as wire
from kvern.wire.base import ByIdOrExternalId, TimeRange
from kvern.wire.errors import InvalidError, NotFoundError, TakenError, UnknownItemsError

LIST_MOST = 1000

_COLUMNS = frozenset({"name", "externalId", "mimeType"})
"""Fields of a file with a column of their own; the others are kept and given back as they came."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a download link leads to."""

    key: str
    name: str
    mime_type: str | None
    size: int


class Files:
    """The files of a service.

    Args:
        limit: bytes that one file may have.
    """

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, links: Links, limit: int) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._links = links
        self._limit = limit

    async def create(self, project: str, wanted: wire.FileWrite, *, overwrite: bool) -> tuple[wire.File, str]:
        """A file that waits for its bytes, and the proof for its upload link.

        With `overwrite`, a file of the same external id keeps its id, and its old bytes until new ones came.

        Raises:
            TakenError: the external id is in use and `overwrite` is off.
        """
        now = self._clock.now()
        sent = msgspec.to_builtins(wanted)
        details = {key: value for key, value in sent.items() if key not in _COLUMNS}
        record = FileRecord(
            id=self._store.next_id(),
            project=project,
            name=wanted.name,
            external_id=wanted.external_id,
            mime_type=wanted.mime_type,
            details=details,
            created_time=now,
            last_updated_time=now,
        )

        def work(connection: Connection) -> FileRecord:
            old = None
            if overwrite and wanted.external_id is not None:
                old = files.by_external_id(connection, project, wanted.external_id)
            if old is None:
                files.add(connection, record)
                return record
            new = replace(
                old,
                name=wanted.name,
                mime_type=wanted.mime_type if wanted.mime_type is not None else old.mime_type,
                details={**old.details, **details},
                last_updated_time=now,
            )
            files.save(connection, new)
            return new

        try:
            made = await self._store.transact(work)
        except IntegrityError as error:
            raise TakenError(
                f"Expected an externalId that is not in use, given {wanted.external_id!r}; "
                "send overwrite=true to replace that file",
                duplicated=[{"externalId": wanted.external_id}],
            ) from error
        return _shown(made), self._links.sign("upload", project, made.id, UPLOAD_MS)

    async def upload(self, proof: str, content: AsyncIterable[bytes]) -> None:
        """Take the bytes of a file.

        Raises:
            ForbiddenError: the link is not good, or too old.
            NotFoundError: the file was deleted.
            TooLargeError: there are more bytes than a file may have.
        """
        grant = self._links.check("upload", proof)
        await self.get(grant.project, grant.file_id)
        key, size = await self._blobs.write(content, self._limit)
        now = self._clock.now()

        def work(connection: Connection) -> tuple[bool, str | None]:
            record = files.get(connection, grant.project, grant.file_id)
            if record is None:
                return False, None
            new = replace(record, blob=key, size=size, uploaded_time=now, last_updated_time=now)
            return files.save(connection, new), record.blob

        kept, replaced = await self._store.transact(work)
        if not kept:
            await self._blobs.delete(key)
            raise _unknown_file(grant.file_id)
        if replaced is not None:
            await self._blobs.delete(replaced)

    async def get(self, project: str, file_id: int) -> FileRecord:
        """Raises `NotFoundError`."""
        record = await self._store.read(lambda connection: files.get(connection, project, file_id))
        if record is None:
            raise _unknown_file(file_id)
        return record

    async def retrieve(self, project: str, file_id: int) -> wire.File:
        return _shown(await self.get(project, file_id))

    async def by_ids(self, project: str, items: list[ByIdOrExternalId], *, ignore_unknown: bool) -> list[wire.File]:
        """In the order asked for. Raises `UnknownItemsError`."""
        return [_shown(record) for record in await self._several(project, items, ignore_unknown=ignore_unknown)]

    async def _several(self, project: str, items: list[ByIdOrExternalId], *, ignore_unknown: bool) -> list[FileRecord]:
        def work(connection: Connection) -> list[FileRecord | None]:
            return [_find(connection, project, item) for item in items]

        found = await self._store.read(work)
        missing = [item.as_dict() for item, record in zip(items, found, strict=True) if record is None]
        if missing and not ignore_unknown:
            raise UnknownItemsError("File ids not found", missing=missing)
        return [record for record in found if record is not None]

    async def delete(self, project: str, items: list[ByIdOrExternalId], *, ignore_unknown: bool) -> None:
        """Delete files and their bytes; all or none. Raises `UnknownItemsError`."""
        records = await self._several(project, items, ignore_unknown=ignore_unknown)
        await self._store.transact(lambda connection: files.remove(connection, [record.id for record in records]))
        for record in records:
            if record.blob is not None:
                await self._blobs.delete(record.blob)

    async def download_links(
        self, project: str, items: list[ByIdOrExternalId], *, extended: bool
    ) -> list[tuple[dict[str, Any], str]]:
        """Each identifier as it was asked for, with the proof for its link.

        Raises:
            UnknownItemsError: one is unknown.
            InvalidError: one has no bytes yet.
        """
        records = await self._several(project, items, ignore_unknown=False)
        empty = [record.id for record in records if record.blob is None]
        if empty:
            raise InvalidError(f"Expected files whose content was uploaded; not so for the ids {empty}")
        lifetime = DOWNLOAD_EXTENDED_MS if extended else DOWNLOAD_MS
        return [
            (item.as_dict(), self._links.sign("download", project, record.id, lifetime))
            for item, record in zip(items, records, strict=True)
        ]

    async def content(self, proof: str) -> Content:
        """What a download link leads to. Raises `ForbiddenError`, `NotFoundError`."""
        grant = self._links.check("download", proof)
        record = await self.get(grant.project, grant.file_id)
        if record.blob is None or record.size is None:
            raise _unknown_file(grant.file_id)
        return Content(record.blob, record.name, record.mime_type, record.size)

    async def page(self, project: str, query: wire.FileQuery) -> tuple[list[wire.File], str | None]:
        """By id; the cursor to go on from when there are more. Raises `InvalidError` for a cursor not from here."""
        wanted = query.filter or wire.FileFilter()
        limit = min(query.limit, LIST_MOST)
        (start,) = read_cursor(query.cursor, 1) if query.cursor is not None else (0,)

        def work(connection: Connection) -> list[FileRecord]:
            page: list[FileRecord] = []
            for record in files.after(connection, project, start):
                if _matches(record, wanted):
                    page.append(record)
                    if len(page) > limit:
                        break
            return page

        rows = await self._store.read(work)
        cursor = write_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return [_shown(record) for record in rows[:limit]], cursor


def _find(connection: Connection, project: str, item: ByIdOrExternalId) -> FileRecord | None:
    if item.id is not None:
        return files.get(connection, project, item.id)
    return files.by_external_id(connection, project, item.external_id or "")


def _unknown_file(file_id: int) -> NotFoundError:
    return NotFoundError(f"File {file_id} does not exist", missing=[{"id": file_id}])


def _shown(record: FileRecord) -> wire.File:
    return msgspec.convert(
        {
            **record.details,
            "id": record.id,
            "name": record.name,
            "externalId": record.external_id,
            "mimeType": record.mime_type,
            "uploaded": record.blob is not None,
            "uploadedTime": record.uploaded_time,
            "createdTime": record.created_time,
            "lastUpdatedTime": record.last_updated_time,
        },
        type=wire.File,
    )


def _matches(record: FileRecord, wanted: wire.FileFilter) -> bool:
    details = record.details
    equal = (
        (wanted.name, record.name),
        (wanted.mime_type, record.mime_type),
        (wanted.source, details.get("source")),
        (wanted.uploaded, record.blob is not None),
    )
    if any(want is not None and want != have for want, have in equal):
        return False
    prefixes = (
        (wanted.external_id_prefix, record.external_id),
        (wanted.directory_prefix, details.get("directory")),
    )
    if any(want is not None and not (have or "").startswith(want) for want, have in prefixes):
        return False
    if wanted.external_id_prefix is not None and record.external_id is None:
        return False
    if wanted.metadata is not None and not (wanted.metadata.items() <= (details.get("metadata") or {}).items()):
        return False
    if wanted.data_set_ids is not None and details.get("dataSetId") not in [item.id for item in wanted.data_set_ids]:
        return False
    ranges = (
        (wanted.created_time, record.created_time),
        (wanted.last_updated_time, record.last_updated_time),
        (wanted.uploaded_time, record.uploaded_time),
    )
    return all(in_range(span, value) for span, value in ranges)


def in_range(span: TimeRange | None, value: int | None) -> bool:
    """Whether a time lies in an inclusive range; a time that is not there lies in none."""
    if span is None:
        return True
    if value is None:
        return False
    return (span.min is None or value >= span.min) and (span.max is None or value <= span.max)
