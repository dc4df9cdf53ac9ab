"""`/metrics`: to clients what is theirs to see, on an address of its own everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import Response

from kvern.server.ask import Ask, answers
from kvern.service.metrics import CONTENT_TYPE, Metrics
from kvern.service.service import Service
from kvern.wire.errors import ForbiddenError

CAPABILITY = "projectsAcl:READ"
"""In a project, to see the figures of that project and those of the whole service."""


class MetricsRoutes:
    def __init__(self, service: Service) -> None:
        self._metrics = service.metrics

    @answers(None, media="text/plain")
    async def metrics(self, ask: Ask[None]) -> Response:
        """Figures for Prometheus: of the service, and of the projects in which the token has `projectsAcl:READ`."""
        principals = ask.everywhere.principals
        projects = [name for name, principal in principals.items() if principal.may(CAPABILITY)]
        if not projects:
            raise ForbiddenError(f"Missing capability {CAPABILITY}: insufficient access rights")
        return await _page(self._metrics, projects)


def everything(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of the address that is for metrics alone: no token, all projects."""

    async def endpoint(_: Request) -> Response:
        return await _page(metrics, None)

    return endpoint


async def _page(metrics: Metrics, projects: Collection[str] | None) -> Response:
    metrics.read()
    text = await asyncio.to_thread(metrics.text, projects)  # calls go first
    return Response(text, media_type=CONTENT_TYPE)
