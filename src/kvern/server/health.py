"""Is it alive, is it of use: for supervisors, load balancers and people."""

from __future__ import annotations

import kvern
from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire.identity import Health, Ready


class HealthRoutes:
    def __init__(self, service: Service) -> None:
        self._readiness = service.readiness
        self._database = service.database

    @answers(Health, also=503)
    async def health(self, ask: Ask[None]) -> Answer:
        """Whether the service is alive; 503 when it must be started anew."""
        trouble = await self._readiness.trouble()
        what = {"version": kvern.__version__, "database": self._database}
        if trouble is None:
            return Answer({"status": "ok", **what})
        return Answer({"status": "failing", **what, "reason": trouble}, 503)

    @answers(Ready, also=503)
    async def ready(self, ask: Ask[None]) -> Answer:
        """Whether requests should be sent here now; 503 with the reasons when not."""
        reasons = await self._readiness.reasons()
        headers = {"cache-control": "no-store"}
        if reasons:
            return Answer(Ready(status="not ready", reasons=reasons), 503, headers)
        return Answer(Ready(status="ready", reasons={}), 200, headers)
