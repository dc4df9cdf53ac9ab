"""Logging in as a person by a code that is typed on another device (RFC 8628)."""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvern.client.credentials import DEFAULT_LEEWAY_SECONDS
from kvern.client.documents import load_mapping
from kvern.client.exceptions import CogniteOAuthError
from kvern.client.oauth import TokenAnswer, send_form, token_answer
from kvern.client.redaction import printable
from kvern.client.redirect import LOGIN_SECONDS
from kvern.client.remembered import RememberedLogin

if TYPE_CHECKING:
    from typing_extensions import Self

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class OAuthDeviceCode(RememberedLogin):
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
        sys.stderr.write(printable(f"To log in, open {where} and enter the code {started['user_code']}") + "\n")
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
