"""Groups, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select, update

from kvern.store.tables import groups


@dataclass(slots=True, kw_only=True, frozen=True)
class GroupRecord:
    """A row of `groups`; `capabilities` is the JSON of the ACL list as it was sent, `metadata` that of the map.

    `from_file` marks those that `kvern.toml` says; they have rows so that their ids stay.
    """

    id: int
    project: str
    name: str
    capabilities: str
    created_time: int
    source_id: str | None = None
    metadata: str | None = None
    from_file: bool = False


def add(connection: Connection, records: list[GroupRecord]) -> None:
    if records:
        connection.execute(insert(groups), [asdict(record) for record in records])


def save(connection: Connection, record: GroupRecord) -> None:
    connection.execute(update(groups).where(groups.c.id == record.id).values(asdict(record)))


def remove(connection: Connection, ids: list[int]) -> None:
    connection.execute(delete(groups).where(groups.c.id.in_(ids)))


def everything(connection: Connection) -> list[GroupRecord]:
    rows = connection.execute(select(groups).order_by(groups.c.id)).mappings()
    return [GroupRecord(**cast(dict[str, Any], row)) for row in rows]
