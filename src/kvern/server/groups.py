"""Groups over HTTP (contract 8)."""

from __future__ import annotations

from typing import Any

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import groups as wire
from kvern.wire.base import Empty, Items, list_body
from kvern.wire.errors import ForbiddenError
from kvern.wire.old_sdks import readable


class GroupRoutes:
    def __init__(self, service: Service) -> None:
        self._groups = service.groups

    @answers(Items[wire.Group], 200, "all")
    async def list(self, ask: Ask[None]) -> Answer:
        """All groups, or with `all=false`, as is the default, those of the caller."""
        everyone = ask.flag("all")
        if everyone and ask.who.granted.only_own("groupsAcl:LIST"):
            raise ForbiddenError("Missing capability groupsAcl:LIST for groups of others; ask with all=false")
        return Answer(list_body(_shown(ask, self._groups.listed(ask.who, everyone=everyone))))

    @answers(Items[wire.Group], 201)
    async def create(self, ask: Ask[wire.GroupWrites]) -> Answer:
        return Answer(list_body(_shown(ask, await self._groups.create(ask.who, ask.body.items))), 201)

    @answers(Empty)
    async def delete(self, ask: Ask[wire.GroupIds]) -> Answer:
        await self._groups.delete(ask.who, ask.body.items)
        return Answer(Empty())


def _shown(ask: Ask[Any], groups: list[wire.Group]) -> list[wire.Group]:
    if ask.is_strict:
        for group in groups:
            group.capabilities = readable(group.capabilities)
    return groups
