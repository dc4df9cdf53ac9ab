"""Tokens and projects over HTTP (contract 1.2, 8)."""

from __future__ import annotations

import base64
import math
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kvern.server.ask import Answer, Ask, answers
from kvern.server.bodies import read_body
from kvern.service.clients import Credentials
from kvern.service.clock import RealClock
from kvern.service.issuer import TOKEN_SECONDS
from kvern.service.projects import IssuerSettings
from kvern.service.service import Service
from kvern.store.clients import ClientRecord
from kvern.wire.base import Items, list_body
from kvern.wire.errors import ApiError, UnauthenticatedError
from kvern.wire.identity import (
    ClaimName,
    Inspection,
    ListedProject,
    OidcConfiguration,
    Profile,
    Project,
    Token,
    TokenRefusal,
    UserProfiles,
)
from kvern.wire.old_sdks import readable

_FORM_MOST = 65_536


class IdentityRoutes:
    def __init__(self, service: Service) -> None:
        self._issuer = service.issuer
        self._guesses = service.clients.guesses
        self._clients = service.clients
        self._projects = service.projects
        self._changes = service.changes

    @answers(Token, refusal=TokenRefusal)
    async def token(self, ask: Ask[None]) -> Response:
        """The token endpoint of the built-in issuer (RFC 6749 4.4; errors by 5.2)."""
        try:
            fields = parse_qs((await read_body(ask.request, _FORM_MOST)).decode())
        except (ApiError, UnicodeDecodeError):
            return _refusal(400, "invalid_request", "Expected a form of at most 64 kB")
        grant = fields.get("grant_type", [""])[0]
        if grant != "client_credentials":
            return _refusal(400, "unsupported_grant_type", f"Expected client_credentials, given {grant[:40]!r}")
        given = _credentials(ask.request, fields)
        if given is None:
            return _refusal(400, "invalid_request", "Expected client_id and client_secret")
        address = ask.request.client.host if ask.request.client is not None else ""
        wait = self._guesses.wait(given.client_id, address)
        if wait:
            return _too_many(wait)
        try:
            client = await self._client(given)
        except UnauthenticatedError as error:
            self._guesses.wrong(given.client_id, address)
            return _refusal(401, "invalid_client", error.message)
        self._guesses.right(given.client_id, address)
        token = self._issuer.client_token(client, given)
        return JSONResponse(
            {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS},
            headers={"cache-control": "no-store"},
        )

    async def _client(self, given: Credentials) -> ClientRecord:
        try:
            return self._clients.authenticate(given)
        except UnauthenticatedError:
            await self._changes.catch_up()
            return self._clients.authenticate(given)

    @answers(Inspection)
    async def inspect(self, ask: Ask[None]) -> Answer:
        inspection = ask.everywhere.inspection()
        if ask.is_strict:
            inspection.capabilities = readable(inspection.capabilities)
        return Answer(inspection)

    @answers(Items[ListedProject])
    async def projects(self, ask: Ask[None]) -> Answer:
        """Those in which the token is good; the clients that ask for data modeling expect to be told `HYBRID`."""
        shown = [ListedProject(url_name=name, data_modeling_status="HYBRID") for name in ask.everywhere.principals]
        return Answer(list_body([*shown]))

    @answers(Project)
    async def project(self, ask: Ask[None]) -> Answer:
        """The project, with the first foreign issuer that it trusts."""
        issuers = self._projects[ask.project].issuers
        return Answer(
            Project(
                name=ask.project,
                url_name=ask.project,
                organization="kvern",
                user_profiles_configuration=UserProfiles(enabled=False),
                oidc_configuration=_oidc(issuers[0]) if issuers else None,
            )
        )

    @answers(Profile)
    async def profile(self, ask: Ask[None]) -> Answer:
        who = ask.who
        return Answer(
            Profile(
                user_identifier=who.subject,
                identity_type="SERVICE_PRINCIPAL" if who.client_id is not None else "USER",
                last_updated_time=RealClock().now(),  # nothing is kept: it is as new as the token that told it
                display_name=who.name,
            )
        )


def _oidc(issuer: IssuerSettings) -> OidcConfiguration:
    return OidcConfiguration(
        issuer=issuer.issuer,
        audience=issuer.audiences[0],
        access_claims=[ClaimName(claim_name=issuer.groups_claim)],
        scope_claims=[],
        log_claims=[ClaimName(claim_name=issuer.subject_claim)],
        jwks_url=issuer.jwks_url,
        token_url=issuer.token_url,
    )


def _credentials(request: Request, fields: dict[str, list[str]]) -> Credentials | None:
    """From the form, or from the Authorization header (RFC 6749 2.3.1)."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:  # no base64, or not ASCII, or no UTF-8 within
            return None
        return Credentials(unquote(client_id), unquote(secret))
    client_id, secret = fields.get("client_id", [""])[0], fields.get("client_secret", [""])[0]
    return Credentials(client_id, secret) if client_id and secret else None


def _refusal(status: int, error: str, description: str) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, {"cache-control": "no-store"})


def _too_many(wait: float) -> JSONResponse:
    seconds = math.ceil(wait)
    told = f"Too many wrong client secrets: the next one is looked at in {seconds} s"
    headers = {"cache-control": "no-store", "retry-after": str(seconds)}
    return JSONResponse({"error": "slow_down", "error_description": told}, 429, headers)
