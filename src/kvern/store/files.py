"""Files, as rows; their bytes are blobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from kvern.store import deadline
from kvern.store.batches import batched
from kvern.store.tables import files


@dataclass(slots=True, kw_only=True)
class FileRecord:
    """A row of `files`. `details` holds the fields that are kept and given back as they came."""

    id: int
    project: str
    name: str
    created_time: int
    last_updated_time: int
    external_id: str | None = None
    mime_type: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    blob: str | None = None
    size: int | None = None
    uploaded_time: int | None = None


def _values(record: FileRecord) -> dict[str, Any]:
    return {**asdict(record), "details": msgspec.json.encode(record.details).decode()}


def _record(row: RowMapping) -> FileRecord:
    values = dict(cast(dict[str, Any], row))
    values["details"] = msgspec.json.decode(values["details"])
    return FileRecord(**values)


def add(connection: Connection, record: FileRecord) -> None:
    """Raises `IntegrityError` when the external id is taken."""
    connection.execute(insert(files), _values(record))


def save(connection: Connection, record: FileRecord) -> bool:
    """Write all of a file that exists; False when it is gone."""
    row = _values(record)
    return connection.execute(update(files).where(files.c.id == record.id).values(row)).rowcount > 0


def get(connection: Connection, project: str, file_id: int) -> FileRecord | None:
    statement = select(files).where(files.c.project == project, files.c.id == file_id)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _record(row)


def by_external_id(connection: Connection, project: str, external_id: str) -> FileRecord | None:
    statement = select(files).where(files.c.project == project, files.c.external_id == external_id)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _record(row)


def several(connection: Connection, project: str, ids: set[int], external_ids: set[str]) -> list[FileRecord]:
    """Those of a project that have one of these ids or external ids; each once."""
    found: dict[int, FileRecord] = {}
    for column, values in ((files.c.id, ids), (files.c.external_id, external_ids)):
        for some in batched(sorted(values)):
            statement = select(files).where(files.c.project == project, column.in_(some))
            found |= {row["id"]: _record(row) for row in connection.execute(statement).mappings()}
    return list(found.values())


def after(connection: Connection, project: str, file_id: int) -> Iterator[FileRecord]:
    """All files of a project with a greater id, by id."""
    statement = select(files).where(files.c.project == project, files.c.id > file_id).order_by(files.c.id)
    for row in connection.execute(statement).mappings():
        deadline.check(connection)
        yield _record(row)


def remove(connection: Connection, ids: Sequence[int]) -> list[str]:
    """Delete files; the keys of their bytes."""
    theirs = files.c.id.in_(ids)
    keys = [row[0] for row in connection.execute(select(files.c.blob).where(theirs, files.c.blob.is_not(None)))]
    connection.execute(delete(files).where(theirs))
    return keys


def forget_empty_before(connection: Connection, moment: int) -> int:
    """Delete files for which no bytes came by `moment` (ms): after a week they are removed (contract 7.3)."""
    gone = delete(files).where(files.c.blob.is_(None), files.c.last_updated_time < moment)
    return connection.execute(gone).rowcount


def blobs(connection: Connection) -> set[str]:
    """The keys of all blobs that files hold."""
    return {row[0] for row in connection.execute(select(files.c.blob).where(files.c.blob.is_not(None)))}
