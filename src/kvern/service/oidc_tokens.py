"""Tokens from a foreign issuer: whether a client's credentials are good there, and a token for a session's subject."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from kvern.service.authority import Assertion
from kvern.service.clients import Credentials
from kvern.service.clock import Clock
from kvern.service.oidc import OidcIssuer
from kvern.service.oidc_http import Http, UnreachableIssuerError
from kvern.wire.errors import UnauthenticatedError, UnavailableError

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a name, RFC 8693 3)


class RefusedError(Exception):
    """The issuer gives no token for what it was given."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A token that an issuer gave, and what it says of its subject.

    Args:
        refresh_token: gets the next one, where the issuer gave it.
    """

    access_token: str
    assertion: Assertion
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"Granted({self.assertion!r})"


class TokenEndpoint:
    """The token endpoint of an issuer (RFC 6749 3.2).

    All methods raise `RefusedError` when it says no, or gives a token that is no good here, and
    `UnreachableIssuerError` when it says nothing that can be understood.
    """

    def __init__(self, issuer: OidcIssuer, clock: Clock, http: Http) -> None:
        self._issuer = issuer
        self._clock = clock
        self._http = http

    async def client(self, credentials: Credentials) -> Granted:
        """A token for a client itself (RFC 6749 4.4)."""
        its = self._issuer.settings
        fields = {**its.token_parameters, "grant_type": "client_credentials"}
        if its.scope:
            fields["scope"] = " ".join(its.scope)
        return await self._granted(fields, credentials)

    async def can_exchange(self) -> bool:
        """Whether the issuer exchanges tokens, and Kvern is a client of it that may ask for that."""
        if self._issuer.settings.exchange_client_id is None:
            return False
        grants: object = (await self._issuer.metadata()).get("grant_types_supported")
        return isinstance(grants, list) and EXCHANGE in grants

    async def exchange(self, token: str) -> Granted:
        """A token of Kvern's own for the subject of `token` (RFC 8693)."""
        its = self._issuer.settings
        fields = {
            **its.token_parameters,
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": _ACCESS_TOKEN,
            "audience": its.audiences[0],
        }
        if its.scope:
            fields["scope"] = " ".join(its.scope)
        return await self._granted(fields, await self._own())

    async def refresh(self, refresh_token: str) -> Granted:
        """The next token (RFC 6749 6)."""
        return await self._granted({"grant_type": "refresh_token", "refresh_token": refresh_token}, await self._own())

    async def _own(self) -> Credentials:
        its = self._issuer.settings
        if its.exchange_client_id is None or its.exchange_secret_file is None:
            raise RefusedError("Kvern is no client of this issuer any more")
        try:
            secret = await asyncio.to_thread(its.exchange_secret_file.read_text, "utf-8")
        except OSError as error:
            raise UnreachableIssuerError(
                f"the secret of {its.exchange_client_id} cannot be read: {error.strerror}"
            ) from error
        return Credentials(its.exchange_client_id, secret.strip())

    async def _granted(self, fields: dict[str, str], client: Credentials) -> Granted:
        url = await self._issuer.endpoint("token_endpoint", self._issuer.settings.token_url)
        if await self._in_the_form():
            form = {**fields, "client_id": client.client_id, "client_secret": client.client_secret}
            reply = await self._http.post(url, form)
        else:
            reply = await self._http.post(url, fields, (client.client_id, client.client_secret))
        if reply.status in (400, 401, 403):
            raise RefusedError(_reason(reply.body))
        token: object = reply.body.get("access_token")
        if reply.status != 200 or not isinstance(token, str):
            raise UnreachableIssuerError(f"{url} answers {reply.status} without a token")
        try:
            assertion = await self._issuer.verify(token)
        except UnauthenticatedError as error:
            raise RefusedError(f"it gives a token that is not for this service. {error.message}") from error
        except UnavailableError as error:
            raise UnreachableIssuerError(error.message) from error
        kept: object = reply.body.get("refresh_token")
        return Granted(token, assertion, kept if isinstance(kept, str) else None)

    async def _in_the_form(self) -> bool:
        """Whether the client's secret goes into the form; by the Authorization header otherwise (RFC 8414 2)."""
        if self._issuer.settings.token_url is not None:
            return True
        methods: object = (await self._issuer.metadata()).get("token_endpoint_auth_methods_supported")
        return isinstance(methods, list) and "client_secret_post" in methods


def _reason(body: dict[str, Any]) -> str:
    """What the issuer says is wrong (RFC 6749 5.2), cut short."""
    parts = (body.get("error"), body.get("error_description"))
    said = ": ".join(part for part in parts if isinstance(part, str))
    return said[:300] or "it does not say why"
