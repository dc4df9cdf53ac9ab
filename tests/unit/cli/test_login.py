"""`kvern login` keeps what works, where only its owner can read it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvern.client.exceptions import CogniteOAuthError
from kvern.client.profiles import Profile, read_profiles

Kvern = Callable[..., Any]
URL = "https://functions.plant.example"


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A service that lets everybody but `stranger` into the project `plant`; the configs that it was asked with."""
    configs: list[Any] = []

    def client(config: Any) -> Any:
        configs.append(config)

        def inspect() -> Any:
            if config.credentials.client_id == "stranger":
                raise CogniteOAuthError("invalid_client", "unknown")
            return SimpleNamespace(projects=[SimpleNamespace(url_name="plant")])

        return SimpleNamespace(iam=SimpleNamespace(token=SimpleNamespace(inspect=inspect)))

    monkeypatch.setattr("kvern.client.CogniteClient", client)
    monkeypatch.setenv("KVERN_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("KVERN_CLIENT_SECRET", raising=False)
    monkeypatch.delenv("KVERN_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return configs


def test_credentials_that_work_are_kept(kvern: Kvern, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")

    ran = kvern(
        "login", f"{URL}/", "--project", "plant", "--client-id", "me", "--secret-file", str(tmp_path / "secret")
    )

    assert ran.code == 0
    assert "hunter2" not in ran.out + ran.err
    profiles = read_profiles()
    assert profiles.default == "default"
    assert profiles.get("default") == Profile(
        base_url=URL,
        project="plant",
        credentials={
            "client_credentials": {
                "token_url": f"{URL}/oauth2/token",
                "client_id": "me",
                "client_secret": "hunter2",
                "scopes": None,
            }
        },
    )
    assert (tmp_path / "config" / "profiles.json").stat().st_mode & 0o777 == 0o600


def test_the_secret_comes_from_standard_input_or_a_variable(
    kvern: Kvern, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    arguments = ("login", URL, "--project", "plant", "--client-id", "me")
    monkeypatch.setattr("sys.stdin", io.StringIO("from-a-pipe\n"))
    assert kvern(*arguments, "--secret-file", "-").code == 0
    monkeypatch.setenv("KVERN_CLIENT_SECRET", "from-a-variable")
    assert kvern(*arguments).code == 0

    assert [config.credentials.client_secret for config in asked] == ["from-a-pipe", "from-a-variable"]


def test_a_service_on_this_machine_needs_no_more_words(kvern: Kvern, tmp_path: Path) -> None:
    access = {"baseUrl": "http://127.0.0.1:1", "project": "plant", "tokenUrl": "http://127.0.0.1:1/t", "scopes": "a b"}
    (tmp_path / ".kvern").mkdir()
    (tmp_path / ".kvern" / "client.json").write_text(json.dumps(access | {"clientId": "me", "clientSecret": "s"}))

    ran = kvern("login", "--profile", "here", "--json")
    kvern("login", "--profile", "other", "--no-default")

    assert json.loads(ran.out)["profile"] == "here"
    assert read_profiles().get("here").credentials["client_credentials"]["scopes"] == ["a", "b"]
    assert (sorted(read_profiles().profiles), read_profiles().default) == (["here", "other"], "here")


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (("login",), "no service was ever started with .kvern", 1),
        (("login", "functions.plant.example"), "begins with http:// or https://", 2),
        (("login", URL), "--client-id ID", 2),
        (("login", URL, "--client-id", "me"), "--secret-file FILE", 2),
    ],
)
def test_what_is_missing_is_said(
    kvern: Kvern, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    ran = kvern(*arguments)

    assert ran.code == code
    assert told in ran.err


@pytest.mark.parametrize(
    ("client_id", "project", "told"),
    [
        ("stranger", "plant", "Check the client id and secret"),
        ("me", "other", "no access to project other, but to: plant"),
    ],
)
def test_credentials_that_do_not_work_are_not_kept(
    kvern: Kvern, monkeypatch: pytest.MonkeyPatch, client_id: str, project: str, told: str
) -> None:
    monkeypatch.setenv("KVERN_CLIENT_SECRET", "hunter2")

    ran = kvern("login", URL, "--client-id", client_id, "--project", project)

    assert ran.code == 1
    assert told in ran.err
    assert not read_profiles().profiles
