"""A server inside the process: answers the client's requests from a table, and remembers them."""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx2

PROJECT = "/api/v1/projects/plant"
Answer = httpx2.Response | dict[str, Any] | Exception


class Seen:
    """A request as the server sees it."""

    def __init__(self, request: httpx2.Request, body: bytes) -> None:
        self.method = request.method
        self.path = request.url.path.removeprefix(PROJECT)
        self.query = dict(request.url.params)
        self.headers = request.headers
        self.raw = body
        self.compressed = request.headers.get("content-encoding") == "gzip"
        self.body = gzip.decompress(body) if self.compressed else body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class Stub:
    """Answers by method and path; a list is answered one after the other, its last element for ever."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {}
        self.seen: list[Seen] = []
        self.on("POST /sessions", {"items": [{"id": 1, "status": "READY", "nonce": "once"}]})

    def on(self, route: str, *answers: Answer | Callable[[Seen], Any]) -> None:
        self.routes[route] = list(answers)

    def paths(self) -> list[str]:
        return [repr(one) for one in self.seen]

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        seen = Seen(request, await request.aread())
        self.seen.append(seen)
        answers = self.routes.get(repr(seen))
        if answers is None:
            return error(404, f"There is no route {seen!r}")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer) and not isinstance(answer, httpx2.Response):
            answer = answer(seen)
            if inspect.isawaitable(answer):
                answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(200, json=answer) if isinstance(answer, dict) else answer


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"code": status, "message": message, **more}}, headers=headers)


def held(body: dict[str, Any], status: int = 200) -> httpx2.Response:
    """What a Kvern server answers when it held its answer back."""
    return httpx2.Response(status, json=body, headers={"Preference-Applied": "wait=25"})
