"""Tokens: given, asked for, refreshed, and logged in for by a person."""

from __future__ import annotations

import pickle
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from kvern.client import device_code, interactive, oauth
from kvern.client.credentials import (
    CredentialProvider,
    OAuthClientCredentials,
    OAuthDeviceCode,
    OAuthInteractive,
    Token,
)
from kvern.client.exceptions import CogniteAuthError, CogniteOAuthError
from tests.unit.client.idp import IdentityProvider


@pytest.fixture
def idp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (oauth, device_code):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    yield provider
    provider.stop()


def application(idp: IdentityProvider, **more: object) -> OAuthClientCredentials:
    return OAuthClientCredentials(f"{idp.url}/token", "me", "secret", ["a", "b"], **more)  # type: ignore[arg-type]


def bearer(provider: CredentialProvider) -> str:
    return provider.authorization_header()[1].removeprefix("Bearer ")


def test_a_token_is_used_as_it_is() -> None:
    assert Token("x").authorization_header() == ("Authorization", "Bearer x")
    assert bearer(pickle.loads(pickle.dumps(Token("x")))) == "x"


def test_a_function_that_gives_tokens_is_never_called_twice_at_once() -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def give() -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.001)
        with lock:
            inside -= 1
        return "x"

    token = Token(give)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: bearer(token), range(20))) == {"x"}
    assert most == 1


@pytest.mark.parametrize("wrong", [3, None, b"x"])
def test_other_tokens_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="Expected the token as str"):
        Token(wrong)  # type: ignore[arg-type]


def test_an_application_asks_as_the_contract_says(idp: IdentityProvider) -> None:
    idp.on("/token", (200, {"access_token": "t", "expires_in": 3600}))
    assert bearer(application(idp, audience="aud", timeout=3)) == "t"
    assert idp.forms == [
        (
            "/token",
            {
                "grant_type": "client_credentials",
                "client_id": "me",
                "client_secret": "secret",
                "scope": "a b",
                "audience": "aud",
            },
        )
    ]


def test_without_scopes_none_are_asked_for(idp: IdentityProvider) -> None:
    idp.on("/token", (200, {"access_token": "t", "expires_in": 3600}))
    bearer(OAuthClientCredentials(f"{idp.url}/token", "me", "secret", None))
    assert "scope" not in idp.forms[0][1]


def test_a_token_is_kept_until_shortly_before_it_expires(idp: IdentityProvider) -> None:
    idp.on("/token", (200, {"access_token": "1", "expires_in": 31}), (200, {"access_token": "2", "expires_in": 3600}))
    credentials = application(idp)
    assert [bearer(credentials), bearer(credentials)] == ["1", "1"]
    credentials.token_expiry_leeway_seconds = 40
    assert [bearer(credentials), bearer(credentials)] == ["2", "2"]


def test_one_token_is_asked_for_however_many_wait(idp: IdentityProvider) -> None:
    idp.on("/token", (200, {"access_token": "t", "expires_in": 3600}))
    credentials = application(idp)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: bearer(credentials), range(8))) == {"t"}
    assert len(idp.forms) == 1


def test_credentials_can_be_handed_to_another_process(idp: IdentityProvider) -> None:
    idp.on("/token", (200, {"access_token": "t", "expires_in": 3600}))
    credentials = application(idp)
    bearer(credentials)
    assert bearer(pickle.loads(pickle.dumps(credentials))) == "t"
    assert len(idp.forms) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((400, {"error": "invalid_client", "error_description": "wrong\r\nsecret"}), "invalid_client.*wrong secret"),
        ((200, {}), "no access_token"),
        ((404, {"message": "no such thing"}), "HTTP 404"),
        ((200, "<html>login</html>"), "Is that its URL.*login"),
        ((200, "[]"), "No JSON"),
    ],
)
def test_a_refusal_says_what_the_provider_said(idp: IdentityProvider, answer: tuple[int, object], told: str) -> None:
    idp.on("/token", answer)
    with pytest.raises(CogniteOAuthError, match=told):
        bearer(application(idp))
    assert len(idp.forms) == 1


def test_a_failing_provider_is_asked_again(idp: IdentityProvider) -> None:
    idp.on("/token", (503, "busy"), (500, "oops"), (200, {"access_token": "t", "expires_in": 60}))
    assert bearer(application(idp)) == "t"


def test_an_unreachable_provider_is_told() -> None:
    with pytest.raises(CogniteAuthError, match="cannot be reached"):
        bearer(OAuthClientCredentials("http://127.0.0.1:9/token", "me", "secret", None))


def test_fields_of_the_flow_itself_cannot_be_given() -> None:
    with pytest.raises(TypeError, match="grant_type"):
        OAuthClientCredentials("u", "i", "s", None, grant_type="x")
    with pytest.raises(TypeError, match="'audience' to be a str"):
        OAuthClientCredentials("u", "i", "s", None, audience=["x"])


def test_any_provider_can_be_made_from_a_dictionary(tmp_path: Path) -> None:
    made = CredentialProvider.load(
        {
            "client_credentials": {
                "token_url": "u",
                "client_id": "i",
                "client_secret": "s",
                "scopes": ["x"],
                "audience": "a",
            }
        }
    )
    assert isinstance(made, OAuthClientCredentials)
    assert (made.token_url, made.scopes, made.token_custom_args) == ("u", ["x"], {"audience": "a"})
    assert isinstance(CredentialProvider.load('{"token": "x"}'), Token)
    person = CredentialProvider.load(
        {"interactive": {"authority_url": "a", "client_id": "c", "scopes": [], "token_cache_path": str(tmp_path / "t")}}
    )
    assert isinstance(person, OAuthInteractive)
    device = CredentialProvider.load({"device_code": {"oauth_discovery_url": "a", "client_id": "c", "scopes": ["s"]}})
    assert isinstance(device, OAuthDeviceCode) and device.scope_string() == "s"
    for wrong in ({}, {"token": "x", "interactive": {}}, {"nonsense": {}}):
        with pytest.raises(ValueError, match="client_credentials"):
            CredentialProvider.load(wrong)


def test_the_usual_settings_for_entra_id() -> None:
    made = OAuthClientCredentials.default_for_entra_id("tenant", "i", "s", "westeurope-1")
    assert made.token_url == "https://login.microsoftonline.com/tenant/oauth2/v2.0/token"
    assert made.scopes == ["https://westeurope-1.cognitedata.com/.default"]
    with pytest.warns(DeprecationWarning):
        assert OAuthClientCredentials.default_for_azure_ad("tenant", "i", "s", "c").client_id == "i"


def device(idp: IdentityProvider, **more: object) -> OAuthDeviceCode:
    return OAuthDeviceCode(authority_url=idp.url, client_id="me", scopes=["functions"], **more)  # type: ignore[arg-type]


STARTED = {
    "device_code": "d",
    "user_code": "WORD",
    "verification_uri": "https://login",
    "interval": 1,
    "expires_in": 60,
}


def test_a_person_logs_in_by_a_code(idp: IdentityProvider, capsys: pytest.CaptureFixture[str]) -> None:
    idp.on("/device", (200, STARTED))
    pending = (400, {"error": "authorization_pending"})
    idp.on("/token", pending, (400, {"error": "slow_down"}), (200, {"access_token": "t", "expires_in": 60}))
    assert bearer(device(idp)) == "t"
    assert "https://login" in capsys.readouterr().err
    assert idp.forms[0] == ("/device", {"client_id": "me", "scope": "functions openid offline_access"})
    assert idp.forms[-1][1]["device_code"] == "d"
    assert [path for path, _ in idp.forms] == ["/device", "/token", "/token", "/token"]


@pytest.mark.parametrize("refusal", ["access_denied", "expired_token"])
def test_a_person_who_does_not_log_in(idp: IdentityProvider, refusal: str) -> None:
    idp.on("/device", (200, STARTED))
    idp.on("/token", (400, {"error": refusal}))
    with pytest.raises(CogniteOAuthError, match=refusal):
        bearer(device(idp))


def test_nobody_enters_the_code(idp: IdentityProvider) -> None:
    idp.on("/device", (200, {**STARTED, "expires_in": 0}))
    with pytest.raises(CogniteOAuthError, match="Nobody entered"):
        bearer(device(idp))


def test_a_login_is_remembered_in_a_file_of_ones_own(idp: IdentityProvider, tmp_path: Path) -> None:
    idp.on("/device", (200, STARTED))
    idp.on("/token", (200, {"access_token": "t", "expires_in": 3600, "refresh_token": "r"}))
    bearer(device(idp))
    (file,) = (tmp_path / "cache" / "kvern").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    idp.on("/device", (500, "must not be asked"))
    assert bearer(device(idp)) == "t"


def test_a_remembered_login_is_refreshed(idp: IdentityProvider) -> None:
    idp.on("/device", (200, STARTED))
    idp.on("/token", (200, {"access_token": "old", "expires_in": 1, "refresh_token": "r"}))
    bearer(device(idp))
    idp.on("/token", (200, {"access_token": "new", "expires_in": 3600}))
    assert bearer(device(idp)) == "new"
    assert idp.forms[-1][1] | {"grant_type": "refresh_token", "refresh_token": "r"} == idp.forms[-1][1]


def test_a_login_that_was_revoked_is_made_anew(idp: IdentityProvider) -> None:
    idp.on("/device", (200, STARTED))
    idp.on("/token", (200, {"access_token": "old", "expires_in": 1, "refresh_token": "r"}))
    bearer(device(idp))

    def only_new(form: dict[str, str]) -> tuple[int, object]:
        if form["grant_type"] == "refresh_token":
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "new", "expires_in": 3600}

    idp.on("/token", only_new)
    assert bearer(device(idp)) == "new"


def test_a_login_can_be_kept_in_memory_or_forgotten(idp: IdentityProvider, tmp_path: Path) -> None:
    idp.on("/device", (200, STARTED))
    idp.on("/token", (200, {"access_token": "1", "expires_in": 3600}), (200, {"access_token": "2", "expires_in": 3600}))
    bearer(device(idp, mem_cache_only=True))
    assert not (tmp_path / "cache").exists()
    idp.on("/token", (200, {"access_token": "3", "expires_in": 3600}))
    bearer(device(idp))
    idp.on("/token", (200, {"access_token": "4", "expires_in": 3600}))
    assert bearer(device(idp)) == "3"
    assert bearer(device(idp, clear_cache=True)) == "4"


def test_a_provider_that_cannot_do_it_is_told(idp: IdentityProvider) -> None:
    idp.on("/.well-known/openid-configuration", (200, {"token_endpoint": "x"}))
    with pytest.raises(CogniteAuthError, match="has no device_authorization_endpoint"):
        bearer(device(idp))


def test_a_provider_that_does_not_describe_itself_is_told(idp: IdentityProvider) -> None:
    idp.on("/.well-known/openid-configuration", (404, {}))
    with pytest.raises(CogniteAuthError, match=r"No description.*v2\.0"):
        bearer(device(idp))


@pytest.mark.parametrize(
    "arguments",
    [
        {"authority_url": None},
        {"oauth_discovery_url": "x"},
        {"scopes": None},
        {"client_id": ""},
    ],
)
def test_a_login_by_code_needs_its_arguments(arguments: dict[str, str | None]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        OAuthDeviceCode(**{"authority_url": "a", "client_id": "c", "scopes": ["s"], **arguments})  # type: ignore[arg-type]


def browser(monkeypatch: pytest.MonkeyPatch, **answer: str) -> list[dict[str, str]]:
    """Stands in for a person with a browser, who comes back with this."""
    opened: list[dict[str, str]] = []

    def come_back(url: str) -> bool:
        query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        opened.append(query)
        back = {"state": query["state"], **answer}
        visits = [{"state": "of another tab", "code": "stolen"}, back]
        threading.Thread(target=lambda: [httpx2.get(query["redirect_uri"], params=visit) for visit in visits]).start()
        return True

    monkeypatch.setattr("webbrowser.open", come_back)
    return opened


def test_a_person_logs_in_by_browser(idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = browser(monkeypatch, code="c")
    idp.on("/token", (200, {"access_token": "t", "expires_in": 60}))
    credentials = OAuthInteractive(idp.url, "me", ["functions"], redirect_port=0, prompt="login", login_hint="kari")
    assert bearer(credentials) == "t"
    asked, form = opened[0], idp.forms[0][1]
    assert asked["prompt"] == "login" and asked["login_hint"] == "kari" and asked["code_challenge_method"] == "S256"
    assert form["code"] == "c" and form["redirect_uri"] == asked["redirect_uri"]
    assert (
        interactive.base64.urlsafe_b64encode(interactive.hashlib.sha256(form["code_verifier"].encode()).digest())
        .decode()
        .rstrip("=")
        == asked["code_challenge"]
    )


def test_a_browser_that_brings_no_code(idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    browser(monkeypatch, error="access_denied", error_description="not you")
    with pytest.raises(CogniteOAuthError, match=r"access_denied.*not you"):
        bearer(OAuthInteractive(idp.url, "me", ["functions"], redirect_port=0))


def test_only_known_prompts_are_taken() -> None:
    with pytest.raises(ValueError, match="select_account"):
        OAuthInteractive("a", "c", [], prompt="shout")  # type: ignore[arg-type]
