"""The ASGI application over a service in memory, asked without a socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.unit.fakes import PROJECT, Plant, acls, plant

from kvern.server.app import build_app
from kvern.service.functions import LiveFunction

HOST = "http://kvern.test:8000"


class Web:
    """A client with a token that may do everything; paths are relative to the project, from the root after `//`."""

    def __init__(self, p: Plant) -> None:
        self.p = p
        self.token = p.token
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(p.service)), base_url=HOST)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        whole = path[1:] if path.startswith("//") else f"/api/v1/projects/{PROJECT}{path}"
        headers = {"authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        if body is not None:
            more["json"] = body
        return await self.http.request(method, whole, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return await self.ask("POST", path, body, **more)

    async def call(self, function: LiveFunction, body: Any = None, **more: Any) -> httpx2.Response:
        """A call; one that would end within the grace is waited for, however long that takes a busy machine."""
        engine = self.p.engine
        if self.p.settings.call_grace_ms >= 100 and engine.room and not engine.holding:
            more["headers"] = {"prefer": "wait=10", **more.get("headers", {})}
        return await self.post(f"/functions/{function.record.id}/call", {} if body is None else body, **more)

    async def as_client(self, *capabilities: str) -> str:
        """A token with these capabilities only."""
        made = await self.p.service.clients.add(PROJECT, "limited", acls(capabilities))
        return self.p.service.issuer.client_token(self.p.service.clients.authenticate(made))


def error_of(answer: httpx2.Response, code: int) -> dict[str, Any]:
    """The error of an answer that has the contract's envelope (contract 1.6)."""
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert list(body) == ["error"]
    assert body["error"]["code"] == code
    assert isinstance(body["error"]["message"], str)
    return dict(body["error"])


@contextlib.asynccontextmanager
async def web_of(folder: Path, **settings: Any) -> AsyncIterator[Web]:
    folder.mkdir(exist_ok=True)
    async with plant(folder / "data", **settings) as p:
        web = Web(p)
        async with web.http:
            yield web


@pytest.fixture(autouse=True)
def no_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about power loss, and the disk would set the pace."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with web_of(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    """One for all tests of a module that change nothing; they are marked `quietly`."""
    async with web_of(tmp_path_factory.mktemp("quiet")) as made:
        yield made


quietly = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def webs(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Web]]:
    """Makes one with other settings."""

    def make(**settings: Any) -> AbstractAsyncContextManager[Web]:
        return web_of(tmp_path / "other", **settings)

    return make
