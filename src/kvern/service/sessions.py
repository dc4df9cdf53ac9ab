"""Sessions: on whose behalf a call or a schedule runs (contract 6).

A session knows who vouched for its subject. What it may do is worked out from what that subject may do now; one whose
subject may do nothing any more, or is not known any more, has lost its access:

type                    | may do                                           | ends
------------------------|--------------------------------------------------|----------------------------------------
CLIENT_CREDENTIALS      | what the client may do                           | when it is ended
TOKEN_EXCHANGE          | that, but no more than its maker might           | when it is ended
ONESHOT_TOKEN_EXCHANGE  | the same                                         | with the maker's token, within an hour
made inside a function  | the same; it can make no further one             | also when the function's own is revoked, or
                        |                                                  | with the call that made it, unless a call
                        |                                                  | or a schedule has taken it over
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

from sqlalchemy import Connection

from kvern.service.capabilities import common
from kvern.service.clients import Clients, Credentials
from kvern.service.clock import Clock
from kvern.service.groups import Grant, Groups
from kvern.service.identity import Principal
from kvern.service.live_sessions import NONCE_MS, ONESHOT, LiveSessions, is_over, is_unbound, nonce_hash
from kvern.service.new_sessions import SESSION_MS, NewSessions
from kvern.service.nonces import Nonces
from kvern.service.oidc_http import UnreachableIssuerError
from kvern.service.oidc_sessions import OidcSessions, Proof
from kvern.service.oidc_tokens import RefusedError
from kvern.store import Row, Store, StoreFault, sessions
from kvern.store.sessions import SessionRecord, claims_of, claims_text
from kvern.store.vault import Vault
from kvern.wire import sessions as wire
from kvern.wire.errors import InvalidError, UnknownItemsError

_ENDED = {
    "REVOKED": "The session was revoked",
    "ACCESS_LOST": "The session lost its access: its client was removed, or its subject may do nothing here any more",
}
_OVER = "The session has ended"

_log = logging.getLogger(__name__)

_SETTLE_SECONDS = 0.25
"""After which a session that nobody has bound is written: the official SDK binds it in its next request."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A session that is bound in memory, and what has to be written before anybody is told.

    Args:
        check: raises `InvalidError` when another server has bound it at the same moment.
    """

    session: SessionRecord
    rows: Sequence[Row]
    check: Callable[[Connection], None] | None = None


_EndStatus: TypeAlias = Literal["CANCELLED", "EXPIRED", "REVOKED", "ACCESS_LOST"]


class Sessions:
    """The sessions of a service; those that can act are held in memory and decide from there.

    Args:
        foreign: gets tokens for the subjects of foreign issuers.
        nonces: sign what waits to be bound and is not written yet.
        changed: told when what a session may do is not what it was.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        clients: Clients,
        groups: Groups,
        vault: Vault,
        foreign: OidcSessions,
        nonces: Nonces,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._nonces = nonces
        self._unwritten: dict[int, SessionRecord] = {}
        """Sessions that wait to be bound and have no row: their nonces carry them."""
        self._writing: asyncio.Task[None] | None = None
        """Writes such rows."""
        self._settling: asyncio.TimerHandle | None = None
        self._clock = clock
        self._groups = groups
        self._vault = vault
        self._foreign = foreign
        self._changed = changed
        self._live = LiveSessions(clock)
        self._new = NewSessions(store, clock, clients, groups, foreign, self._live)

    async def start(self) -> None:
        """Load what can act. Clients and groups are loaded already."""
        for record in await self._store.read(sessions.alive):
            self._live.hold(record)
        self.review()

    async def reload(self, ids: set[str] | None) -> None:
        """Read anew those that are held here, or all that can act: another server changed them."""
        if ids is None:
            held, rows = self._live.ids(), await self._store.read(sessions.alive)
        else:
            held = self._live.ids() & {int(number) for number in ids}
            rows = await self._store.read(lambda connection: sessions.some_alive(connection, list(held)))
        for record in rows:
            self._live.hold(record)
        for number in held - {record.id for record in rows}:
            self._live.drop(number)
            self._foreign.drop(number)
        self._changed()

    async def look_for(self, session_id: int) -> None:
        """Read a session that is not held here: another server may have made it."""
        if self._store.shared and session_id not in self._live:
            for record in await self._store.read(lambda connection: sessions.some_alive(connection, [session_id])):
                self._live.hold(record)

    async def look_for_nonce(self, nonce: str) -> None:
        """Take in the session that waits for a nonce, when it is not held here: another server made it, or an earlier
        run of this one.
        """
        if self._live.awaits(nonce):
            return
        if self._store.shared:
            record = await self._store.read(lambda connection: sessions.by_nonce(connection, nonce_hash(nonce)))
            if record is not None:
                self._live.hold(record)
            return
        record = self._nonces.read(nonce)
        if record is None or record.id in self._live or is_unbound(record, self._clock.now()):
            return
        await self._settled()
        if await self._store.read(lambda connection: sessions.status(connection, record.id)) is not None:
            return  # it was bound, or has ended
        grant = self._grant(record)
        if record.id not in self._live and grant is not None:  # nothing has changed meanwhile
            record.capabilities = record.capabilities or grant.capabilities
            record.nonce_hash = nonce_hash(nonce)
            self._live.hold(record)
            self._write_later(record)

    async def create(self, principal: Principal, wanted: wire.SessionWrite) -> wire.CreatedSession:
        """A session that waits to be bound by its nonce.

        Raises:
            InvalidError: the client credentials are not good, the token cannot be exchanged, or a session that was made
                inside a function asks for one more.
        """
        if wanted.client_id is not None and wanted.client_secret is not None:
            record, proof = await self._new.of_client(principal, Credentials(wanted.client_id, wanted.client_secret))
        else:
            record, proof = await self._new.of_caller(principal, oneshot=bool(wanted.oneshot_token_exchange))
        if proof is None and not self._store.shared and self._foreign.token(record.id) is None:
            nonce = self._nonces.sign(record)
            record.nonce_hash = nonce_hash(nonce)
            self._write_later(record)
        else:
            nonce = secrets.token_urlsafe(24)
            record.nonce_hash = nonce_hash(nonce)
            await self._write_now(record, proof)
        self._live.hold(record)
        if principal.call_id is not None:
            self._live.note_maker(record, principal.call_id)
        return wire.CreatedSession(
            id=record.id,
            type=cast(wire.Type, record.type),
            status="READY",
            nonce=nonce,
            client_id=record.client_id,
        )

    async def _write_now(self, record: SessionRecord, proof: Proof | None) -> None:
        """Write a session that others than this run of the service have to know."""
        try:
            if proof is None:
                await self._store.write(sessions.OPEN, sessions.values(record))
            else:
                await self._store.transact(lambda connection: sessions.add(connection, self._sealed(record, proof)))
        except BaseException:
            self._foreign.drop(record.id)
            raise

    def _write_later(self, record: SessionRecord) -> None:
        self._unwritten[record.id] = record
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._settle_soon)

    def _settle_soon(self) -> None:
        self._settling = None
        if self._writing is None and self._unwritten:
            self._writing = asyncio.create_task(self._write_waiting(), name="sessions-that-wait")

    async def _write_waiting(self) -> None:
        """Write all that wait to be bound; those that are refused wait on, to be tried again."""
        waiting, self._unwritten = self._unwritten, {}
        try:
            await self._store.write_rows([(sessions.OPEN, sessions.values(record)) for record in waiting.values()])
        except StoreFault as fault:
            _log.error("%d sessions that wait to be bound could not be kept, trying again: %s", len(waiting), fault)
            for record in waiting.values():  # with what has become of them meanwhile
                self._write_later(record)
        finally:
            self._writing = None

    async def _settled(self) -> None:
        """Have the rows of all that were made until now in the table. Raises `StoreFault` when that is refused."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        if self._unwritten:
            self._settle_soon()
            if self._writing is not None:
                await asyncio.wait((self._writing,))
        if self._unwritten:
            raise StoreFault("sessions that wait to be bound cannot be written now")

    async def stop(self) -> None:
        """Write what is not written yet."""
        try:
            await self._settled()
        except StoreFault as fault:  # their nonces are good all the same
            _log.error("%s", fault)
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _sealed(self, record: SessionRecord, proof: Proof) -> SessionRecord:
        # Within the transaction: one that changes the master key comes wholly before it or after it.
        record.vault, record.vault_key = self._vault.seal(proof)
        return record

    def bind(self, project: str, nonce: str) -> Binding:
        """Take a nonce, once.

        Raises:
            InvalidError: the nonce is unknown, used, or older than a minute.
        """
        record = self._live.bind(project, nonce)
        if self._unwritten.pop(record.id, None) is not None:
            return Binding(record, [(sessions.OPEN, sessions.values(record))])
        if not self._store.shared:
            return Binding(record, [_status_row(record)])

        def check(connection: Connection) -> None:
            if not sessions.bind(connection, record.id):
                raise InvalidError("Failed to bind session: the nonce was used before; create a new session")

        return Binding(record, (), check)

    def implicit(self, principal: Principal, *, oneshot: bool = True) -> Binding:
        """A bound session for a call without a nonce: it runs as its caller (contract 4.2).

        Args:
            oneshot: False for a schedule, whose session lives as long as it does (contract 11.6).

        Raises:
            InvalidError: the caller is a session that was itself made inside a function.
        """
        record = self._new.as_caller(principal, oneshot=oneshot)
        record.status = "ACTIVE"
        self._live.hold(record)
        return Binding(record, [(sessions.OPEN, sessions.values(record))])

    def get(self, session_id: int) -> SessionRecord | None:
        """A session that can act now, or None: it ended, was revoked, or was one-shot and is too old."""
        return self._live.acting(session_id)

    def is_alive(self, session_id: int) -> bool:
        return self.get(session_id) is not None

    def principal(self, session_id: int, expires: int) -> Principal | None:
        """Who acts in a session, with what it may do now; None when it cannot act. `expires` in ms since the epoch."""
        record = self.get(session_id)
        grant = None if record is None else self._grant(record)
        if record is None or grant is None:
            return None
        capabilities = grant.capabilities
        if record.type != "CLIENT_CREDENTIALS":
            capabilities = common(record.capabilities, grant.capabilities)
        return Principal(
            subject=record.subject,
            project=record.project,
            capabilities=capabilities,
            expires=expires,
            session_id=session_id,
            issuer=record.issuer,
            groups=grant.groups,
            claims=claims_of(record),
        )

    def _grant(self, record: SessionRecord) -> Grant | None:
        return self._groups.grant(record.project, record.issuer, record.subject, claims_of(record))

    def review(self) -> None:
        """End the sessions whose subjects may do nothing any more: clients or groups are not what they were."""
        for record in self._live:
            if self._grant(record) is None:
                _ = self.end(record.id, "ACCESS_LOST")

    def needs_refresh(self, session_id: int) -> bool:
        """Whether a call has to wait for `refusal` before it begins: the issuer has to be asked, or it cannot act."""
        record = self._live.get(session_id)
        if record is None or record.status != "ACTIVE":
            return True
        return record.vault is not None and not self._foreign.is_fresh(session_id)

    async def refusal(self, session_id: int) -> str | None:
        """Why a call must not begin in a session, if so; asks the session's issuer when it is time to."""
        record = self._live.get(session_id)
        if record is None or record.status != "ACTIVE":
            status = await self._store.read(lambda connection: sessions.status(connection, session_id))
            return _ENDED.get(status or "")
        if record.vault is None or record.vault_key is None or self._foreign.is_fresh(session_id):
            return None
        try:
            proof = self._vault.open_as(Proof, record.vault, record.vault_key)
            granted = await self._foreign.refresh(session_id, record.project, record.issuer, proof)
        except RefusedError as error:
            await self.end(session_id, "ACCESS_LOST")
            return f"{_ENDED['ACCESS_LOST']} ({record.issuer}: {error})"
        except (UnreachableIssuerError, ValueError) as error:
            if self._foreign.token(session_id) is not None:
                return None
            return f"The session cannot be refreshed now ({record.issuer}: {error})"
        if granted.assertion.subject != record.subject:
            await self.end(session_id, "ACCESS_LOST")
            return f"{_ENDED['ACCESS_LOST']} ({record.issuer} speaks of another subject)"
        await self._take(record, granted.assertion.claims, proof, granted.refresh_token)
        return None if session_id in self._live else _ENDED["ACCESS_LOST"]

    async def _take(
        self, record: SessionRecord, claims: tuple[str, ...], proof: Proof, refresh_token: str | None
    ) -> None:
        """Keep what an issuer said last."""
        if refresh_token is not None and proof.refresh_token not in (None, refresh_token):
            sealed = await self._store.transact(
                lambda connection: self._reseal(connection, record.id, Proof(refresh_token=refresh_token))
            )
            record.vault, record.vault_key = sealed
        text = claims_text(claims)
        if text != record.claims:
            await self._store.write(sessions.SET_CLAIMS, {"session": record.id, "to_claims": text})
            record.claims = text
            self._changed()

    def _reseal(self, connection: Connection, session_id: int, proof: Proof) -> tuple[bytes, bytes]:
        vault, key = self._vault.seal(proof)
        connection.execute(sessions.SET_VAULT, {"session": session_id, "to_vault": vault, "to_vault_key": key})
        return vault, key

    async def issuer_token(self, session_id: int) -> str | None:
        """The foreign issuer's token that stands behind a session; None when there is none, or none any more."""
        if self.get(session_id) is None or await self.refusal(session_id) is not None:
            return None
        record = self._live.get(session_id)
        found = self._foreign.token(session_id)
        if found is None and record is not None and record.parent_id is not None:
            return await self.issuer_token(record.parent_id)
        return found

    async def why_ended(self, session_id: int) -> str:
        """In words, why a session cannot act."""
        status = await self._store.read(lambda connection: sessions.status(connection, session_id))
        return _ENDED.get(status or "", _OVER)

    def end(self, session_id: int, status: _EndStatus) -> Awaitable[None]:
        """Stop a session from acting, at once; the write that makes it lasting (started, to be awaited)."""
        return self._store.write_rows(self.ended(session_id, status))

    def ended(self, session_id: int, status: _EndStatus) -> list[Row]:
        """Stop a session from acting, at once; the rows that make it lasting."""
        record = self._live.drop(session_id) or SessionRecord(
            id=session_id,
            project="",
            type="",
            status=status,
            subject="",
            capabilities="",
            creation_time=0,
            expiration_time=0,
        )
        record.status, record.nonce_hash = status, None
        self._foreign.drop(session_id)
        if self._unwritten.pop(session_id, None) is not None:
            return [(sessions.OPEN, sessions.values(record))]
        rows = [_status_row(record)]
        if record.vault is not None:
            record.vault = record.vault_key = None
            rows.append((sessions.FORGET_SECRETS, {"session": session_id}))
        return rows

    def ended_made_in(self, call_id: int) -> list[Row]:
        """End the sessions that a call made and that no call and no schedule has taken over; the rows, as `ended`."""
        return [row for session_id in self._live.unbound_of(call_id) for row in self.ended(session_id, "EXPIRED")]

    async def revoke(self, principal: Principal, ids: list[int]) -> list[wire.Session] | list[dict[str, int]]:
        """End sessions, at once, and those that their functions made; what has ended already stays as it is.

        Bare ids to those who may not list.
        """
        found = await self._several(principal.project, ids)
        for record in found:
            if record.status in ("READY", "ACTIVE"):
                await self.end(record.id, "REVOKED")
                record.status = "REVOKED"
            for child in [one for one in self._live if one.parent_id == record.id]:
                await self.end(child.id, "REVOKED")
        if not principal.may("sessionsAcl:LIST"):
            return [{"id": record.id} for record in found]
        return [self._shown(record) for record in found]

    async def by_ids(self, project: str, ids: list[int]) -> list[wire.Session]:
        """Raises `UnknownItemsError` when one is unknown."""
        return [self._shown(record) for record in await self._several(project, ids)]

    async def _several(self, project: str, ids: list[int]) -> list[SessionRecord]:
        await self._settled()
        found = await self._store.look_up(lambda connection: sessions.several(connection, project, ids))
        missing = [{"id": wanted} for wanted in ids if wanted not in found]
        if missing:
            raise UnknownItemsError("Session ids not found", missing=missing)
        return [found[wanted] for wanted in ids]

    async def page(
        self, project: str, status: str | None, limit: int, after: int | None
    ) -> tuple[list[wire.Session], int | None]:
        """Newest first; the id to go on from when there are more."""
        now = self._clock.now()

        def work(connection: Connection) -> list[SessionRecord]:
            return sessions.page(connection, project, status, limit + 1, after, now=now, nonces=now - NONCE_MS)

        await self._settled()
        rows = await self._store.look_up(work)
        more = rows[limit - 1].id if len(rows) > limit else None
        return [self._shown(record) for record in rows[:limit]], more

    def _shown(self, record: SessionRecord) -> wire.Session:
        """Sessions that refresh themselves end an hour from now, for ever; a nonce that is too old has expired."""
        now = self._clock.now()
        record = replace(record)
        if is_unbound(record, now) or (record.status == "ACTIVE" and is_over(record, now)):
            record.status = "EXPIRED"
        if record.status == "ACTIVE" and record.type != ONESHOT:
            record.expiration_time = now + SESSION_MS
        return wire.Session(
            id=record.id,
            type=cast(wire.Type, record.type),
            status=cast(wire.Status, record.status),
            creation_time=record.creation_time,
            expiration_time=record.expiration_time,
            client_id=record.client_id,
        )

    def take_keys(self, keys: dict[int, bytes]) -> None:
        """The keys of sessions, wrapped anew."""
        for session_id, key in keys.items():
            record = self._live.get(session_id)
            if record is not None:
                record.vault_key = key

    def count(self) -> Mapping[str, int]:
        """How many are alive, by project."""
        return self._live.count()

    def forget_stale(self) -> None:
        """Drop from memory the nonces that nobody bound in time, and one-shot sessions that are too old."""
        for session_id in self._live.drop_stale():
            self._foreign.drop(session_id)


def _status_row(record: SessionRecord) -> Row:
    return sessions.SET_STATUS, {
        "session": record.id,
        "to_status": record.status,
        "to_nonce_hash": record.nonce_hash,
    }
