"""What was built for a function, over HTTP: additions to the contract."""

from __future__ import annotations

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import builds as wire


class BuildRoutes:
    def __init__(self, service: Service) -> None:
        self._functions = service.functions
        self._deployments = service.deployments

    @answers(wire.Lock)
    async def lock(self, ask: Ask[None]) -> Answer:
        """The locked packages, once the function is Ready."""
        function = self._functions.get(ask.project, ask.number("function_id"))
        return Answer(self._deployments.lock(function))

    @answers(wire.BuildLog, 200, "after", "Prefer")
    async def log(self, ask: Ask[None]) -> Answer:
        """With `Prefer: wait`, held back until there is something new or the build has ended."""
        wait = ask.wait()
        function = self._functions.get(ask.project, ask.number("function_id"))
        log = await self._deployments.log(function, ask.whole("after", 0, 0), wait)
        return Answer(log, headers={"preference-applied": f"wait={wait:.0f}"} if wait else {})
