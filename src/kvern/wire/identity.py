"""Who a token is and what it may do (contract 2, 8)."""

from __future__ import annotations

from typing import Any

import msgspec

from kvern.wire.base import Body, Id, Milliseconds


class InspectedProject(Body):
    project_url_name: str
    groups: list[Id]


class Inspection(Body):
    """The answer of `GET /api/v1/token/inspect`; every capability names the projects in which it holds."""

    subject: str
    projects: list[InspectedProject]
    capabilities: list[dict[str, Any]]


class ClaimName(Body):
    claim_name: str


class OidcConfiguration(Body):
    """How the tokens of a project's identity provider are checked."""

    issuer: str
    audience: str
    access_claims: list[ClaimName]
    scope_claims: list[ClaimName]
    log_claims: list[ClaimName]
    jwks_url: str | None = None
    token_url: str | None = None


class UserProfiles(Body):
    enabled: bool


class Project(Body):
    name: str
    url_name: str
    organization: str
    user_profiles_configuration: UserProfiles
    oidc_configuration: OidcConfiguration | None = None


class ListedProject(Body):
    url_name: str
    data_modeling_status: str


class Profile(Body):
    """The caller, as far as the token tells."""

    user_identifier: str
    identity_type: str
    last_updated_time: Milliseconds
    display_name: str | None = None


class Token(msgspec.Struct):
    """What the token endpoint answers (RFC 6749 5.1)."""

    access_token: str
    token_type: str
    expires_in: int


class TokenRefusal(msgspec.Struct):
    """What the token endpoint answers when it gives no token (RFC 6749 5.2)."""

    error: str
    error_description: str


class Health(Body):
    """`status` is `ok` or `failing`; then `reason` says why. To a good token also the `version` of the service, and the
    kind and version of its `database`.
    """

    status: str
    version: str | None = None
    reason: str | None = None
    database: str | None = None


class Ready(Body):
    """`status` is `ready` or `not ready`; then `reasons` says why, by part of the service."""

    status: str
    reasons: dict[str, str]
