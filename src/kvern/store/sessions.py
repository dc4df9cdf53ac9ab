"""Sessions, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from kvern.store.tables import schedules, sessions

OPEN = insert(sessions)
"""A new session, from `values`."""

SET_STATUS = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"), sessions.c.status.in_(("READY", "ACTIVE")))
    .values(status=bindparam("to_status"), nonce_hash=bindparam("to_nonce_hash"))
)
"""Bind, end or revoke: `{"session", "to_status", "to_nonce_hash"}`; the nonce of a bound session is forgotten.

A session that has ended already is left as it is.
"""


@dataclass(slots=True, kw_only=True)
class SessionRecord:
    """A row of `sessions`. Of the nonce only a hash is kept; `capabilities` is the JSON of the ACL list."""

    id: int
    project: str
    type: str
    status: str
    subject: str
    capabilities: str
    creation_time: int
    expiration_time: int
    nonce_hash: str | None = None
    client_id: str | None = None


def values(record: SessionRecord) -> dict[str, Any]:
    return asdict(record)


def alive(connection: Connection) -> list[SessionRecord]:
    """Those that can still be bound or act."""
    rows = connection.execute(select(sessions).where(sessions.c.status.in_(("READY", "ACTIVE")))).mappings()
    return [SessionRecord(**cast(dict[str, Any], row)) for row in rows]


def page(
    connection: Connection, project: str, status: str | None, limit: int, after: int | None
) -> list[SessionRecord]:
    """Newest first, beginning after the session with the given id."""
    statement = select(sessions).where(sessions.c.project == project)
    if status is not None:
        statement = statement.where(sessions.c.status == status)
    if after is not None:
        statement = statement.where(sessions.c.id < after)
    rows = connection.execute(statement.order_by(sessions.c.id.desc()).limit(limit)).mappings()
    return [SessionRecord(**cast(dict[str, Any], row)) for row in rows]


def several(connection: Connection, project: str, ids: list[int]) -> dict[int, SessionRecord]:
    statement = select(sessions).where(sessions.c.project == project, sessions.c.id.in_(ids))
    rows = connection.execute(statement).mappings()
    return {row["id"]: SessionRecord(**cast(dict[str, Any], row)) for row in rows}


def forget_before(connection: Connection, moment: int, most: int) -> int:
    """Delete up to `most` sessions made before `moment` (ms) that no schedule holds and that are not in use."""
    held = select(schedules.c.session_id)
    old = (
        select(sessions.c.id)
        .where(
            sessions.c.creation_time < moment,
            or_(sessions.c.status != "ACTIVE", sessions.c.expiration_time < moment),
            sessions.c.id.not_in(held),
        )
        .limit(most)
    )
    ids = [row[0] for row in connection.execute(old)]
    if ids:
        connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
    return len(ids)
