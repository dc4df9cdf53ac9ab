"""Sessions over HTTP (contract 6)."""

from __future__ import annotations

from typing import get_args

from kvern.server.ask import Answer, Ask, answers
from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.service import Service
from kvern.wire import sessions as wire
from kvern.wire.base import Items, Page, list_body
from kvern.wire.errors import InvalidError

_STATUSES = get_args(wire.Status)
_LIST_MOST = 1000


class SessionRoutes:
    def __init__(self, service: Service) -> None:
        self._sessions = service.sessions

    @answers(Items[wire.CreatedSession])
    async def create(self, ask: Ask[wire.SessionWrites]) -> Answer:
        return Answer(list_body([await self._sessions.create(ask.who, ask.body.items[0])]))

    @answers(Page[wire.Session], 200, "status", "limit", "cursor")
    async def list(self, ask: Ask[None]) -> Answer:
        query = ask.request.query_params
        status = query.get("status")
        if status is not None and status.upper() not in _STATUSES:
            raise InvalidError(f"Expected one of {', '.join(_STATUSES)} as `status`, given {status[:40]!r}")
        cursor = query.get("cursor")
        after = read_cursor(cursor, 1)[0] if cursor is not None else None
        limit = min(ask.limit(25), _LIST_MOST)
        rows, more = await self._sessions.page(ask.project, status and status.upper(), limit, after)
        return Answer(list_body(rows, None if more is None else write_cursor(more)))

    @answers(Items[wire.Session])
    async def by_ids(self, ask: Ask[wire.SessionIds]) -> Answer:
        return Answer(list_body(await self._sessions.by_ids(ask.project, [item.id for item in ask.body.items])))

    @answers(Items[wire.RevokedSession])
    async def revoke(self, ask: Ask[wire.SessionIds]) -> Answer:
        return Answer(list_body([*await self._sessions.revoke(ask.who, [item.id for item in ask.body.items])]))
