"""The short way answers as Starlette's router would, or leaves the path to it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from kvern.server.edge import full_path
from kvern.server.short_way import ShortWay

PATHS = [
    ("GET", "/functions"),
    ("POST", "/functions"),
    ("GET", "/functions/status"),
    ("GET", "/functions/{function_id:int}"),
    ("POST", "/functions/{function_id:int}/call"),
    ("GET", "/functions/{function_id:int}/calls/{call_id:int}"),
    ("GET", ""),
    ("GET", "//api/v1/projects"),
    ("PUT", "//api/v1/files/upload/{proof}"),
]


def nothing(row: tuple[str, str]) -> Any:
    async def endpoint(_: Request) -> ASGIApp:
        return Response(repr(row))

    return endpoint


ENDPOINTS = {row: nothing(row) for row in PATHS}


def shortly(scope: dict[str, Any]) -> tuple[Any, Any]:
    way = ShortWay()
    for (method, path), endpoint in ENDPOINTS.items():
        way.add(method, full_path(path), endpoint)
    return way.find(scope), scope.get("path_params")


def commonly(scope: dict[str, Any]) -> tuple[Any, Any]:
    for (method, path), endpoint in ENDPOINTS.items():
        match, found = Route(full_path(path), endpoint, methods=[method]).matches(scope)
        if match is Match.FULL:
            return endpoint, found["path_params"]
    return None, None


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/projects/p/functions",
        "/api/v1/projects/p/functions/",
        "/api/v1/projects/p/functions/status",
        "/api/v1/projects/p/functions/12",
        "/api/v1/projects/p/functions/0012/call",
        "/api/v1/projects/p/functions/12/calls/34",
        "/api/v1/projects/p/functions/12/calls/99999999999999999999",
        "/api/v1/projects/p/functions/١٢",
        "/api/v1/projects/p/functions/²",
        "/api/v1/projects/p/functions/-1",
        "/api/v1/projects/p/functions/12x/call",
        "/api/v1/projects/ø p/functions/12",
        "/api/v1/projects//functions",
        "/api/v1/projects/p",
        "/api/v1/projects/",
        "/api/v1/projects",
        "/api/v1/files/upload/a.b-c",
        "/api/v1/files/upload/",
        "/api/v1/files/upload/a/b",
        "api/v1/projects",
        "/",
        "",
    ],
)
def test_it_finds_what_the_router_finds(method: str, path: str) -> None:
    def scope() -> dict[str, Any]:
        return {"type": "http", "method": method, "path": path, "root_path": ""}

    assert shortly(scope()) == commonly(scope())


def test_two_names_for_the_same_segment_are_refused() -> None:
    way = ShortWay()
    way.add("GET", "/functions/{function_id:number}", ENDPOINTS["GET", "/functions"])
    with pytest.raises(ValueError, match="expected the name 'function_id'"):
        way.add("POST", "/functions/{id:number}/call", ENDPOINTS["GET", "/functions"])
