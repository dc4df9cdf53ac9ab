"""Real servers in subprocesses, and real clients in environments of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.compatibility import NOTEBOOK, SDK7, SDK8, TOOLKIT, VERSIONS, endpoints, page, plain
from tests.acceptance.driver import Driver
from tests.acceptance.recording import Exchange, RecordingProxy
from tests.acceptance.server import Server
from tests.environments import ROOT, kept_environment

pytest.register_assert_rewrite("tests.acceptance.scenarios")

FOLDERS = {SDK8: "sdk", SDK7: "sdk7", TOOLKIT: "toolkit"}


PAGE = ROOT / "docs" / "compatibility.md"
_ended: set[str] = set()
_failed: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    NOTEBOOK.collected(item.nodeid for item in items)


def pytest_runtest_logstart(nodeid: str) -> None:
    NOTEBOOK.begins(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _ended.add(plain(report.nodeid))
    if report.failed:
        _failed.add(plain(report.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Under xdist, in the process that leads: a worker has ended."""
    output = getattr(node, "workeroutput", {})
    if "notebook" in output:
        NOTEBOOK.merge(output["notebook"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare the page of compatibility with what was run: one that is not true is written anew, and fails the run."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["notebook"] = NOTEBOOK.dump()
        return
    everything = {plain(test) for test in NOTEBOOK.order}
    files = {f"tests/acceptance/{path.name}" for path in (ROOT / "tests" / "acceptance").glob("test_*.py")}
    named = [word for word in session.config.args if "::" in word]
    whole = files <= {test.partition("::")[0] for test in everything} and everything <= _ended and not named
    if not whole or _failed or session.config.getoption("keyword") or session.config.getoption("markexpr"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for what in NOTEBOOK.not_run():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"ERROR no test ran {what}", red=True)
    text = page(NOTEBOOK)
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(
            "ERROR docs/compatibility.md did not tell what was run; it was written anew: read it, and commit it",
            red=True,
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it."""
    with Server(tmp_path_factory.mktemp("kvern"), extra_env={"SERVER_ONLY": "1"}) as running:
        NOTEBOOK.table = endpoints(httpx2.get(f"{running.url}/openapi.json").json())
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    """Bare HTTP to the shared server."""
    with Api(server.environment()) as bare:
        yield bare


def client_python(client: str) -> Path:
    """The interpreter of an environment with an official client, made once and kept for later runs."""
    return kept_environment(f"test-{FOLDERS[client]}", VERSIONS[client]) / "bin" / "python"


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
