"""Clients of the built-in issuer: who may get its tokens, with which secret, and what they may do."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import msgspec

from kvern.service.capabilities import Capabilities, parsed
from kvern.service.clock import Clock
from kvern.service.guesses import Guesses
from kvern.service.identity import Principal
from kvern.service.projects import Projects
from kvern.store import Store, clients
from kvern.store.clients import ClientRecord
from kvern.wire import clients as wire
from kvern.wire.capabilities import Acl, every_capability
from kvern.wire.errors import ForbiddenError, InvalidError, UnauthenticatedError, UnknownItemsError

GRANT_ANYTHING = "groupsAcl:CREATE"
"""Who may make groups may give any capability to anyone, as in the cloud; so may they to clients."""

ELSEWHERE = "projectsAcl:CREATE"
"""Held in the server's own project, it opens the clients of every project: those of a new one begin somewhere."""

_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's id and its secret in plain; the secret is never kept by the service."""

    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.client_id!r}, '***')"


class Clients:
    """The clients of a server, in memory, written through.

    Args:
        changed: told when what a client may do is not what it was.

    Whoever looks at a secret on somebody's behalf asks `guesses` first, and tells it how that went.
    """

    def __init__(self, store: Store, clock: Clock, projects: Projects, changed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._projects = projects
        self._changed = changed
        self.guesses = Guesses(clock)
        self._records: dict[str, ClientRecord] = {}
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        for record in await self._store.read(clients.everything):
            self._records[record.client_id] = record
        for record in list(self._records.values()):
            if record.group_id is None:
                await self._save(replace(record, group_id=self._store.next_id()))

    async def reload(self, ids: set[str] | None) -> None:
        """Take up what another server changed of some, or of all."""
        now = {record.client_id: record for record in await self._store.read(clients.everything)}
        for client_id in now.keys() | self._records.keys() if ids is None else ids:
            if client_id in now:
                self._records[client_id] = now[client_id]
            else:
                self._records.pop(client_id, None)
        self._changed()

    def get(self, client_id: str) -> ClientRecord | None:
        return self._records.get(client_id)

    def may(self, client_id: str, capability: str) -> bool:
        """Whether a client is there, and may do something anywhere."""
        record = self._records.get(client_id)
        return record is not None and capability in parsed(record.capabilities).actions

    def of_project(self, project: str) -> list[ClientRecord]:
        """Oldest first."""
        return [record for record in self._records.values() if record.project == project]

    def authenticate(self, credentials: Credentials) -> ClientRecord:
        """The client behind an id and a secret. Raises `UnauthenticatedError`, the same for both being wrong."""
        record = self._records.get(credentials.client_id)
        given = _hash(credentials.client_secret)
        good = hmac.compare_digest(given, record.secret_hash if record else _NOBODY)
        old = record.old_secret_hash if record and self._clock.now() < (record.old_secret_until or 0) else None
        good_before = hmac.compare_digest(given, old or _NOBODY)
        if record is None or record.project not in self._projects or not (good or good_before):
            raise UnauthenticatedError("The client id or the client secret is not good")
        return record

    def secret_until(self, record: ClientRecord, given: Credentials) -> int | None:
        """When the secret that was given ends, in ms since the epoch; None for the one that stays."""
        return None if _hash(given.client_secret) == record.secret_hash else record.old_secret_until

    async def add(self, project: str, name: str, capabilities: list[Acl] | None = None) -> Credentials:
        """Make a client; without `capabilities` it may do everything in `project`. Its secret is told this once."""
        made = Credentials(f"kvern-{secrets.token_hex(8)}", secrets.token_urlsafe(32))
        record = ClientRecord(
            client_id=made.client_id,
            project=project,
            name=name,
            secret_hash=_hash(made.client_secret),
            capabilities=msgspec.json.encode(every_capability() if capabilities is None else capabilities).decode(),
            created_time=self._clock.now(),
            group_id=self._store.next_id(),
        )
        await self._store.transact(lambda connection: clients.add(connection, record))
        self._records[record.client_id] = record
        return made

    async def add_for(self, who: Principal, wanted: wire.ClientWrite) -> wire.Client:
        """Make a client on somebody's behalf.

        Raises:
            ForbiddenError: it would be able to do more than `who` may give.
            InvalidError: there is no such project.
        """
        project = self._reachable(who, wanted.project)
        check_grant(who, wanted.capabilities)
        made = await self.add(project, wanted.name, wanted.capabilities)
        return self._shown(self._records[made.client_id], made.client_secret)

    def listed(self, who: Principal, project: str | None) -> list[wire.Client]:
        """The clients of a project, oldest first. Raises `ForbiddenError`, `InvalidError`."""
        return [self._shown(record) for record in self.of_project(self._reachable(who, project))]

    async def rotate(self, who: Principal, wanted: wire.ClientRotation) -> wire.Client:
        """A new secret for a client; the old one is good for the overlap.

        Raises:
            UnknownItemsError: there is no such client.
            ForbiddenError: it may do more than `who` may give: whoever knows the secret may do as much.
            InvalidError: there is no such project.
        """
        project = self._reachable(who, wanted.project)
        async with self._busy:
            (old,) = self._several(project, [wanted.client_id])
            check_grant(who, msgspec.json.decode(old.capabilities, type=list[Acl]))
            secret = secrets.token_urlsafe(32)
            now = self._clock.now()
            new = replace(
                old,
                secret_hash=_hash(secret),
                old_secret_hash=old.secret_hash if wanted.overlap_seconds else None,
                old_secret_until=now + wanted.overlap_seconds * 1000 if wanted.overlap_seconds else None,
                rotated_time=now,
            )
            await self._save(new)
        self._changed()  # tokens that were got with the old secret are good for the overlap only
        return self._shown(new, secret)

    async def remove(self, who: Principal, wanted: wire.ClientIds) -> None:
        """Remove clients: their tokens and sessions end at once. All or none.

        Raises:
            UnknownItemsError: one of them does not exist.
            ForbiddenError: one may do more than `who` may give; or it is not of this project.
            InvalidError: no such project.
        """
        project = self._reachable(who, wanted.project)
        records = self._several(project, wanted.items)
        for record in records:
            check_grant(who, msgspec.json.decode(record.capabilities, type=list[Acl]))
        ids = [record.client_id for record in records]
        await self._store.transact(lambda connection: clients.remove(connection, ids))
        for client_id in ids:
            self._records.pop(client_id, None)
        self._changed()

    async def _save(self, record: ClientRecord) -> None:
        await self._store.transact(lambda connection: clients.save(connection, record))
        self._records[record.client_id] = record

    def _several(self, project: str, ids: Iterable[str]) -> list[ClientRecord]:
        found = {client_id: self._records.get(client_id) for client_id in ids}
        missing = [{"clientId": name} for name, one in found.items() if one is None or one.project != project]
        if missing:
            raise UnknownItemsError("Client ids not found", missing=missing)
        return [record for record in found.values() if record is not None]

    def _reachable(self, who: Principal, project: str | None) -> str:
        if project is None or project == who.project:
            return who.project
        if who.project != self._projects.own or not who.may(ELSEWHERE):
            raise ForbiddenError(
                f"Clients of other projects are looked after from the project {self._projects.own}, with {ELSEWHERE}"
                if who.project == self._projects.own
                else "Expected the project of the token"
            )
        if project not in self._projects:
            raise InvalidError(
                f"Expected a project of this server ({', '.join(self._projects)}), given {project!r}; "
                "further ones are named in kvern.toml"
            )
        return project

    def _shown(self, record: ClientRecord, secret: str | None = None) -> wire.Client:
        until = record.old_secret_until
        return wire.Client(
            client_id=record.client_id,
            name=record.name,
            project=record.project,
            group_id=record.group_id or 0,
            capabilities=msgspec.json.decode(record.capabilities),
            created_time=record.created_time,
            client_secret=secret,
            rotated_time=record.rotated_time,
            old_secret_until=until if until is not None and until > self._clock.now() else None,
        )


def check_grant(who: Principal, capabilities: list[Acl]) -> None:
    """Raises `ForbiddenError` unless `who` may give these: what they hold, or anything with `GRANT_ANYTHING`."""
    granted = who.granted
    if GRANT_ANYTHING in granted.actions and not granted.only_own(GRANT_ANYTHING):
        return
    if not granted.covers(Capabilities(capabilities)):
        raise ForbiddenError(f"Capabilities that one does not hold can be given only with {GRANT_ANYTHING}")


def good_until(record: ClientRecord, issued: int | None, now: int) -> int | None:
    """Until when (ms since the epoch) a client's token is good for its secret's sake; None when it is not any more.

    One that was issued before the secret was changed ends with the old secret, as one does that is got with it.
    """
    if issued is None or record.rotated_time is None or issued >= record.rotated_time:
        return _FOR_EVER
    until = record.old_secret_until
    return until if until is not None and until > now else None


_FOR_EVER = 2**53


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
