"""Logging in as a person: by browser (RFC 6749 section 4.1, RFC 7636, RFC 8252) or by a code (RFC 8628).

Works with any OpenID Connect provider; where its endpoints are is read from its discovery document.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from urllib.parse import urlencode

from kvern.client.credentials import DEFAULT_LEEWAY_SECONDS, RefreshedToken
from kvern.client.documents import load_mapping
from kvern.client.exceptions import CogniteAuthError, CogniteOAuthError
from kvern.client.oauth import TokenAnswer, request_token, send_form, token_answer
from kvern.client.profiles import write_private
from kvern.client.redirect import LOGIN_SECONDS, Redirect

if TYPE_CHECKING:
    from typing_extensions import Self

InteractivePrompt: TypeAlias = Literal["select_account", "login", "consent"]
_PROMPTS = ("select_account", "login", "consent")
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def endpoints(authority_url: str) -> dict[str, str]:
    """The provider's own description of itself.

    Args:
        authority_url: The issuer; `/.well-known/openid-configuration` is found below it, for Microsoft Entra ID below
            its `/v2.0`.

    Raises:
        CogniteAuthError: when there is none.
    """
    import httpx2

    from kvern.client.transport import http_options

    base = authority_url.rstrip("/")
    tried: list[str] = []
    for issuer in (base, f"{base}/v2.0"):
        url = issuer if issuer.endswith("openid-configuration") else f"{issuer}/.well-known/openid-configuration"
        try:
            response = httpx2.get(url, timeout=30, follow_redirects=True, **http_options())
            described = response.json() if response.is_success else None
        except (httpx2.HTTPError, ValueError) as error:
            tried.append(f"{url}: {error}")
            continue
        if isinstance(described, dict) and "token_endpoint" in described:
            return cast("dict[str, str]", described)
        tried.append(f"{url}: HTTP {response.status_code}")
    raise CogniteAuthError(f"No description of the identity provider was found: {'; '.join(tried)}")


class _RememberedLogin(RefreshedToken):
    """A login that lasts beyond the process, by a refresh token in a file that only its owner can read."""

    def __init__(
        self, authority_url: str, client_id: str, scopes: list[str], path: Path | None, leeway: int, remember: bool
    ) -> None:
        super().__init__(leeway)
        self._client_id = client_id
        self._scopes = scopes
        self._authority = authority_url
        self._remember = remember
        self._path = path or _cache_path(authority_url, client_id, scopes)
        self._refresh_token: str | None = None
        self._endpoints: dict[str, str] = {}

    @property
    def client_id(self) -> str:
        """Id of the application."""
        return self._client_id

    @property
    def scopes(self) -> list[str]:
        """What is asked for."""
        return self._scopes

    def _endpoint(self, name: str) -> str:
        if not self._endpoints:
            self._endpoints = endpoints(self._authority)
        if name not in self._endpoints:
            raise CogniteAuthError(
                f"The identity provider {self._authority} has no {name}: this login is not possible there"
            )
        return self._endpoints[name]

    def _scope(self) -> str:
        # Without it there is no refresh token, and people would have to log in every hour.
        return " ".join(dict.fromkeys([*self.scopes, "openid", "offline_access"]))

    def _refresh_access_token(self) -> tuple[str, float]:
        answer = self._cached() or self._refreshed()
        if answer is None:
            answer = self._log_in()
        self._refresh_token = answer.refresh_token or self._refresh_token
        self._store(answer)
        return answer.access_token, answer.expires_at

    def _log_in(self) -> TokenAnswer:
        raise NotImplementedError

    def _cached(self) -> TokenAnswer | None:
        if not self._remember or self._path.is_symlink():
            return None
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self._refresh_token = self._refresh_token or stored.get("refresh_token")
            answer = TokenAnswer(stored["access_token"], float(stored["expires_at"]), stored.get("refresh_token"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return answer if answer.expires_at > time.time() + self.token_expiry_leeway_seconds else None

    def _refreshed(self) -> TokenAnswer | None:
        if self._refresh_token is None:
            return None
        form = {
            "grant_type": "refresh_token",
            "client_id": self.client_id,
            "refresh_token": self._refresh_token,
            "scope": self._scope(),
        }
        try:
            return request_token(self._endpoint("token_endpoint"), form)
        except CogniteOAuthError:
            # Expired or revoked: a new login is due.
            self._refresh_token = None
            return None

    def _store(self, answer: TokenAnswer) -> None:
        if self._remember:
            stored = {
                "access_token": answer.access_token,
                "expires_at": answer.expires_at,
                "refresh_token": self._refresh_token,
            }
            write_private(self._path, json.dumps(stored))


def _cache_path(authority_url: str, client_id: str, scopes: list[str]) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256("\n".join([authority_url, client_id, *scopes]).encode()).hexdigest()[:24]
    return base / "kvern" / f"login-{name}.json"


class OAuthInteractive(_RememberedLogin):
    """A person who logs in by browser.

    Args:
        authority_url: The identity provider (the issuer of its tokens).
        client_id: Id of the application.
        scopes: What to ask for.
        redirect_port: The local port that the browser comes back to; the provider must know it.
        token_cache_path: Where to remember the login; a file of the user's cache folder if not given.
        token_expiry_leeway_seconds: How long before it expires a token is replaced.
        prompt: What the browser asks: `select_account`, `login` or `consent`.
        login_hint: The account to log in with.

    Raises:
        ValueError: for another prompt.

    Example:
        >>> credentials = OAuthInteractive(
        ...     authority_url="https://login.example.com", client_id="kvern", scopes=["functions"]
        ... )
    """

    def __init__(
        self,
        authority_url: str,
        client_id: str,
        scopes: list[str],
        redirect_port: int = 53000,
        token_cache_path: Path | None = None,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        prompt: InteractivePrompt | None = None,
        login_hint: str | None = None,
    ) -> None:
        if prompt is not None and prompt not in _PROMPTS:
            raise ValueError(f"Expected prompt to be one of {', '.join(_PROMPTS)}, or None; got {prompt!r}")
        super().__init__(authority_url, client_id, scopes, token_cache_path, token_expiry_leeway_seconds, remember=True)
        self._authority_url = authority_url
        self._redirect_port = redirect_port
        self._prompt: InteractivePrompt | None = prompt
        self._login_hint = login_hint

    @property
    def authority_url(self) -> str:
        """The identity provider."""
        return self._authority_url

    @property
    def prompt(self) -> InteractivePrompt | None:
        """What the browser asks."""
        return self._prompt

    @property
    def login_hint(self) -> str | None:
        """The account to log in with."""
        return self._login_hint

    def _log_in(self) -> TokenAnswer:
        import webbrowser

        verifier = secrets.token_urlsafe(64)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        state = secrets.token_urlsafe(24)
        with Redirect(self._redirect_port, state) as redirect:
            query = {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": redirect.url,
                "scope": self._scope(),
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
                **({"prompt": self.prompt} if self.prompt else {}),
                **({"login_hint": self.login_hint} if self.login_hint else {}),
            }
            url = f"{self._endpoint('authorization_endpoint')}?{urlencode(query)}"
            if not webbrowser.open(url):
                sys.stderr.write(f"Open this address in a browser to log in:\n{url}\n")
            code = redirect.code()
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": code,
            "redirect_uri": redirect.url,
            "code_verifier": verifier,
        }
        return request_token(self._endpoint("token_endpoint"), form)

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> Self:
        """Makes a provider from its arguments."""
        arguments = dict(load_mapping(config))
        path = arguments.pop("token_cache_path", None)
        return cls(token_cache_path=Path(path) if path else None, **arguments)

    @classmethod
    def default_for_entra_id(
        cls,
        tenant_id: str,
        client_id: str,
        cdf_cluster: str,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        prompt: InteractivePrompt | None = None,
        login_hint: str | None = None,
        **token_custom_args: Any,
    ) -> Self:
        """For Microsoft Entra ID and a Cognite cluster.

        Args:
            tenant_id: The tenant.
            client_id: Id of the application.
            cdf_cluster: The cluster.
            token_expiry_leeway_seconds: How long before it expires a token is replaced.
            prompt: What the browser asks.
            login_hint: The account to log in with.
            **token_custom_args: Further arguments of the class.
        """
        return cls(
            authority_url=f"https://login.microsoftonline.com/{tenant_id}",
            client_id=client_id,
            scopes=[f"https://{cdf_cluster}.cognitedata.com/.default"],
            token_expiry_leeway_seconds=token_expiry_leeway_seconds,
            prompt=prompt,
            login_hint=login_hint,
            **token_custom_args,
        )

    @classmethod
    def default_for_azure_ad(cls, *args: Any, **kwargs: Any) -> Self:
        """The earlier name of `default_for_entra_id`."""
        warnings.warn("default_for_azure_ad is now default_for_entra_id", DeprecationWarning, stacklevel=2)
        return cls.default_for_entra_id(*args, **kwargs)


class OAuthDeviceCode(_RememberedLogin):
    """A person who logs in on another device by typing a code.

    Args:
        authority_url: The identity provider (the issuer of its tokens). This or `oauth_discovery_url` is needed.
        client_id: Id of the application.
        scopes: What to ask for. This or `cdf_cluster` is needed.
        cdf_cluster: A Cognite cluster, whose usual scopes are asked for.
        oauth_discovery_url: Where the provider describes itself, if not below its issuer.
        token_cache_path: Where to remember the login; a file of the user's cache folder if not given.
        token_expiry_leeway_seconds: How long before it expires a token is replaced.
        clear_cache: Forget an earlier login.
        mem_cache_only: Do not remember the login beyond this process.
        **token_custom_args: Further fields of the requests.

    Raises:
        ValueError: when one of the needed arguments is missing, or both of a pair are given.

    Example:
        >>> credentials = OAuthDeviceCode(
        ...     authority_url="https://login.example.com", client_id="kvern", scopes=["functions"]
        ... )
    """

    def __init__(
        self,
        authority_url: str | None,
        client_id: str,
        scopes: list[str] | None = None,
        cdf_cluster: str | None = None,
        oauth_discovery_url: str | None = None,
        token_cache_path: Path | None = None,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        clear_cache: bool = False,
        mem_cache_only: bool = False,
        **token_custom_args: Any,
    ) -> None:
        if (authority_url is None) == (oauth_discovery_url is None):
            raise ValueError("Expected exactly one of authority_url and oauth_discovery_url")
        if scopes is None and cdf_cluster is None:
            raise ValueError("Expected scopes or cdf_cluster")
        if not client_id:
            raise ValueError(f"Expected a client_id, got {client_id!r}")
        host = f"https://{cdf_cluster}.cognitedata.com"
        wanted = scopes or [f"{host}/IDENTITY", f"{host}/user_impersonation", "openid", "profile"]
        super().__init__(
            authority_url or oauth_discovery_url or "",
            client_id,
            wanted,
            token_cache_path,
            token_expiry_leeway_seconds,
            remember=not mem_cache_only,
        )
        self._authority_url = authority_url
        self._oauth_discovery_url = oauth_discovery_url
        self._custom = {name: str(value) for name, value in token_custom_args.items()}
        if clear_cache:
            self._path.unlink(missing_ok=True)

    @property
    def authority_url(self) -> str | None:
        """The identity provider."""
        return self._authority_url

    @property
    def oauth_discovery_url(self) -> str | None:
        """Where the provider describes itself."""
        return self._oauth_discovery_url

    def scope_string(self) -> str:
        """The scopes with spaces between them."""
        return " ".join(self.scopes)

    def _log_in(self) -> TokenAnswer:
        form = {"client_id": self.client_id, "scope": self._scope(), **self._custom}
        _, started = send_form(self._endpoint("device_authorization_endpoint"), form)
        if "device_code" not in started:
            raise CogniteOAuthError(
                str(started.get("error", "no device_code")), str(started.get("error_description", ""))
            )
        where = started.get("verification_uri_complete") or started["verification_uri"]
        sys.stderr.write(f"To log in, open {where} and enter the code {started['user_code']}\n")
        sys.stderr.flush()
        form = {"grant_type": _DEVICE_GRANT, "device_code": started["device_code"], "client_id": self.client_id}
        pause = float(started.get("interval", 5))
        deadline = time.monotonic() + float(started.get("expires_in", LOGIN_SECONDS))
        while time.monotonic() < deadline:
            time.sleep(pause)
            now = time.time()
            _, answer = send_form(self._endpoint("token_endpoint"), {**form, **self._custom})
            if answer.get("error") == "slow_down":
                pause += 5
            elif answer.get("error") != "authorization_pending":
                return token_answer(answer, now)
        raise CogniteOAuthError("expired_token", "Nobody entered the code in time")

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> Self:
        """Makes a provider from its arguments."""
        arguments = dict(load_mapping(config))
        path = arguments.pop("token_cache_path", None)
        arguments.setdefault("authority_url", None)
        return cls(token_cache_path=Path(path) if path else None, **arguments)

    @classmethod
    def default_for_entra_id(
        cls,
        tenant_id: str,
        client_id: str,
        cdf_cluster: str,
        token_cache_path: Path | None = None,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        clear_cache: bool = False,
        mem_cache_only: bool = False,
    ) -> Self:
        """For Microsoft Entra ID and a Cognite cluster.

        Args:
            tenant_id: The tenant.
            client_id: Id of the application.
            cdf_cluster: The cluster.
            token_cache_path: Where to remember the login.
            token_expiry_leeway_seconds: How long before it expires a token is replaced.
            clear_cache: Forget an earlier login.
            mem_cache_only: Do not remember the login beyond this process.
        """
        return cls(
            authority_url=f"https://login.microsoftonline.com/{tenant_id}",
            client_id=client_id,
            cdf_cluster=cdf_cluster,
            token_cache_path=token_cache_path,
            token_expiry_leeway_seconds=token_expiry_leeway_seconds,
            clear_cache=clear_cache,
            mem_cache_only=mem_cache_only,
        )

    @classmethod
    def default_for_azure_ad(cls, *args: Any, **kwargs: Any) -> Self:
        """The earlier name of `default_for_entra_id`."""
        warnings.warn("default_for_azure_ad is now default_for_entra_id", DeprecationWarning, stacklevel=2)
        return cls.default_for_entra_id(*args, **kwargs)
