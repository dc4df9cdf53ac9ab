"""A person's login that is remembered, whichever way it was made.

Works with any OpenID Connect provider; where its endpoints are is read from its discovery document.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import cast

from kvern.client.credentials import RefreshedToken
from kvern.client.exceptions import CogniteAuthError, CogniteOAuthError
from kvern.client.oauth import TokenAnswer, request_token
from kvern.client.profiles import write_private


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


class RememberedLogin(RefreshedToken):
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
