"""Functions over HTTP (contract 3)."""

from __future__ import annotations

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import functions as wire
from kvern.wire.base import Empty, Items, list_body


class FunctionRoutes:
    def __init__(self, service: Service) -> None:
        self._functions = service.functions

    @answers(Items[wire.Function], 201)
    async def create(self, ask: Ask[wire.FunctionWrites]) -> Answer:
        made = await self._functions.create(ask.who, ask.body.items[0])
        return Answer(list_body([made]), 201)

    @answers(Items[wire.Function], 200, "limit")
    async def list(self, ask: Ask[None]) -> Answer:
        return Answer(list_body(self._functions.select(ask.project, wire.FunctionFilter(), ask.limit(100))))

    @answers(Items[wire.Function])
    async def filter(self, ask: Ask[wire.FunctionQuery]) -> Answer:
        wanted = ask.body.filter or wire.FunctionFilter()
        return Answer(list_body(self._functions.select(ask.project, wanted, ask.body.limit)))

    @answers(wire.Function)
    async def retrieve(self, ask: Ask[None]) -> Answer:
        function = self._functions.get(ask.project, ask.number("function_id"))
        return Answer(self._functions.shown(function))

    @answers(Items[wire.Function])
    async def by_ids(self, ask: Ask[wire.FunctionIds]) -> Answer:
        found = self._functions.several(ask.project, ask.body.items, ignore_unknown=bool(ask.body.ignore_unknown_ids))
        return Answer(list_body([self._functions.shown(function) for function in found]))

    @answers(Empty)
    async def delete(self, ask: Ask[wire.FunctionIds]) -> Answer:
        await self._functions.delete(ask.project, ask.body.items, ignore_unknown=bool(ask.body.ignore_unknown_ids))
        return Answer(Empty())

    @answers(wire.Limits)
    async def limits(self, ask: Ask[None]) -> Answer:
        return Answer(self._functions.limits())

    @answers(wire.Activation)
    async def status(self, ask: Ask[None]) -> Answer:
        return Answer(wire.Activation(status="activated"))

    @answers(wire.Activation, 202)
    async def activate(self, ask: Ask[None]) -> Answer:
        return Answer(wire.Activation(status="activated"), 202)
