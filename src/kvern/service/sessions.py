"""Sessions: on whose behalf a call or a schedule runs (contract 6)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal, TypeAlias, cast

from kvern.service.clock import Clock
from kvern.service.identity import Principal
from kvern.service.issuer import Credentials
from kvern.store import Store, sessions
from kvern.store.clients import ClientRecord
from kvern.store.sessions import SessionRecord
from kvern.wire import sessions as wire
from kvern.wire.errors import InvalidError, UnauthenticatedError, UnknownItemsError

NONCE_MS = 60_000
"""How long a nonce can be bound (contract 6.2)."""

SESSION_MS = 3_600_000
"""How long a session that is not refreshed can act."""

_EndStatus: TypeAlias = Literal["CANCELLED", "EXPIRED", "REVOKED"]


class Sessions:
    """The sessions of a service; those that can act are held in memory and decide from there.

    Args:
        authenticate: finds the client behind an id and a secret; raises `UnauthenticatedError`.
    """

    def __init__(self, store: Store, clock: Clock, authenticate: Callable[[Credentials], ClientRecord]) -> None:
        self._store = store
        self._clock = clock
        self._authenticate = authenticate
        self._alive: dict[int, SessionRecord] = {}
        self._by_nonce: dict[str, SessionRecord] = {}

    async def start(self) -> None:
        for record in await self._store.read(sessions.alive):
            self._hold(record)

    def _hold(self, record: SessionRecord) -> None:
        self._alive[record.id] = record
        if record.status == "READY" and record.nonce_hash is not None:
            self._by_nonce[record.nonce_hash] = record

    async def create(self, principal: Principal, wanted: wire.SessionWrite) -> wire.CreatedSession:
        """A session that waits to be bound by its nonce.

        Raises:
            InvalidError: the client credentials are not good.
        """
        subject, capabilities, kind = principal.subject, principal.capabilities, "TOKEN_EXCHANGE"
        if wanted.oneshot_token_exchange:
            kind = "ONESHOT_TOKEN_EXCHANGE"
        if wanted.client_id is not None and wanted.client_secret is not None:
            try:
                client = self._authenticate(Credentials(wanted.client_id, wanted.client_secret))
            except UnauthenticatedError as error:
                raise InvalidError(
                    f"The session cannot be created: {error.message[0].lower()}{error.message[1:]}"
                ) from error
            if client.project != principal.project:
                raise InvalidError("The session cannot be created: the client id or the client secret is not good")
            subject, capabilities, kind = client.client_id, client.capabilities, "CLIENT_CREDENTIALS"
        nonce = secrets.token_urlsafe(24)
        record = self._new(principal.project, kind, "READY", subject, capabilities)
        record.nonce_hash = _hash(nonce)
        record.client_id = wanted.client_id
        await self._store.write(sessions.OPEN, sessions.values(record))
        self._hold(record)
        return wire.CreatedSession(
            id=record.id,
            type=kind,
            status="READY",
            nonce=nonce,
            client_id=record.client_id,
        )

    def _new(self, project: str, kind: str, status: str, subject: str, capabilities: str) -> SessionRecord:
        now = self._clock.now()
        return SessionRecord(
            id=self._store.next_id(),
            project=project,
            type=kind,
            status=status,
            subject=subject,
            capabilities=capabilities,
            creation_time=now,
            expiration_time=now + SESSION_MS,
        )

    def bind(self, project: str, nonce: str) -> tuple[SessionRecord, Awaitable[None]]:
        """Take a nonce, once; the session, and the write that makes it lasting (started, to be awaited).

        Raises:
            InvalidError: the nonce is unknown, used, or older than a minute.
        """
        record = self._by_nonce.get(_hash(nonce))
        if record is None or record.project != project or record.status != "READY":
            raise InvalidError("Failed to bind session: the nonce is unknown or was used before; create a new session")
        del self._by_nonce[_hash(nonce)]
        if self._clock.now() - record.creation_time > NONCE_MS:
            raise InvalidError("Failed to bind session: the nonce is older than one minute; create a new session")
        record.status, record.nonce_hash = "ACTIVE", None
        return record, self._save_status(record)

    def implicit(self, principal: Principal) -> tuple[SessionRecord, Awaitable[None]]:
        """A bound one-shot session for a call without a nonce: it runs as its caller (contract 4.2)."""
        kind = "ONESHOT_TOKEN_EXCHANGE"
        record = self._new(principal.project, kind, "ACTIVE", principal.subject, principal.capabilities)
        self._alive[record.id] = record
        return record, self._store.write(sessions.OPEN, sessions.values(record))

    def get(self, session_id: int) -> SessionRecord | None:
        """A session that can act now, or None: it ended, was revoked, or was one-shot and is too old."""
        record = self._alive.get(session_id)
        if record is None or record.status != "ACTIVE":
            return None
        if record.type == "ONESHOT_TOKEN_EXCHANGE" and record.expiration_time <= self._clock.now():
            return None
        return record

    def is_alive(self, session_id: int) -> bool:
        return self.get(session_id) is not None

    def end(self, session_id: int, status: _EndStatus) -> Awaitable[None]:
        """Stop a session from acting, at once; the write that makes it lasting (started, to be awaited)."""
        record = self._alive.pop(session_id, None) or SessionRecord(
            id=session_id,
            project="",
            type="",
            status=status,
            subject="",
            capabilities="",
            creation_time=0,
            expiration_time=0,
        )
        if record.nonce_hash is not None:
            self._by_nonce.pop(record.nonce_hash, None)
        record.status, record.nonce_hash = status, None
        return self._save_status(record)

    def _save_status(self, record: SessionRecord) -> Awaitable[None]:
        row = {"session": record.id, "to_status": record.status, "to_nonce_hash": record.nonce_hash}
        return self._store.write(sessions.SET_STATUS, row)

    async def revoke(self, principal: Principal, ids: list[int]) -> list[wire.Session] | list[dict[str, int]]:
        """End sessions, at once; what has ended already stays as it is. Bare ids to those who may not list."""
        found = await self._several(principal.project, ids)
        for record in found:
            if record.status in ("READY", "ACTIVE"):
                await self.end(record.id, "REVOKED")
                record.status = "REVOKED"
        if not principal.may("sessionsAcl:LIST"):
            return [{"id": record.id} for record in found]
        return [self._shown(record) for record in found]

    async def by_ids(self, project: str, ids: list[int]) -> list[wire.Session]:
        """Raises `UnknownItemsError` when one is unknown."""
        return [self._shown(record) for record in await self._several(project, ids)]

    async def _several(self, project: str, ids: list[int]) -> list[SessionRecord]:
        found = await self._store.read(lambda connection: sessions.several(connection, project, ids))
        missing = [{"id": wanted} for wanted in ids if wanted not in found]
        if missing:
            raise UnknownItemsError("Session ids not found", missing=missing)
        return [found[wanted] for wanted in ids]

    async def page(
        self, project: str, status: str | None, limit: int, after: int | None
    ) -> tuple[list[wire.Session], int | None]:
        """Newest first; the id to go on from when there are more."""
        rows = await self._store.read(lambda connection: sessions.page(connection, project, status, limit + 1, after))
        more = rows[limit - 1].id if len(rows) > limit else None
        return [self._shown(record) for record in rows[:limit]], more

    def _shown(self, record: SessionRecord) -> wire.Session:
        """Sessions that refresh themselves end an hour from now, for ever; a nonce that is too old has expired."""
        now = self._clock.now()
        record = replace(record)
        if record.status == "READY" and now - record.creation_time > NONCE_MS:
            record.status = "EXPIRED"
        if record.status == "ACTIVE" and record.type == "ONESHOT_TOKEN_EXCHANGE" and record.expiration_time <= now:
            record.status = "EXPIRED"
        if record.status == "ACTIVE" and record.type != "ONESHOT_TOKEN_EXCHANGE":
            record.expiration_time = now + SESSION_MS
        return wire.Session(
            id=record.id,
            type=cast(wire.Type, record.type),
            status=cast(wire.Status, record.status),
            creation_time=record.creation_time,
            expiration_time=record.expiration_time,
            client_id=record.client_id,
        )

    def forget_stale(self) -> None:
        """Drop from memory the nonces that nobody bound in time."""
        now = self._clock.now()
        for nonce_hash, record in list(self._by_nonce.items()):
            if now - record.creation_time > NONCE_MS:
                del self._by_nonce[nonce_hash]
                self._alive.pop(record.id, None)


def _hash(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()
