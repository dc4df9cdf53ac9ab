"""Groups: what belonging to one allows (contract 8).

Three kinds, all of them listed: those made through the API, those that `kvern.toml` says, and one for each client of
the built-in issuer, which is alone in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from kvern.service.clients import Clients, check_grant
from kvern.service.clock import Clock
from kvern.service.identity import BUILTIN, Principal
from kvern.service.projects import Projects
from kvern.store import Store, groups
from kvern.store.groups import GroupRecord
from kvern.wire import groups as wire
from kvern.wire.errors import ForbiddenError, InvalidError, UnknownItemsError

MOST = 1000
"""Groups of a project, so that belonging is worked out quickly."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a subject may do in a project: the ACL list as JSON text, and the groups from which it comes."""

    capabilities: str
    groups: tuple[int, ...]


class Groups:
    """The groups of a server, in memory, written through.

    Args:
        changed: told when what a group allows is not what it was.
    """

    def __init__(
        self, store: Store, clock: Clock, projects: Projects, clients: Clients, changed: Callable[[], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._projects = projects
        self._clients = clients
        self._changed = changed
        self._records: dict[int, GroupRecord] = {}
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        """Load all groups, and make those of the file what the file says now."""
        stored = await self._store.read(groups.everything)
        kept = {(record.project, record.name): record for record in stored if record.from_file}
        wanted: list[GroupRecord] = []
        for project, its in self._projects.items():
            for name, group in its.groups.items():
                old = kept.pop((project, name), None)
                record = GroupRecord(
                    id=old.id if old else self._store.next_id(),
                    project=project,
                    name=name,
                    capabilities=_text(group.acls()),
                    created_time=old.created_time if old else self._clock.now(),
                    source_id=group.source_id,
                    from_file=True,
                )
                wanted.append(record)
        gone = [record.id for record in kept.values()]
        known = {record.id: record for record in stored}
        new = [record for record in wanted if record.id not in known]
        other = [record for record in wanted if record.id in known and known[record.id] != record]
        if gone or new or other:

            def work(connection: Connection) -> None:
                groups.remove(connection, gone)
                groups.add(connection, new)
                for record in other:
                    groups.save(connection, record)

            await self._store.transact(work)
        everything = {**known, **{record.id: record for record in wanted}}
        self._records = {number: record for number, record in everything.items() if number not in gone}

    async def reload(self, ids: set[str] | None) -> None:
        """Take up what another server changed of some, or of all."""
        now = {record.id: record for record in await self._store.read(groups.everything)}
        for number in now.keys() | self._records.keys() if ids is None else {int(one) for one in ids}:
            if number in now:
                self._records[number] = now[number]
            else:
                self._records.pop(number, None)
        self._changed()

    def grant(self, project: str, issuer: str, subject: str, claims: tuple[str, ...]) -> Grant | None:
        """What a subject may do, by all that is known now; None when it may do nothing, or is not known any more.

        Args:
            issuer: who vouches for the subject; a client has its capabilities from the built-in one.
            claims: values of the issuer's group claim.
        """
        if project not in self._projects:
            return None
        if issuer == BUILTIN:
            client = self._clients.get(subject)
            if client is None or client.project != project:
                return None
            return Grant(client.capabilities, () if client.group_id is None else (client.group_id,))
        settings = self._projects[project].issuer(issuer)
        if settings is None:
            return None
        source_ids = self._projects[project].source_ids(settings, claims)
        theirs = [
            record
            for record in self._records.values()
            if record.project == project and record.source_id is not None and record.source_id in source_ids
        ]
        if not theirs:
            return None
        if len(theirs) == 1:
            return Grant(theirs[0].capabilities, (theirs[0].id,))
        acls = [acl for record in theirs for acl in msgspec.json.decode(record.capabilities)]
        return Grant(_text(acls), tuple(record.id for record in theirs))

    def listed(self, who: Principal, *, everyone: bool) -> list[wire.Group]:
        """All groups of the project, or those of the caller; by id."""
        theirs = [_shown(record) for record in self._records.values() if record.project == who.project]
        theirs += [
            wire.Group(
                id=client.group_id,
                name=client.name,
                capabilities=msgspec.json.decode(client.capabilities),
                is_deleted=False,
            )
            for client in self._clients.of_project(who.project)
            if client.group_id is not None
        ]
        return sorted((one for one in theirs if everyone or one.id in who.groups), key=lambda one: one.id)

    async def create(self, who: Principal, wanted: list[wire.GroupWrite]) -> list[wire.Group]:
        """Make groups; whoever belongs to them may do at once what they allow.

        Raises:
            ForbiddenError: one allows what `who` may not give.
            InvalidError: there are too many groups.
        """
        for one in wanted:
            check_grant(who, one.capabilities)
        async with self._busy:
            count = sum(1 for record in self._records.values() if record.project == who.project)
            if count + len(wanted) > MOST:
                raise InvalidError(f"Expected at most {MOST} groups in a project, and it has {count}; delete one first")
            records = [
                GroupRecord(
                    id=self._store.next_id(),
                    project=who.project,
                    name=one.name,
                    capabilities=_text(one.capabilities),
                    created_time=self._clock.now(),
                    source_id=one.source_id or None,
                    metadata=None if one.metadata is None else msgspec.json.encode(one.metadata).decode(),
                )
                for one in wanted
            ]
            await self._store.transact(lambda connection: groups.add(connection, records))
            self._records.update({record.id: record for record in records})
        self._changed()
        return [_shown(record) for record in records]

    async def delete(self, who: Principal, ids: list[int]) -> None:
        """Delete groups; what they allowed ends at once. All or none.

        Raises:
            UnknownItemsError: one of them does not exist.
            ForbiddenError: one of them is not the caller's, whose right is limited to their own.
            InvalidError: one of them is not the API's to delete.
        """
        if who.granted.only_own("groupsAcl:DELETE") and not set(ids) <= set(who.groups):
            raise ForbiddenError("Missing capability groupsAcl:DELETE for groups of others")
        chosen = {number: self._records.get(number) for number in ids}
        of_clients = {client.group_id: client for client in self._clients.of_project(who.project)}
        for number in ids:
            if number in of_clients:
                raise InvalidError(
                    f"Group {number} belongs to the client {of_clients[number].client_id}; it goes when the client does"
                )
        missing = [{"id": number} for number, one in chosen.items() if one is None or one.project != who.project]
        if missing:
            raise UnknownItemsError("Group ids not found", missing=missing)
        kept = [one.name for one in chosen.values() if one is not None and one.from_file]
        if kept:
            raise InvalidError(f"The groups {', '.join(kept)} are kept in kvern.toml; take them out there")
        await self._store.transact(lambda connection: groups.remove(connection, list(chosen)))
        for number in chosen:
            self._records.pop(number, None)
        self._changed()


def _shown(record: GroupRecord) -> wire.Group:
    return wire.Group(
        id=record.id,
        name=record.name,
        capabilities=msgspec.json.decode(record.capabilities),
        is_deleted=False,
        source_id=record.source_id,
        metadata=None if record.metadata is None else msgspec.json.decode(record.metadata),
    )


def _text(acls: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(acls).decode()
