"""Real servers in subprocesses, and real clients in environments of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.compatibility import NOTEBOOK, SDK7, SDK8, TOOLKIT, VERSIONS
from tests.acceptance.driver import Driver
from tests.acceptance.recording import Exchange, RecordingProxy
from tests.acceptance.server import Server

pytest.register_assert_rewrite("tests.acceptance.scenarios")

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {SDK8: "sdk", SDK7: "sdk7", TOOLKIT: "toolkit"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back on all other tests comes last."""
    items.sort(key=lambda item: "test_compatibility.py" in item.nodeid)
    NOTEBOOK.order = {item.nodeid: number for number, item in enumerate(items)}


def pytest_runtest_logstart(nodeid: str) -> None:
    NOTEBOOK.test = nodeid


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        NOTEBOOK.failed.add(item.nodeid)
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it."""
    with Server(tmp_path_factory.mktemp("kvern"), extra_env={"SERVER_ONLY": "1"}) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    """Bare HTTP to the shared server."""
    with Api(server.environment()) as bare:
        yield bare


def client_python(client: str) -> Path:
    """The interpreter of an environment with an official client, made once and kept for later runs."""
    folder = ROOT / ".make" / f"test-{FOLDERS[client]}"
    python = folder / "bin" / "python"
    stamp = folder / VERSIONS[client]
    if not stamp.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), VERSIONS[client]], check=True)
        stamp.touch()
    return python


def sdk_python() -> Path:
    """The interpreter of an environment with the newest official SDK."""
    return client_python(SDK8)


def noted(client: str) -> Callable[[Exchange], None]:
    """Notes what this client exchanges with the server."""
    return lambda exchange: NOTEBOOK.exchanged(client, exchange)


@pytest.fixture(scope="session")
def driver(server: Server) -> Iterator[Callable[[str], Driver]]:
    """An official SDK, connected to the shared server by what `kvern env` prints; what it does is noted."""
    with ExitStack() as running:
        drivers: dict[str, Driver] = {}

        def of(client: str) -> Driver:
            if client not in drivers:
                proxy = running.enter_context(RecordingProxy(server.url, noted(client)))
                env = proxy.environment(server.environment())
                made = Driver(client_python(client), env, lambda method: NOTEBOOK.ran(client, method))
                drivers[client] = running.enter_context(made)
                NOTEBOOK.surfaces[client] = made.surface
            return drivers[client]

        yield of


@pytest.fixture(scope="session")
def tickers(request: pytest.FixtureRequest, driver: Callable[[str], Driver]) -> dict[str, str]:
    """By client, a function that ticks every minute; made at once for all clients, so that only one minute is waited."""
    from tests.acceptance.scenarios import TICKER, Scenarios

    made: dict[str, str] = {}
    for item in request.session.items:
        scenarios = getattr(item, "cls", None)
        if isinstance(scenarios, type) and issubclass(scenarios, Scenarios) and scenarios.client not in made:
            made[scenarios.client] = f"ticker of {scenarios.client}"
            driver(scenarios.client).run(f"NAME = {made[scenarios.client]!r}\n{TICKER}")
    return made
