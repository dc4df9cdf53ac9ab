"""Clients of the built-in issuer, and the master key, over HTTP: how a running server is looked after."""

from __future__ import annotations

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import clients as wire
from kvern.wire.base import Empty, Items, list_body
from kvern.wire.errors import ForbiddenError


class ClientRoutes:
    def __init__(self, service: Service) -> None:
        self._clients = service.clients
        self._master_key = service.master_key
        self._own = service.projects.own

    @answers(Items[wire.Client], 200, "project")
    async def list(self, ask: Ask[None]) -> Answer:
        project = ask.request.query_params.get("project")
        return Answer(list_body([*self._clients.listed(ask.who, project)]))

    @answers(wire.Client, 201)
    async def add(self, ask: Ask[wire.ClientWrite]) -> Answer:
        """The only answer that holds the client's secret."""
        return Answer(await self._clients.add_for(ask.who, ask.body), 201, _SECRET)

    @answers(wire.Client)
    async def rotate(self, ask: Ask[wire.ClientRotation]) -> Answer:
        """The only answer that holds the new secret."""
        return Answer(await self._clients.rotate(ask.who, ask.body), 200, _SECRET)

    @answers(Empty)
    async def remove(self, ask: Ask[wire.ClientIds]) -> Answer:
        await self._clients.remove(ask.who, ask.body)
        return Answer(Empty())

    @answers(wire.MasterKeyRotation)
    async def rotate_master_key(self, ask: Ask[None]) -> Answer:
        """Asked from the server's own project only: there is one master key for all."""
        if ask.project != self._own:
            raise ForbiddenError(f"The master key is looked after from the project {self._own}")
        return Answer(await self._master_key.rotate())


_SECRET = {"cache-control": "no-store"}
