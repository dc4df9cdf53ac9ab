"""Logging in as a person by browser (RFC 6749 section 4.1, RFC 7636, RFC 8252)."""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlencode

from kvern.client.credentials import DEFAULT_LEEWAY_SECONDS
from kvern.client.documents import load_mapping
from kvern.client.oauth import TokenAnswer, request_token
from kvern.client.redirect import Redirect
from kvern.client.remembered import RememberedLogin

if TYPE_CHECKING:
    from typing_extensions import Self

InteractivePrompt: TypeAlias = Literal["select_account", "login", "consent"]
_PROMPTS = ("select_account", "login", "consent")


class OAuthInteractive(RememberedLogin):
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
