"""Clients of the built-in issuer, as rows. A secret is kept only as a hash: it is random and long, so one suffices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, insert, select

from kvern.store.tables import clients


@dataclass(slots=True, kw_only=True, frozen=True)
class ClientRecord:
    """A row of `clients`; `capabilities` is the JSON of the ACL list."""

    client_id: str
    project: str
    name: str
    secret_hash: str
    capabilities: str
    created_time: int


def add(connection: Connection, record: ClientRecord) -> None:
    connection.execute(insert(clients), asdict(record))


def everything(connection: Connection) -> list[ClientRecord]:
    rows = connection.execute(select(clients)).mappings()
    return [ClientRecord(**cast(dict[str, Any], row)) for row in rows]
