"""Clients of the built-in issuer, as rows. A secret is kept only as a hash: it is random and long, so one suffices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select, update

from kvern.store.tables import clients


@dataclass(slots=True, kw_only=True, frozen=True)
class ClientRecord:
    """A row of `clients`; `capabilities` is the JSON of the ACL list.

    `group_id` is the group that the client is alone in; rows of the first schema have none until the next start. The
    old secret is good until `old_secret_until` (ms).
    """

    client_id: str
    project: str
    name: str
    secret_hash: str
    capabilities: str
    created_time: int
    group_id: int | None = None
    old_secret_hash: str | None = None
    old_secret_until: int | None = None
    rotated_time: int | None = None


def add(connection: Connection, record: ClientRecord) -> None:
    connection.execute(insert(clients), asdict(record))


def save(connection: Connection, record: ClientRecord) -> None:
    connection.execute(update(clients).where(clients.c.client_id == record.client_id).values(asdict(record)))


def remove(connection: Connection, client_ids: list[str]) -> None:
    connection.execute(delete(clients).where(clients.c.client_id.in_(client_ids)))


def everything(connection: Connection) -> list[ClientRecord]:
    rows = connection.execute(select(clients).order_by(clients.c.created_time, clients.c.client_id)).mappings()
    return [ClientRecord(**cast(dict[str, Any], row)) for row in rows]
