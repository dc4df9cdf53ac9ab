"""Where a client's token comes from."""

from __future__ import annotations

import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from kvern.client.documents import load_mapping

if TYPE_CHECKING:
    from typing_extensions import Self

    from kvern.client.device_code import OAuthDeviceCode
    from kvern.client.interactive import InteractivePrompt, OAuthInteractive

__all__ = [
    "CredentialProvider",
    "InteractivePrompt",
    "OAuthClientCredentials",
    "OAuthDeviceCode",
    "OAuthInteractive",
    "Token",
]

DEFAULT_LEEWAY_SECONDS = 30

# Parts of the token request that are the provider's own business.
_RESERVED = frozenset({"auth", "body", "grant_type", "headers", "method", "state", "url"})
_HTTP_OPTIONS = frozenset({"timeout", "follow_redirects", "cookies"})


def __getattr__(name: str) -> Any:
    # The flows that need a person bring a web server and more along: imported when asked for.
    if name in ("OAuthInteractive", "InteractivePrompt"):
        from kvern.client import interactive

        return getattr(interactive, name)
    if name == "OAuthDeviceCode":
        return _device_code()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class CredentialProvider(ABC):
    """Something that knows the header that proves who is asking."""

    @abstractmethod
    def authorization_header(self) -> tuple[str, str]:
        """Name and value of the header; may take its time and may be called from any thread."""

    @property
    def is_immediate(self) -> bool:
        """Whether the header can be had at once, without asking anybody."""
        return False

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> CredentialProvider:
        """Makes a provider of any kind.

        Args:
            config: A dictionary with one key, one of `token`, `client_credentials`, `interactive` and `device_code`,
                whose value holds the arguments of that kind; or such a one as JSON (or, with PyYAML, YAML) text.

        Raises:
            ValueError: for another number of keys, or another key.

        Example:
            >>> credentials = CredentialProvider.load({"token": "secret"})
        """
        loaded = load_mapping(config)
        if len(loaded) != 1:
            raise ValueError(f"Expected exactly one key of {sorted(_KINDS)}, got {sorted(loaded)}")
        kind, arguments = next(iter(loaded.items()))
        if kind not in _KINDS:
            raise ValueError(f"Expected one of the credential kinds {sorted(_KINDS)}, got {kind!r}")
        if kind == "token" and not isinstance(arguments, dict):
            arguments = {"token": arguments}
        return _KINDS[kind]().load(cast("dict[str, Any]", arguments))


class Token(CredentialProvider):
    """A token that you have already.

    Args:
        token: The token, or a function that returns a valid one; it is never called twice at the same time.

    Raises:
        TypeError: for anything else.

    Example:
        >>> credentials = Token("secret")
        >>> credentials = Token(lambda: "a fresh secret")
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        if not isinstance(token, str) and not callable(token):
            raise TypeError(f"Expected the token as str, or a function that returns it, got {type(token).__name__}")
        self._token = token
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_token": self._token}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._token = state["_token"]
        self._lock = threading.Lock()

    def authorization_header(self) -> tuple[str, str]:
        """Name and value of the header."""
        if isinstance(self._token, str):
            return "Authorization", f"Bearer {self._token}"
        with self._lock:
            return "Authorization", f"Bearer {self._token()}"

    @property
    def is_immediate(self) -> bool:
        """True for a token that was given as such."""
        return isinstance(self._token, str)

    @classmethod
    def load(cls, config: dict[str, str | Callable[[], str]] | str) -> Self:
        """Makes a provider from `{"token": ...}`."""
        return cls(load_mapping(config)["token"])


class RefreshedToken(CredentialProvider):
    """A token that is asked for when there is none, and again shortly before it expires.

    Args:
        token_expiry_leeway_seconds: How long before it expires.
    """

    def __init__(self, token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS) -> None:
        self.token_expiry_leeway_seconds = token_expiry_leeway_seconds
        self._lock = threading.Lock()
        self._access_token: str | None = None
        self._expires_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    @property
    def is_immediate(self) -> bool:
        """Whether the token is still good."""
        return self._access_token is not None and self._expires_at > time.time() + self.token_expiry_leeway_seconds

    def authorization_header(self) -> tuple[str, str]:
        """Name and value of the header; asks for a new token when needed, once for all who wait."""
        if not self.is_immediate:
            with self._lock:
                if not self.is_immediate:
                    self._access_token, self._expires_at = self._refresh_access_token()
        return "Authorization", f"Bearer {self._access_token}"

    @abstractmethod
    def _refresh_access_token(self) -> tuple[str, float]:
        """A token, and when it expires in seconds since the epoch."""


class OAuthClientCredentials(RefreshedToken):
    """An application with an id and a secret (RFC 6749, section 4.4).

    Args:
        token_url: Where the identity provider gives tokens.
        client_id: Id of the application.
        client_secret: Its secret.
        scopes: What to ask for, if the provider wants to know.
        token_expiry_leeway_seconds: How long before it expires a token is replaced.
        **token_custom_args: Further fields of the request; `timeout`, `follow_redirects` and `cookies` are options of
            the request itself.

    Raises:
        TypeError: for custom fields that the flow fills itself, and for values that are no text or number.

    Example:
        >>> credentials = OAuthClientCredentials(
        ...     token_url="http://localhost:8000/oauth2/token", client_id="me", client_secret="secret", scopes=None
        ... )
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        scopes: list[str] | None,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        **token_custom_args: Any,
    ) -> None:
        super().__init__(token_expiry_leeway_seconds)
        reserved = sorted(_RESERVED.intersection(token_custom_args))
        if reserved:
            raise TypeError(f"The flow itself fills {sorted(_RESERVED)}: {reserved} cannot be given")
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes
        self._token_custom_args = token_custom_args
        fields = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scopes,
            **token_custom_args,
        }
        self._options: dict[str, Any] = {name: fields.pop(name) for name in _HTTP_OPTIONS.intersection(fields)}
        self._form = {name: _form_value(name, value) for name, value in fields.items() if value}

    @property
    def token_url(self) -> str:
        """Where the identity provider gives tokens."""
        return self._token_url

    @property
    def client_id(self) -> str:
        """Id of the application."""
        return self._client_id

    @property
    def client_secret(self) -> str:
        """Its secret."""
        return self._client_secret

    @property
    def scopes(self) -> list[str] | None:
        """What is asked for."""
        return self._scopes

    @property
    def token_custom_args(self) -> dict[str, Any]:
        """Further fields of the request."""
        return self._token_custom_args

    def _refresh_access_token(self) -> tuple[str, float]:
        from kvern.client.oauth import request_token

        answer = request_token(self._token_url, self._form, **self._options)
        return answer.access_token, answer.expires_at

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> Self:
        """Makes a provider from its arguments."""
        arguments = dict(load_mapping(config))
        return cls(
            token_url=arguments.pop("token_url"),
            client_id=arguments.pop("client_id"),
            client_secret=arguments.pop("client_secret"),
            scopes=arguments.pop("scopes", None),
            token_expiry_leeway_seconds=int(arguments.pop("token_expiry_leeway_seconds", DEFAULT_LEEWAY_SECONDS)),
            **arguments,
        )

    @classmethod
    def default_for_entra_id(
        cls,
        tenant_id: str,
        client_id: str,
        client_secret: str,
        cdf_cluster: str,
        token_expiry_leeway_seconds: int = DEFAULT_LEEWAY_SECONDS,
        **token_custom_args: Any,
    ) -> Self:
        """For Microsoft Entra ID and a Cognite cluster.

        Args:
            tenant_id: The tenant.
            client_id: Id of the application.
            client_secret: Its secret.
            cdf_cluster: The cluster.
            token_expiry_leeway_seconds: How long before it expires a token is replaced.
            **token_custom_args: Further fields of the request.
        """
        return cls(
            token_url=f"https://login.microsoftonline.com/{tenant_id}/oauth2/v2.0/token",
            client_id=client_id,
            client_secret=client_secret,
            scopes=[f"https://{cdf_cluster}.cognitedata.com/.default"],
            token_expiry_leeway_seconds=token_expiry_leeway_seconds,
            **token_custom_args,
        )

    @classmethod
    def default_for_azure_ad(cls, *args: Any, **kwargs: Any) -> Self:
        """The earlier name of `default_for_entra_id`."""
        warnings.warn("default_for_azure_ad is now default_for_entra_id", DeprecationWarning, stacklevel=2)
        return cls.default_for_entra_id(*args, **kwargs)


def _form_value(name: str, value: object) -> str:
    if name == "scope" and isinstance(value, (list, tuple, set)):
        return " ".join(str(scope) for scope in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError(
        f"Expected the token field {name!r} to be a str, bytes, int, float or bool, got {type(value).__name__}"
    )


def _interactive() -> type[CredentialProvider]:
    from kvern.client.interactive import OAuthInteractive

    return OAuthInteractive


def _device_code() -> type[CredentialProvider]:
    from kvern.client.device_code import OAuthDeviceCode

    return OAuthDeviceCode


_KINDS: dict[str, Callable[[], type[CredentialProvider]]] = {
    "token": lambda: Token,
    "client_credentials": lambda: OAuthClientCredentials,
    "interactive": _interactive,
    "device_code": _device_code,
}
