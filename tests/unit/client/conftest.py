from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from kvern.client import AsyncCogniteClient, ClientConfig, CogniteClient, global_config, retries, transport
from kvern.client.credentials import Token
from tests.unit.client.stub import Stub


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server that every client made in the test talks to."""
    server = Stub()

    def new_http_client(connections: int) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(server))

    monkeypatch.setattr(transport, "new_http_client", new_http_client)
    transport.pools.forget()
    yield server
    transport.pools.forget()


@pytest.fixture
def config() -> ClientConfig:
    return ClientConfig("a test", "plant", Token("secret"), base_url="http://server")


@pytest.fixture
def client(stub: Stub, config: ClientConfig) -> CogniteClient:
    return CogniteClient(config)


@pytest.fixture
def async_client(stub: Stub, config: ClientConfig) -> AsyncCogniteClient:
    return AsyncCogniteClient(config)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses do not pass, and are written down; the random ones take their upper bound."""
    taken: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        taken.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(retries.random, "uniform", lambda shortest, longest: longest)
    return taken


@pytest.fixture(autouse=True)
def usual_settings() -> Iterator[None]:
    """Leaves the settings of the process as they were."""
    before = {name: value for name, value in vars(global_config).items() if not name.startswith("_")}
    yield
    for name, value in before.items():
        setattr(global_config, name, value)
