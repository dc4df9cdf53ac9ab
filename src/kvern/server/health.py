"""Is it alive, is it of use: for supervisors, load balancers and people."""

from __future__ import annotations

import asyncio

import kvern
from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire.errors import ApiError
from kvern.wire.identity import Health, Ready

_KNOWN_WITHIN = 1.0
"""Seconds in which a token must be found good; whether the service is alive does not wait for an issuer's keys."""


class HealthRoutes:
    def __init__(self, service: Service) -> None:
        self._readiness = service.readiness
        self._database = service.database
        self._authorities = service.authorities

    @answers(Health, also=503)
    async def health(self, ask: Ask[None]) -> Answer:
        """Whether the service is alive; 503 when it must be started anew. Versions are told to a good token only."""
        trouble = await self._readiness.trouble()
        known = await self._is_known(ask.request.headers.get("authorization", ""))
        what = {"version": kvern.__version__, "database": self._database} if known else {}
        if trouble is None:
            return Answer({"status": "ok", **what})
        return Answer({"status": "failing", **what, "reason": trouble}, 503)

    async def _is_known(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return False
        try:
            if self._authorities.known(token.strip()) is None:
                await asyncio.wait_for(self._authorities.verify(token.strip()), _KNOWN_WITHIN)
        except (ApiError, asyncio.TimeoutError):
            return False
        return True

    @answers(Ready, also=503)
    async def ready(self, ask: Ask[None]) -> Answer:
        """Whether requests should be sent here now; 503 with the reasons when not."""
        reasons = await self._readiness.reasons()
        headers = {"cache-control": "no-store"}
        if reasons:
            return Answer(Ready(status="not ready", reasons=reasons), 503, headers)
        return Answer(Ready(status="ready", reasons={}), 200, headers)
