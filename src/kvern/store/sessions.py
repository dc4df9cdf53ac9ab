"""Sessions, as rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, and_, bindparam, case, delete, insert, null, or_, select, update

from kvern.store.tables import schedules, sessions

OPEN = insert(sessions)
"""A new session, from `values`."""

SET_STATUS = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"), or_(sessions.c.status == "READY", sessions.c.status == "ACTIVE"))
    .values(status=bindparam("to_status"), nonce_hash=bindparam("to_nonce_hash"))
)
"""Bind, end or revoke: `{"session", "to_status", "to_nonce_hash"}`; the nonce of a bound session is forgotten.

A session that has ended already is left as it is.
"""


@dataclass(slots=True, kw_only=True)
class SessionRecord:
    """A row of `sessions`. Of the nonce only a hash is kept; `capabilities` is the JSON of the ACL list.

    `issuer` vouched for the subject, with `claims` as its groups (JSON of a list). `vault` holds what it takes to ask
    that issuer again, encrypted by `vault_key`, which the master key wraps. `parent_id` is the session whose call made
    this one.
    """

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
    issuer: str = "kvern"
    claims: str | None = None
    parent_id: int | None = None
    vault: bytes | None = None
    vault_key: bytes | None = None


def claims_text(claims: tuple[str, ...]) -> str | None:
    """The groups that an issuer named, as a row has them."""
    return msgspec.json.encode(claims).decode() if claims else None


def claims_of(record: SessionRecord) -> tuple[str, ...]:
    """The groups that the issuer of a session named last."""
    return () if record.claims is None else msgspec.json.decode(record.claims, type=tuple[str, ...])


SET_CLAIMS = update(sessions).where(sessions.c.id == bindparam("session")).values(claims=bindparam("to_claims"))
"""The groups that the issuer named last: `{"session", "to_claims"}`."""

SET_VAULT = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"))
    .values(vault=bindparam("to_vault"), vault_key=bindparam("to_vault_key"))
)
"""What it takes to ask the issuer again: `{"session", "to_vault", "to_vault_key"}`."""

FORGET_SECRETS = update(sessions).where(sessions.c.id == bindparam("session")).values(vault=null(), vault_key=null())
"""What it took to refresh a session that has ended: `{"session"}`."""

_NAMES = tuple(field.name for field in fields(SessionRecord))


def values(record: SessionRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _NAMES}


def alive(connection: Connection) -> list[SessionRecord]:
    """Those that can still be bound or act."""
    rows = connection.execute(select(sessions).where(sessions.c.status.in_(("READY", "ACTIVE")))).mappings()
    return [SessionRecord(**cast(dict[str, Any], row)) for row in rows]


def some_alive(connection: Connection, ids: list[int]) -> list[SessionRecord]:
    """Those of `ids` that can still be bound or act."""
    found: list[SessionRecord] = []
    for start in range(0, len(ids), 500):
        portion = sessions.c.id.in_(ids[start : start + 500])
        rows = connection.execute(select(sessions).where(portion, sessions.c.status.in_(("READY", "ACTIVE"))))
        found += [SessionRecord(**cast(dict[str, Any], row)) for row in rows.mappings()]
    return found


def by_nonce(connection: Connection, nonce_hash: str) -> SessionRecord | None:
    """The session that waits for a nonce."""
    waiting = select(sessions).where(sessions.c.nonce_hash == nonce_hash, sessions.c.status == "READY")
    row = connection.execute(waiting).mappings().one_or_none()
    return None if row is None else SessionRecord(**cast(dict[str, Any], row))


def bind(connection: Connection, session_id: int) -> bool:
    """Bind a session that waits; False when it does not wait any more."""
    waiting = update(sessions).where(sessions.c.id == session_id, sessions.c.status == "READY")
    return connection.execute(waiting.values(status="ACTIVE", nonce_hash=None)).rowcount == 1


def page(
    connection: Connection, project: str, status: str | None, limit: int, after: int | None, *, now: int, nonces: int
) -> list[SessionRecord]:
    """Newest first, beginning after the session with the given id.

    Args:
        status: of those that are wanted; what expired by itself counts as EXPIRED, whatever its row says.
        now: one-shot sessions that end by this moment (ms) have expired.
        nonces: so have sessions that were made before this moment (ms) and were not bound.
    """
    statement = select(sessions).where(sessions.c.project == project)
    if status is not None:
        unbound = and_(sessions.c.status == "READY", sessions.c.creation_time < nonces)
        one_shot = sessions.c.type == "ONESHOT_TOKEN_EXCHANGE"
        over = and_(sessions.c.status == "ACTIVE", one_shot, sessions.c.expiration_time <= now)
        statement = statement.where(case((or_(unbound, over), "EXPIRED"), else_=sessions.c.status) == status)
    if after is not None:
        statement = statement.where(sessions.c.id < after)
    rows = connection.execute(statement.order_by(sessions.c.id.desc()).limit(limit)).mappings()
    return [SessionRecord(**cast(dict[str, Any], row)) for row in rows]


def several(connection: Connection, project: str, ids: list[int]) -> dict[int, SessionRecord]:
    statement = select(sessions).where(sessions.c.project == project, sessions.c.id.in_(ids))
    rows = connection.execute(statement).mappings()
    return {row["id"]: SessionRecord(**cast(dict[str, Any], row)) for row in rows}


def status(connection: Connection, session_id: int) -> str | None:
    """Where a session stands; None when it was forgotten."""
    return connection.execute(select(sessions.c.status).where(sessions.c.id == session_id)).scalar()


def add(connection: Connection, record: SessionRecord) -> None:
    connection.execute(OPEN, values(record))


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


def wrapped_keys(connection: Connection) -> list[bytes]:
    """The keys of all sessions that have one, as the master key wrapped them."""
    return list(connection.execute(select(sessions.c.vault_key).where(sessions.c.vault_key.is_not(None))).scalars())


def rewrap(connection: Connection, rewrapped: Callable[[bytes], bytes]) -> dict[int, bytes]:
    """Wrap the keys of all sessions anew; the new ones by session."""
    rows = connection.execute(select(sessions.c.id, sessions.c.vault_key).where(sessions.c.vault_key.is_not(None)))
    keys = {row.id: rewrapped(row.vault_key) for row in rows}
    for session_id, key in keys.items():
        connection.execute(update(sessions).where(sessions.c.id == session_id).values(vault_key=key))
    return keys
