"""Data sets over HTTP (contract 8)."""

from __future__ import annotations

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import datasets as wire
from kvern.wire.base import Items, Page, list_body
from kvern.wire.files import SecurityCategory


class DataSetRoutes:
    def __init__(self, service: Service) -> None:
        self._data_sets = service.data_sets

    @answers(Items[wire.DataSet])
    async def create(self, ask: Ask[wire.DataSetWrites]) -> Answer:
        """Answers 200, as the contract does for data sets."""
        return Answer(list_body([*await self._data_sets.create(ask.who, ask.body.items)]))

    @answers(Items[wire.DataSet])
    async def by_ids(self, ask: Ask[wire.DataSetIds]) -> Answer:
        ignore_unknown = bool(ask.body.ignore_unknown_ids)
        return Answer(
            list_body([*await self._data_sets.by_ids(ask.who, ask.body.items, ignore_unknown=ignore_unknown)])
        )

    @answers(Items[wire.DataSet])
    async def update(self, ask: Ask[wire.DataSetUpdates]) -> Answer:
        return Answer(list_body([*await self._data_sets.update(ask.who, ask.body.items)]))

    @answers(Page[wire.DataSet])
    async def filter(self, ask: Ask[wire.DataSetQuery]) -> Answer:
        rows, cursor = await self._data_sets.page(ask.who, ask.body)
        return Answer(list_body([*rows], cursor))

    @answers(Page[SecurityCategory])
    async def security_categories(self, ask: Ask[None]) -> Answer:
        """There are none: who may read which files is told by data sets (contract 8)."""
        none: list[SecurityCategory] = []
        return Answer(list_body(none))
