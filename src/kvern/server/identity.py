"""Tokens, projects and health over HTTP (contract 1.2, 8)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import kvern
from kvern.server.ask import Answer, Ask, answers
from kvern.server.bodies import read_body
from kvern.service.identity import Identity
from kvern.service.issuer import TOKEN_SECONDS, Credentials
from kvern.service.service import Service
from kvern.wire.errors import ApiError, UnauthenticatedError
from kvern.wire.identity import Health, Inspection, Project, Token, TokenRefusal, UserProfiles

_FORM_MOST = 65_536


class IdentityRoutes:
    def __init__(self, service: Service) -> None:
        self._issuer = service.issuer

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
        try:
            client = self._issuer.authenticate(given)
        except UnauthenticatedError as error:
            return _refusal(401, "invalid_client", error.message)
        token = self._issuer.client_token(client)
        return JSONResponse(
            {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS},
            headers={"cache-control": "no-store"},
        )

    @answers(Inspection)
    async def inspect(self, ask: Ask[None]) -> Answer:
        return Answer(Identity(ask.who.subject, ask.who.expires, {ask.project: ask.who}).inspection())

    @answers(Project)
    async def project(self, ask: Ask[None]) -> Answer:
        return Answer(
            Project(
                name=ask.project,
                url_name=ask.project,
                organization="kvern",
                user_profiles_configuration=UserProfiles(enabled=False),
            )
        )

    @answers(Health)
    async def health(self, ask: Ask[None]) -> Answer:
        return Answer({"status": "ok", "version": kvern.__version__})


def _credentials(request: Request, fields: dict[str, list[str]]) -> Credentials | None:
    """From the form, or from the Authorization header (RFC 6749 2.3.1)."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Credentials(unquote(client_id), unquote(secret))
    client_id, secret = fields.get("client_id", [""])[0], fields.get("client_secret", [""])[0]
    return Credentials(client_id, secret) if client_id and secret else None


def _refusal(status: int, error: str, description: str) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status)
