"""Schedules over HTTP (contract 5)."""

from __future__ import annotations

from kvern.server.ask import Answer, Ask, answers
from kvern.service.schedules import shown
from kvern.service.service import Service
from kvern.wire import base
from kvern.wire import schedules as wire


class ScheduleRoutes:
    def __init__(self, service: Service) -> None:
        self._schedules = service.schedules
        self._ledger = service.ledger

    @answers(base.Items[wire.Schedule], 201)
    async def create(self, ask: Ask[wire.ScheduleWrites]) -> Answer:
        made = await self._schedules.create(ask.who, ask.body.items[0])
        return Answer(base.list_body([made]), 201)

    @answers(base.Items[wire.Schedule], 200, "limit")
    async def list(self, ask: Ask[None]) -> Answer:
        return Answer(base.list_body(self._schedules.select(ask.project, wire.ScheduleFilter(), ask.limit(100))))

    @answers(base.Items[wire.Schedule])
    async def filter(self, ask: Ask[wire.ScheduleQuery]) -> Answer:
        wanted = ask.body.filter or wire.ScheduleFilter()
        return Answer(base.list_body(self._schedules.select(ask.project, wanted, ask.body.limit)))

    @answers(wire.Schedule)
    async def retrieve(self, ask: Ask[None]) -> Answer:
        return Answer(shown(self._schedules.get(ask.project, ask.number("schedule_id"))))

    @answers(base.Items[wire.Schedule])
    async def by_ids(self, ask: Ask[base.Ids]) -> Answer:
        ids = [item.id for item in ask.body.items]
        found = self._schedules.several(ask.project, ids, ignore_unknown=bool(ask.body.ignore_unknown_ids))
        return Answer(base.list_body(found))

    @answers(base.Empty)
    async def delete(self, ask: Ask[wire.ScheduleIds]) -> Answer:
        await self._schedules.delete(ask.project, [item.id for item in ask.body.items])
        return Answer(base.Empty())

    @answers(wire.InputData)
    async def input_data(self, ask: Ask[None]) -> Answer:
        return Answer(self._schedules.input_data(ask.project, ask.number("schedule_id")))

    @answers(base.Items[wire.Schedule])
    async def pause(self, ask: Ask[wire.ScheduleIds]) -> Answer:
        """Due times pass without a call until it is resumed."""
        return Answer(base.list_body(await self._schedules.pause(ask.project, [item.id for item in ask.body.items])))

    @answers(base.Items[wire.Schedule])
    async def resume(self, ask: Ask[wire.ScheduleIds]) -> Answer:
        return Answer(base.list_body(await self._schedules.resume(ask.project, [item.id for item in ask.body.items])))

    @answers(base.Page[wire.Tick], 200, "limit", "cursor", "outcome")
    async def ticks(self, ask: Ask[None]) -> Answer:
        """Newest first: every due time that has passed, and how it ended."""
        asked = ask.request.query_params
        found, cursor = await self._ledger.page(
            ask.project, ask.number("schedule_id"), asked.get("outcome"), ask.limit(100), asked.get("cursor")
        )
        return Answer(base.list_body(found, cursor))
