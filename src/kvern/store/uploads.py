"""Uploads in parts, as rows; the bytes of the parts are blobs until the upload is completed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select, update

from kvern.store.tables import upload_parts, uploads


@dataclass(slots=True, kw_only=True, frozen=True)
class UploadRecord:
    """A row of `uploads`. One that was completed is kept for a while, so that completing it again does no harm."""

    id: str
    project: str
    file_id: int
    parts: int
    created_time: int
    completed_time: int | None = None


@dataclass(slots=True, kw_only=True, frozen=True)
class PartRecord:
    """A row of `upload_parts`: the bytes that came last for one part; parts are numbered from 0."""

    upload_id: str
    part: int
    blob: str
    size: int


def add(connection: Connection, record: UploadRecord) -> None:
    connection.execute(insert(uploads), asdict(record))


def get(connection: Connection, project: str, upload_id: str) -> UploadRecord | None:
    statement = select(uploads).where(uploads.c.project == project, uploads.c.id == upload_id)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else UploadRecord(**cast(dict[str, Any], row))


def parts(connection: Connection, upload_id: str) -> list[PartRecord]:
    """The parts that came, in order."""
    statement = select(upload_parts).where(upload_parts.c.upload_id == upload_id).order_by(upload_parts.c.part)
    return [PartRecord(**cast(dict[str, Any], row)) for row in connection.execute(statement).mappings()]


def put_part(connection: Connection, record: PartRecord) -> str | None:
    """Keep a part; the key of the bytes that it replaces, or None."""
    same = (upload_parts.c.upload_id == record.upload_id, upload_parts.c.part == record.part)
    old = connection.execute(select(upload_parts.c.blob).where(*same)).scalar_one_or_none()
    connection.execute(delete(upload_parts).where(*same))
    connection.execute(insert(upload_parts), asdict(record))
    return old


def complete(connection: Connection, upload_id: str, now: int) -> None:
    """Note that an upload is completed, and forget its parts."""
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == upload_id))
    connection.execute(update(uploads).where(uploads.c.id == upload_id).values(completed_time=now))


def remove_for(connection: Connection, file_ids: list[int]) -> list[str]:
    """Delete all uploads for some files; the keys of their parts' bytes."""
    theirs = select(uploads.c.id).where(uploads.c.file_id.in_(file_ids))
    return _remove(connection, [row[0] for row in connection.execute(theirs)])


def forget_before(connection: Connection, moment: int) -> list[str]:
    """Delete uploads begun before `moment` (ms), completed or not; the keys of their parts' bytes."""
    old = select(uploads.c.id).where(uploads.c.created_time < moment)
    return _remove(connection, [row[0] for row in connection.execute(old)])


def _remove(connection: Connection, ids: list[str]) -> list[str]:
    theirs = upload_parts.c.upload_id.in_(ids)
    keys = [row[0] for row in connection.execute(select(upload_parts.c.blob).where(theirs))]
    connection.execute(delete(upload_parts).where(theirs))
    connection.execute(delete(uploads).where(uploads.c.id.in_(ids)))
    return keys


def blobs(connection: Connection) -> set[str]:
    """The keys of all blobs that parts hold."""
    return {row[0] for row in connection.execute(select(upload_parts.c.blob))}
