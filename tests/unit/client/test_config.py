"""Settings of a client and of the process, and the line that shows progress."""

from __future__ import annotations

import io
import ssl
import sys

import pytest

from kvern.client import AsyncCogniteClient, ClientConfig, CogniteClient, global_config, progress, transport
from kvern.client.config import GlobalConfig
from kvern.client.credentials import Token
from tests.unit.client.stub import Stub

TOKEN = Token("t")


def test_the_address_of_a_server() -> None:
    assert ClientConfig("n", "p", TOKEN, base_url="http://h:8000/").base_url == "http://h:8000"
    assert ClientConfig("n", "p", TOKEN, cluster="westeurope-1").base_url == "https://westeurope-1.cognitedata.com"
    assert ClientConfig.default("p", "westeurope-1", TOKEN, "n").cdf_cluster == "westeurope-1"
    assert ClientConfig("n", "p", TOKEN, base_url="http://h").cdf_cluster is None
    with pytest.warns(FutureWarning, match="cluster ignored"):
        assert ClientConfig("n", "p", TOKEN, base_url="http://h", cluster="c").cdf_cluster is None
    with pytest.raises(ValueError, match="got neither"):
        ClientConfig("n", "p", TOKEN)
    with pytest.raises(ValueError, match="name of a project"):
        ClientConfig("n", "", TOKEN, base_url="http://h")


def test_a_config_from_a_dictionary() -> None:
    loaded = ClientConfig.load(
        {"client_name": "n", "project": "p", "base_url": "http://h", "credentials": {"token": "t"}, "timeout": 5}
    )
    assert (loaded.timeout, loaded.file_transfer_timeout, loaded.debug) == (5, 600, False)
    assert (
        ClientConfig.load({"client_name": "n", "project": "p", "cluster": "c", "credentials": TOKEN}).credentials
        is TOKEN
    )


def test_a_printed_config_hides_secrets() -> None:
    config = ClientConfig("n", "p", TOKEN, base_url="http://h", headers={"X-Api-Key": "plain"})
    assert "plain" not in str(config) and "http://h" in str(config) and "plain" not in config._repr_html_()
    assert repr(config) == "<ClientConfig project='p', base_url='http://h'>"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_retries", -1),
        ("max_retries_connect", 1.5),
        ("max_retry_backoff", True),
        ("max_connection_pool_size", 0),
        ("file_upload_chunk_size", 0),
    ],
)
def test_settings_of_the_process_are_checked(name: str, value: object) -> None:
    before = getattr(global_config, name)
    with pytest.raises(ValueError, match=name):
        setattr(global_config, name, value)
    assert getattr(global_config, name) == before


def test_several_settings_at_once_or_none() -> None:
    global_config.apply_settings({"max_retries": 3, "proxy": "http://proxy:1"})
    assert (global_config.max_retries, global_config.proxy) == (3, "http://proxy:1")
    with pytest.raises(ValueError, match="max_retry_backoff"):
        global_config.apply_settings({"max_retries": 4, "max_retry_backoff": -1})
    with pytest.raises(ValueError, match="nonsense"):
        global_config.apply_settings('{"max_retries": 4, "nonsense": 1}')
    assert global_config.max_retries == 3
    with pytest.raises(TypeError, match="import `global_config`"):
        GlobalConfig()
    with pytest.warns(FutureWarning):
        global_config.max_workers = 3


def test_proxy_and_certificates_reach_the_http_client() -> None:
    context = ssl.create_default_context()
    global_config.ssl_context = context
    global_config.proxy = "http://proxy:1"
    assert transport.http_options() == {"verify": context, "proxy": "http://proxy:1"}
    global_config.disable_ssl = True
    assert transport.http_options()["verify"] is False
    with pytest.raises(TypeError, match="SSLContext"):
        global_config.ssl_context = "bundle.pem"  # type: ignore[assignment]


async def test_limits_are_fixed_by_the_first_request(async_client: AsyncCogniteClient, stub: Stub) -> None:
    stub.on("GET /functions/status", {"status": "activated"})
    await async_client.functions.status()
    settings = global_config.concurrency_settings
    assert settings.is_frozen and "frozen" in repr(settings)
    assert (settings.general.read, settings.files.upload, settings.waiting.calls) == (5, 5, 64)
    with pytest.raises(RuntimeError, match=r"general.read cannot be changed"):
        settings.general.read = 10
    with pytest.raises(AttributeError, match="'nonsense'"):
        settings.general.nonsense  # type: ignore[attr-defined]


def test_clients_from_less_than_a_config() -> None:
    assert CogniteClient.default("p", "c", TOKEN).config.base_url == "https://c.cognitedata.com"
    application = CogniteClient.default_oauth_client_credentials("p", "c", "tenant", "i", "s")
    assert "tenant" in application.config.credentials.token_url  # type: ignore[attr-defined]
    person = AsyncCogniteClient.default_oauth_interactive("p", "c", "tenant", "i", prompt="login")
    assert person.config.credentials.prompt == "login"  # type: ignore[attr-defined]
    loaded = CogniteClient.load(
        {"client_name": "n", "project": "p", "base_url": "http://h", "credentials": {"token": "t"}}
    )
    assert loaded.config.project == "p" and loaded.version


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_progress_is_shown_to_those_who_watch(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.Progress("Uploading x", 10_000_000) as line:
        line.advance(1_000_000)
        clock[0] = 1.5
        line.advance(4_000_000)
        clock[0] = 1.6
        line.advance(1)
        clock[0] = 3.0
        line.show("done")
    assert screen.getvalue().split("\r") == [
        "",
        "Uploading x: 5.0 of 10.0 MB (50 %), 2 s",
        "Uploading x: done, 3 s".ljust(39) + "\n",
    ]


@pytest.mark.parametrize("watched", [False, True])
def test_progress_is_shown_to_nobody_else(clock: list[float], monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    screen = Terminal() if watched else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("KVERN_PROGRESS", "0" if watched else "1")
    with progress.Progress("Uploading x", 10) as line:
        clock[0] = 60
        line.advance(5)
    assert screen.getvalue() == ""
