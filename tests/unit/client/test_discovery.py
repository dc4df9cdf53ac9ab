"""`CogniteClient()` without arguments, and the profiles that `kvern login` writes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from kvern.client import ClientConfig, CogniteClient, global_config
from kvern.client.credentials import OAuthClientCredentials, OAuthDeviceCode, OAuthInteractive, Token
from kvern.client.discovery import found_config
from kvern.client.profiles import Profile, Profiles, delete_profile, profiles_path, read_profiles, save_profile

LOCAL = Profile("http://localhost:8000", "kvern", {"token": "t"})
APPLICATION = {
    "token_url": "http://localhost:8000/oauth2/token",
    "client_id": "i",
    "client_secret": "s",
    "scopes": None,
}


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URL", "PROFILE", "PROJECT", "TOKEN", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"KVERN_{name}", raising=False)
    for name in ("CDF_URL", "CDF_CLUSTER", "CDF_PROJECT", "LOGIN_FLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KVERN_CONFIG_DIR", str(tmp_path / "config"))


def test_without_anything_the_error_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"KVERN_URL.*kvern login"):
        CogniteClient()


def test_the_config_of_the_process_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVERN_URL", "http://elsewhere")
    global_config.default_client_config = ClientConfig("n", "p", Token("t"), base_url="http://here")
    assert CogniteClient().config.base_url == "http://here"


def test_a_token_in_the_environment() -> None:
    config = found_config({"KVERN_URL": "http://h:8000/", "KVERN_TOKEN": "t", "KVERN_CLIENT_NAME": "me"})
    assert (config.base_url, config.project, config.client_name) == ("http://h:8000", "kvern", "me")
    assert config.credentials.authorization_header()[1] == "Bearer t"


def test_an_application_in_the_environment() -> None:
    config = found_config(
        {"KVERN_URL": "http://h", "KVERN_PROJECT": "plant", "KVERN_CLIENT_ID": "i", "KVERN_CLIENT_SECRET": "s"}
    )
    assert isinstance(config.credentials, OAuthClientCredentials)
    assert (config.project, config.credentials.token_url) == ("plant", "http://h/oauth2/token")
    config = found_config(
        {
            "KVERN_URL": "http://h",
            "KVERN_CLIENT_ID": "i",
            "KVERN_CLIENT_SECRET": "s",
            "KVERN_TOKEN_URL": "http://idp/token",
            "KVERN_SCOPES": "a b",
        }
    )
    assert isinstance(config.credentials, OAuthClientCredentials)
    assert (config.credentials.token_url, config.credentials.scopes) == ("http://idp/token", ["a", "b"])


CDF = {"CDF_URL": "http://h", "CDF_PROJECT": "p"}
ENTRA = {
    "CDF_CLUSTER": "az-1",
    "CDF_PROJECT": "p",
    "IDP_TENANT_ID": "t",
    "IDP_CLIENT_ID": "i",
    "IDP_CLIENT_SECRET": "s",
}


def test_the_variables_of_the_toolkit() -> None:
    application = {"IDP_TOKEN_URL": "u", "IDP_CLIENT_ID": "i", "IDP_CLIENT_SECRET": "s", "IDP_SCOPES": "a,b c"}
    config = found_config({**CDF, "LOGIN_FLOW": "client_credentials", "IDP_AUDIENCE": "x", **application})
    assert isinstance(config.credentials, OAuthClientCredentials)
    assert config.credentials.scopes == ["a", "b", "c"]
    assert config.credentials.token_custom_args == {"audience": "x"}
    assert isinstance(found_config({**CDF, **application}).credentials, OAuthClientCredentials)
    assert isinstance(found_config({**CDF, "LOGIN_FLOW": "token", "CDF_TOKEN": "t"}).credentials, Token)
    assert isinstance(found_config({**CDF, "CDF_TOKEN": "t"}).credentials, Token)


def test_the_variables_of_the_toolkit_for_entra_id() -> None:
    config = found_config(ENTRA)
    assert config.base_url == "https://az-1.cognitedata.com"
    assert isinstance(config.credentials, OAuthClientCredentials)
    assert config.credentials.token_url == "https://login.microsoftonline.com/t/oauth2/v2.0/token"
    assert config.credentials.scopes == ["https://az-1.cognitedata.com/.default"]
    assert isinstance(found_config({**ENTRA, "LOGIN_FLOW": "interactive"}).credentials, OAuthInteractive)
    assert isinstance(found_config({**ENTRA, "LOGIN_FLOW": "device_code"}).credentials, OAuthDeviceCode)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"KVERN_URL": "http://h"}, "KVERN_TOKEN"),
        ({"KVERN_URL": "http://h", "KVERN_CLIENT_ID": "i"}, "KVERN_CLIENT_SECRET"),
        ({"CDF_URL": "http://h"}, "CDF_PROJECT"),
        ({**CDF, "LOGIN_FLOW": "token"}, "CDF_TOKEN"),
        (CDF, "IDP_TOKEN_URL"),
        ({**CDF, "IDP_TOKEN_URL": "u"}, "IDP_CLIENT_ID"),
        ({**CDF, "LOGIN_FLOW": "device_code", "IDP_CLIENT_ID": "i"}, "IDP_AUTHORITY_URL"),
        ({**CDF, "LOGIN_FLOW": "magic"}, "'magic'"),
    ],
)
def test_what_is_missing_is_told(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        found_config(environment)


def test_a_profile_by_name_and_by_default() -> None:
    save_profile("local", LOCAL)
    save_profile("plant", Profile("http://plant", "p", {"client_credentials": APPLICATION}), make_default=False)
    assert found_config({}).base_url == "http://localhost:8000"
    named = found_config({"KVERN_PROFILE": "plant", "CDF_URL": "http://elsewhere"})
    assert named.base_url == "http://plant" and isinstance(named.credentials, OAuthClientCredentials)
    with pytest.raises(KeyError, match="there is: local, plant"):
        found_config({"KVERN_PROFILE": "mill"})


def test_the_environment_counts_more_than_the_default_profile() -> None:
    save_profile("local", LOCAL)
    assert found_config({**CDF, "CDF_TOKEN": "t"}).base_url == "http://h"


def test_profiles_are_written_for_their_owner_only() -> None:
    path = save_profile("local", LOCAL)
    assert path == profiles_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text())["default"] == "local"
    assert "'t'" not in repr(LOCAL)


def test_profiles_that_others_may_change_are_refused() -> None:
    path = save_profile("local", LOCAL)
    path.chmod(0o622)
    with pytest.raises(PermissionError, match="chmod 600"):
        read_profiles()


def test_a_link_in_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    profiles_path().parent.mkdir()
    profiles_path().symlink_to(victim)
    from kvern.client.profiles import write_profiles

    write_profiles(Profiles({"local": LOCAL}, "local"))
    assert victim.read_text() == "untouched" and not profiles_path().is_symlink()


def test_a_profile_that_is_deleted_makes_place_for_another() -> None:
    save_profile("a", LOCAL)
    save_profile("b", LOCAL)
    delete_profile("b")
    assert (sorted(read_profiles().profiles), read_profiles().default) == (["a"], "a")
    delete_profile("a")
    assert read_profiles() == Profiles({}, None)
    with pytest.raises(KeyError):
        delete_profile("a")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"profiles": {"a": {}}}', '{"profiles": 3}'])
def test_a_damaged_file_is_told(text: str) -> None:
    profiles_path().parent.mkdir()
    profiles_path().write_text(text)
    profiles_path().chmod(0o600)
    with pytest.raises(ValueError, match="is no file of profiles"):
        read_profiles()


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KVERN_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert profiles_path() == tmp_path / "kvern" / "profiles.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles_path() == tmp_path / ".config" / "kvern" / "profiles.json"
